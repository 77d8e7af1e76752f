"""Paired tests equal those of sacreBLEU's command line."""

import json
import logging
import os
import random
import re
import subprocess
import sys

import pytest

from evokd.errors import InputError
from evokd.evaluate.significance import paired_bootstrap

WORDS = "the a cat dog man woman red blue sits runs on under mat street".split()  # noqa: SIM905


def made_up(seed: int, segments: int = 80) -> tuple[list[str], list[str], list[str], list[str]]:
    """A reference and three systems that get some of its words wrong, the last one far more."""
    generator = random.Random(seed)

    def worse(line: str, share: float) -> str:
        return " ".join(
            generator.choice(WORDS) if generator.random() < share else word for word in line.split()
        )

    reference = [
        " ".join(generator.choices(WORDS, k=generator.randint(4, 14))) for _ in range(segments)
    ]
    near, near_too, far = ([worse(line, share) for line in reference] for share in (0.2, 0.25, 0.5))
    return reference, near, near_too, far


def command_line(folder, arguments: list[str]) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "SACREBLEU_SEED"}
    return subprocess.run(
        [sys.executable, "-m", "sacrebleu", "ref", "-i", "near", "near_too", "far", *arguments],
        cwd=folder,
        env=environment | {"NO_COLOR": "1"},
        capture_output=True,
        check=True,
        encoding="utf-8",
    ).stdout


@pytest.fixture
def study(tmp_path):
    names = ("ref", "near", "near_too", "far")
    lines = dict(zip(names, made_up(7), strict=True))
    for name, text in lines.items():
        (tmp_path / name).write_bytes("".join(line + "\n" for line in text).encode())
    return tmp_path, [lines.pop("ref")], list(lines.values())


def test_bootstrap_equals_the_command_line(study):
    folder, references, systems = study
    baseline, *truth = json.loads(
        command_line(folder, ["--paired-bs", "--format", "json", "-m", "bleu"])
    )
    rows = [row for (row,) in paired_bootstrap(systems, references, "en", ["bleu"])]
    assert [(r["score"], r["interval"], r["p_value"]) for r in rows] == [
        (row["BLEU"]["score"], row["BLEU"]["ci"], row["BLEU"]["p_value"]) for row in truth
    ]
    assert [r["baseline_score"] for r in rows] == [baseline["BLEU"]["score"]] * 2
    assert "bs:1000|seed:12345" in rows[0]["signature"]


def test_bootstrap_of_chrf_equals_the_command_line(study):
    # sacreBLEU 2.6 can't print chrF's bootstrap as JSON (a float32 in it), so its table is read
    folder, references, systems = study
    table = command_line(
        folder, ["--paired-bs", "--format", "latex", "-m", "bleu", "chrf", "--width", "4"]
    )
    rows = [line for line in table.splitlines() if line.count("&") == 2][1:]
    truth = [[float(n) for n in re.findall(r"\d+\.\d+", row.split("&")[2])] for row in rows]
    own = [chrf for _, chrf in paired_bootstrap(systems, references, "en", ["bleu", "chrf"])]
    assert [len(numbers) for numbers in truth] == [3, 4, 4]
    for row, (score, _mean, interval, p_value) in zip(own, truth[1:], strict=True):
        assert row["metric"] == "chrf"
        assert row["baseline_score"] == pytest.approx(truth[0][0], abs=6e-5)
        numbers = [row["score"], row["interval"], row["p_value"]]
        assert numbers == pytest.approx([score, interval, p_value], abs=6e-5)


def test_randomization_equals_the_command_line(study):
    folder, references, systems = study
    arguments = ["--paired-ar", "--paired-ar-n", "300", "--format", "json", "-m", "bleu", "chrf"]
    truth = json.loads(command_line(folder, arguments))
    own = paired_bootstrap(
        systems, references, "en", ["bleu", "chrf"], test="randomization", n_samples=300
    )
    assert [[(r["score"], r["p_value"], r["interval"]) for r in rows] for rows in own] == [
        [(row[name]["score"], row[name]["p_value"], None) for name in ("BLEU", "chrF2")]
        for row in truth[1:]
    ]
    assert "ar:300|seed:12345" in own[0][0]["signature"]


def test_exchanging_the_two_systems_changes_only_the_sign():
    reference, near, near_too, _ = made_up(3)
    (forth,) = paired_bootstrap([near, near_too], [reference], "en", n_samples=200)
    (back,) = paired_bootstrap([near_too, near], [reference], "en", n_samples=200)
    for one, other in zip(forth, back, strict=True):
        assert one["delta"] == -other["delta"] != 0
        assert one["p_value"] == other["p_value"]
        assert (one["score"], one["baseline_score"]) == (other["baseline_score"], other["score"])


def test_a_system_is_judged_alike_alone_and_among_others():
    reference, near, near_too, far = made_up(4)
    together = paired_bootstrap([near, near_too, far], [reference], "en", n_samples=100)
    alone = paired_bootstrap([near, far], [reference], "en", n_samples=100)
    assert together[-1:] == alone


def test_far_systems_differ_and_equal_ones_do_not():
    reference, near, _, far = made_up(5)
    spaced = [line.replace(" ", "  ") for line in near]  # no metric sees this
    *equal, differing = paired_bootstrap([near, list(near), spaced, far], [reference], "en")
    for row in (row for rows in equal for row in rows):
        assert (row["delta"], row["p_value"], row["significant"]) == (0, 1, False)
    for row in differing:
        assert row["delta"] < -10
        assert row["p_value"] == pytest.approx(1 / 1001)
        assert row["significant"] is True


@pytest.mark.parametrize("before", [None, "77"])
def test_the_environment_and_the_logger_are_left_as_found(monkeypatch, before):
    if before is None:
        monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    else:
        monkeypatch.setenv("SACREBLEU_SEED", before)
    level = logging.getLogger("sacrebleu").level
    reference, near, near_too, _ = made_up(6)
    arguments = ([near, near_too], [reference], "en", ["bleu"])
    first = paired_bootstrap(*arguments, n_samples=50)
    again = paired_bootstrap(*arguments, n_samples=50)
    other = paired_bootstrap(*arguments, n_samples=50, seed=9)
    assert os.environ.get("SACREBLEU_SEED") == before
    assert logging.getLogger("sacrebleu").level == level
    assert first == again
    assert "seed:12345" in first[0][0]["signature"]
    assert "seed:9" in other[0][0]["signature"]
    assert other[0][0]["interval"] != first[0][0]["interval"]


def test_wrong_calls_are_refused():
    systems = [["x"], ["y"]]
    with pytest.raises(InputError, match="'sign'; accepted: bootstrap, randomization"):
        paired_bootstrap(systems, [["x"]], "en", test="sign")
    with pytest.raises(InputError, match="seed 0"):
        paired_bootstrap(systems, [["x"]], "en", seed=0)
