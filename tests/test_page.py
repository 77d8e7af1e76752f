"""report.html: sound, self-contained, safe, and still there when parts are missing."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evokd.errors import InputError
from evokd.report.page import build_report, write_page
from evokd.report.results import Results
from fake_run import make_results, make_run, make_sentences

VOID = {"meta", "br", "hr", "img", "input", "link", "col", "wbr"}
LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Follows the tags and collects what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.identifiers: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in LOADING]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = build_report(make_run(tmp_path_factory.mktemp("run"), seeds=(1, 2)))
    return path.read_text(encoding="utf-8")


def test_page_is_balanced_and_loads_nothing(built: str) -> None:
    page = Page(built)
    assert page.open == []
    assert page.loads
    assert all(load.startswith("#") for load in page.loads)
    targets = {load[1:] for load in page.loads}
    assert targets <= set(page.identifiers)
    assert len(page.identifiers) == len(set(page.identifiers))
    assert len(page.scripts) == 3  # two directions' sentences, and our own
    assert not page.tags & {"link", "img", "iframe", "object", "base", "form"}
    assert "@import" not in built
    assert not re.search(r"url\(\s*[\"']?(?!#)", built)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", built))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"fetch\(|XMLHttp|import\(|innerHTML", page.scripts[-1])


def test_sentences_are_packed_whole(built: str, tmp_path: Path) -> None:
    blocks = [
        json.loads(gzip.decompress(base64.b64decode(text))) for text in Page(built).scripts[:2]
    ]
    for block, row in zip(blocks, make_sentences((1, 2)), strict=True):
        assert [own[0] for own in block["rows"]] == row["sources"]
        assert [own[1] for own in block["rows"]] == [[line] for line in row["references"][0]]
        names = [one["name"] for one in block["outputs"]]
        assert names[:3] == ["teacher", "sft · seed 1", "sft · seed 2"]
        for place, one in enumerate(row["outputs"]):
            assert [own[2][place] for own in block["rows"]] == one["lines"]
            assert block["outputs"][place]["behaviour"] == one["behaviour"]
            for metric, label in enumerate(("bleu", "chrf")):
                scores = [own[3][metric][place] for own in block["rows"]]
                assert scores == pytest.approx(one["scores"][label], rel=1e-3)


def test_page_shows_every_part(built: str) -> None:
    text = Page(built).text
    for part in (
        "of the gap between the SFT student",
        "self_evolution saw over 80 %",
        "no teacher",
        "± 0.",
        "nrefs:1|case:mixed",
        "The common loss",
        "Difficulty of validation tokens",
        "Likeness to the teacher",
        "Ein Mann mit altem Hut",
        "before any method",
        "What scores hide",
        "2.7×",
        "λ 0.5 · β 0.5 · Γ 0.4",
        "test leak",
        "Of 57\u202f418 pairs, 57\u202f310 are fit to train on".replace("\u202f", " "),
        "sentence BLEU of the nearest36.9",
        "mean probability of the first5.2",
        "A dog runs & runs. ⟷ Ein Ein",
        "57\u202f418 were kept".replace("\u202f", " "),
        "learning_rate: 0.0015",
        "transformers",
        "2 March 2026",
    ):
        assert part in text.replace("\u202f", " ").replace("\u00a0", " "), part
    assert built.count('<svg role="img"') == 12


def test_sentences_are_escaped(built: str) -> None:
    assert "<script>alert" not in built
    assert "<b>!" not in built
    assert "<script>alert('x')</script>" in Page(built).text
    assert "the class & the" in Page(built).text


def test_hostile_names_and_notes_are_escaped(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    text = json.dumps(make_results()).replace("flickr2016", "TESTSET").replace("skew", "SYSTEM")
    results = json.loads(text)
    results |= {"title": evil, "notes": [evil], "name": evil}
    results["versions"]["platform"] = evil
    results["examples"][0]["translations"]["teacher"] = evil
    (tmp_path / "recipe.yaml").write_text(f"name: {evil}\n", encoding="utf-8")
    write_page(Results(results, tmp_path), tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert len(page.scripts) == 1
    assert evil not in page.scripts[0]
    assert page.text.count(evil) >= 5


@pytest.mark.parametrize(
    "change",
    [
        {"directions": ("en-de",)},
        {"objectives": ("sft",)},
        {"objectives": (), "baseline": None},
        {"objectives": ("self_evolution",), "baseline": None, "teacher": False},
    ],
    ids=str,
)
def test_page_renders_smaller_studies(tmp_path: Path, change: dict[str, Any]) -> None:
    page = Page(build_report(make_run(tmp_path, **change)).read_text(encoding="utf-8"))
    assert page.open == []
    assert "Scores" in page.text


PARTS = (
    *("systems", "scores", "comparisons", "summary", "gap_closed", "speed", "examples", "notes"),
    *("cleaning", "teacher_text"),
)


@pytest.mark.parametrize("gone", [*PARTS, "all"])
def test_page_renders_without_parts(tmp_path: Path, gone: str) -> None:
    whole = make_results(directions=("en-de",), objectives=("sft", "self_evolution"))
    results = {key: value for key, value in whole.items() if gone not in (key, "all")}
    write_page(Results(results), tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "Settings and versions" in page.text


def test_broken_side_files_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, directions=("en-de",), objectives=("sft", "skew"))
    (run / "gate/diagnostics.json").write_text("{", encoding="utf-8")
    with (run / "students/skew.seed1/metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 910, "noevo')
    (run / "recipe.yaml").unlink()
    page = Page(build_report(run).read_text(encoding="utf-8"))
    assert "before any method" not in page.text
    assert "The common loss" in page.text
    assert "resolved recipe" not in page.text


def test_report_writes_tables_beside_it_and_repeats_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path, directions=("en-de",), objectives=("sft", "skew"))
    first = build_report(run).read_bytes()
    assert (run / "table.md").read_text(encoding="utf-8").startswith("### flickr2016")
    assert r"\toprule" in (run / "table.tex").read_text(encoding="utf-8")
    assert build_report(run).read_bytes() == first
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_no_results_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.json not found; give the folder of a run"):
        build_report(tmp_path)
    (tmp_path / "results.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(InputError, match="can't be read"):
        build_report(tmp_path)
    (tmp_path / "results.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(InputError, match="holds a list"):
        build_report(tmp_path)
