"""report.html in a real browser: it sorts, filters, searches, compares, and anyone can use it.

What is expected is worked out here, in Python, from the files that the page was made of.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from evokd.report.page import build_report
from evokd.report.results import Results
from fake_run import OBJECTIVES, make_run, make_sentences

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
SEEDS = (1, 2)
ROWS = {row["direction"]: row for row in make_sentences(SEEDS)}
ITEMS = "#browser li"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(make_run(tmp_path_factory.mktemp("run"), SEEDS))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """The page, opened; whatever it complains of or asks for fails the test."""
    wrong: list[str] = []
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: wrong.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert wrong == [report.as_uri()]


def see(page: Any, **wanted: str) -> None:
    """Open the sentences and choose by the labels of controls."""
    page.locator("#sentences").scroll_into_view_if_needed()
    page.wait_for_selector(ITEMS)
    for label, option in wanted.items():
        page.get_by_label(label.replace("_", " "), exact=True).select_option(label=option)


def lines(page: Any) -> list[int]:
    """Numbers of the lines that are shown, in order."""
    return [int(text[5:]) for text in page.locator(f"{ITEMS} .where span").all_inner_texts()]


def output(direction: str, system: str, seed: int | None) -> dict[str, Any]:
    named = {"system": system, "seed": seed}
    return next(one for one in ROWS[direction]["outputs"] if named.items() <= one.items())


def gains(direction: str, a: tuple[str, int], b: tuple[str, int]) -> dict[int, float]:
    """Line → what chrF says of A over B."""
    scores = [output(direction, *one)["scores"]["chrf"] for one in (a, b)]
    return {i: x - y for i, (x, y) in enumerate(zip(*scores, strict=True), 1)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 900, 2000])
def test_anyone_can_read_it(page: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    see(page)
    page.locator(f"{ITEMS} summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    found = axe.run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


def test_sentences_stay_packed_until_they_are_near(page: Any) -> None:
    page.wait_for_timeout(100)
    assert page.locator(ITEMS).count() == 0
    see(page)
    assert page.locator(ITEMS).count() == 25


def test_tables_sort_by_each_column_and_go_back(page: Any, report: Path) -> None:
    table = Results.read(report.parent).tables[0]
    head = page.locator("table.scores th[data-direction=en-de]").first
    rows = page.locator("table.scores tbody tr")
    names = [row.system for row in table.rows]

    def means(reverse: bool) -> list[str]:
        key = {row.system: row.cells["bleu", "en-de"].mean or 0.0 for row in table.rows}
        return sorted(names, key=lambda name: key[name], reverse=reverse)

    for order, expected in (
        ("descending", means(True)),
        ("ascending", means(False)),
        (None, names),
    ):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        shown = rows.evaluate_all("rows => rows.map(row => row.dataset.system)")
        assert shown == expected
    page.locator("table.scores thead").get_by_role("button", name="system").press("Enter")
    shown = rows.evaluate_all("rows => rows.map(row => row.dataset.system)")
    assert shown == sorted(names)


def test_tables_filter_by_significance_direction_and_family(page: Any, report: Path) -> None:
    table = Results.read(report.parent).tables[0]
    card = page.locator("#scores .card")

    def shown() -> list[str]:
        rows = card.locator("tbody tr:visible")
        return rows.evaluate_all("rows => rows.map(row => row.dataset.system)")

    def marked(mark: str, *directions: str) -> list[str]:
        return [
            row.system
            for row in table.rows
            if any(c.mark == mark for (_, at), c in row.cells.items() if at in directions)
        ]

    card.get_by_label("Significance").select_option(label="‡ worse")
    assert shown() == marked("‡", "en-de", "de-en") != []
    card.get_by_label("Direction").select_option(label="en → de")
    assert shown() == marked("‡", "en-de")
    heads = card.locator("thead tr").last.locator("th:visible").all_inner_texts()
    assert [text.strip() for text in heads] == ["system", "en → de", "en → de", "gap closed"]
    assert card.locator("th.group").first.get_attribute("colspan") == "1"
    card.get_by_label("Significance").select_option(label="any")
    card.get_by_label("Family").select_option(label="gated")
    assert shown() == ["self_evolution"]


def test_series_of_a_figure_hide_and_show(page: Any) -> None:
    figure = page.locator("figure", has_text="The common loss")
    drawn = figure.locator("[data-series=skew]").first
    box = figure.get_by_label("skew")
    assert drawn.is_visible()
    box.uncheck()
    assert not drawn.is_visible()
    assert figure.locator("[data-series=noevo]").first.is_visible()
    box.check()
    assert drawn.is_visible()


def test_the_worst_regression_comes_first(page: Any) -> None:
    see(page, Metric="chrF", System_A="skew · seed 2", System_B="forward_kd · seed 1")
    lost = gains("en-de", ("skew", 2), ("forward_kd", 1))
    assert lines(page) == sorted(lost, key=lambda i: (lost[i], i))[:25]
    page.get_by_role("button", name="Swap A and B").click()
    assert lines(page) == sorted(lost, key=lambda i: (-lost[i], i))[:25]
    see(page, Sort_by="longest")
    sizes = {i: len(text) for i, text in enumerate(ROWS["en-de"]["references"][0], 1)}
    assert lines(page) == sorted(sizes, key=lambda i: (-sizes[i], i))[:25]
    page.get_by_role("button", name="Next").press("Enter")
    assert lines(page) == sorted(sizes, key=lambda i: (-sizes[i], i))[25:50]


def test_search_by_words_and_by_regular_expressions(page: Any) -> None:
    see(page, Sort_by="order of the file", Test_set="flickr2016 · de → en")
    sources = ROWS["de-en"]["sources"]
    for pattern, regex in (("satz 1", False), (r"\b[37]1? ist (sehr ){2,}gut", True)):
        page.get_by_label("Search").fill(pattern)
        page.get_by_label("regular expression").set_checked(regex)
        see(page, **{"in": "source"})
        expression = pattern if regex else re.escape(pattern)
        found = [i for i, text in enumerate(sources, 1) if re.search(expression, text, re.I)]
        assert found
        assert lines(page) == found[:25]
        assert page.get_by_role("status").inner_text().startswith(f"{len(found)} of 60 sentences")
    page.get_by_label("Search").fill("(")
    assert "isn’t a regular expression" in page.get_by_role("status").inner_text()


def test_words_that_differ_are_marked(page: Any) -> None:
    wrong = [i + 1 for i, text in enumerate(output("en-de", "skew", 1)["lines"]) if "nicht" in text]
    right = output("en-de", "forward_kd", 1)["lines"]
    line = next(i for i in wrong if "nicht" not in right[i - 1])
    see(page, System_A="skew · seed 1", System_B="forward_kd · seed 1")
    page.get_by_label("Search").fill(f"Satz {line} ist")
    item = page.locator(ITEMS)
    assert item.locator("mark").all_inner_texts() == ["nicht"]
    see(page, Mark="where A and B differ", System_A="forward_kd · seed 1", System_B="skew · seed 1")
    assert item.locator("mark").all_inner_texts() == ["nicht"]
    see(page, Mark="nothing")
    assert item.locator("mark").count() == 0
    item.locator("summary").click()
    every = item.locator("details dd")
    every.first.wait_for()
    assert every.count() == 1 + len(OBJECTIVES) * len(SEEDS)
    shown = every.first.inner_text()
    assert shown.startswith(output("en-de", "teacher", None)["lines"][line - 1])


def test_what_is_not_marked_is_the_longest_common_part(page: Any) -> None:
    see(page)
    draw = random.Random(7)
    for letters, between in (("abc", " "), ("我爱狗", "")):
        for _ in range(30):
            a, b = (draw.choices(letters, k=draw.randrange(9)) for _ in range(2))
            runs = page.evaluate(
                "([a, b]) => marked(a, b).map(run => [run.nodeName ?? '', run.textContent ?? run])",
                [between.join(a), between.join(b)],
            )
            assert "".join(text for _, text in runs) == between.join(a)
            kept = "".join(text for kind, text in runs if kind != "MARK").replace(" ", "")
            assert is_part(kept, b)
            assert len(kept) == longest_common(tuple(a), tuple(b))


def is_part(some: str, every: list[str]) -> bool:
    rest = iter(every)
    return all(letter in rest for letter in some)


@cache
def longest_common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + longest_common(a[1:], b[1:])
    return max(longest_common(a[1:], b), longest_common(a, b[1:]))


def test_numbers_lead_to_their_sentences(page: Any) -> None:
    row = "tr[data-system=skew]"
    page.locator(f"table.scores {row} td[class=apart] a").first.click()
    page.wait_for_selector(ITEMS)
    lost = gains("en-de", ("skew", 1), ("forward_kd", 1))
    assert lines(page) == sorted(lost, key=lambda i: (lost[i], i))[:25]
    row = "tr[data-system=self_evolution]"
    page.locator(f"#behaviour [data-direction=de-en] {row} td:nth-child(6) a").click()
    page.get_by_text("2 of 60 sentences").wait_for()
    assert page.get_by_label("Test set").input_value() == "flickr2016 de-en"
    assert page.get_by_label("Behaviour of A").input_value() == "repeated"
    assert lines(page) == [3, 9]


def test_it_reads_without_scripts_and_on_paper(chromium: Any, report: Path, page: Any) -> None:
    still = chromium.new_page(java_script_enabled=False)
    still.goto(report.as_uri())
    assert still.locator("select:visible, input:visible, button:visible").count() == 0
    assert still.locator(".example dd.reference").first.is_visible()
    assert still.locator("figure [id$=legend_1]").first.is_visible()
    still.close()
    see(page)
    page.emulate_media(media="print")
    assert page.locator("select:visible, nav:visible, .pages:visible").count() == 0
    assert page.locator(ITEMS).first.is_visible()
