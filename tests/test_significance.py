"""Paired tests equal those of sacreBLEU's command line, full enumeration, and what they promise."""

import json
import logging
import math
import os
import random
import re
import statistics
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from evokd.errors import InputError
from evokd.evaluate.significance import (
    compare_runs,
    holm,
    paired_bootstrap,
    statistics_of,
)

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
    assert [(r["score"], r["p_value"]) for r in rows] == [
        (row["BLEU"]["score"], row["BLEU"]["p_value"]) for row in truth
    ]
    widths = [row["BLEU"]["ci"] for row in truth]  # of sums in float32
    assert [r["interval"] for r in rows] == pytest.approx(widths, rel=1e-6)
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


def test_few_exchanges_are_counted_one_by_one():
    """Of 7 segments there are 128 exchanges, each as probable as the others."""
    reference, near, near_too, far = made_up(9, segments=7)
    scorer = BLEU(references=[reference])
    runs = [[near, far, near], [near_too, near, far], [near]]
    counted = [[statistics_of(scorer, lines) for lines in own] for own in runs]
    rows = compare_runs("bleu", scorer, counted, test="randomization", n_samples=20_000)
    for own, row in zip(runs[1:], rows, strict=True):
        # a single run counts as often as the baseline's three
        texts = [runs[0], own * (3 // len(own))]

        def score(run, others, stays, texts=texts):
            lines, references = [], []
            for segment, alone in enumerate(stays):
                lines += [one[segment] for one in (run if alone else others)(texts)]
                references += [reference[segment]] * 3
            return BLEU().corpus_score(lines, [references]).score

        first, second = (lambda texts: texts[0]), (lambda texts: texts[1])
        differences = [
            abs(score(first, second, stays) - score(second, first, stays))
            for stays in product([True, False], repeat=7)
        ]
        assert abs(row["delta"]) == pytest.approx(differences[0])
        truth = sum(one >= differences[0] - 1e-9 for one in differences) / 128
        assert truth < 1
        assert row["p_value"] == pytest.approx(truth, abs=4 * math.sqrt(truth / 20_000))


def test_one_differing_segment_is_no_evidence():
    """Any exchange gives the same difference; sacreBLEU's p is 1/(n+1) here."""
    reference, near, _, far = made_up(10)
    ((row,),) = paired_bootstrap(
        [near, [far[0], *near[1:]]], [reference], "en", ["chrf"], test="randomization"
    )
    assert row["delta"] != 0
    assert row["p_value"] == 1


def test_a_block_of_samples_makes_no_difference(monkeypatch):
    reference, near, near_too, _ = made_up(11)
    for test in ("bootstrap", "randomization"):
        whole = paired_bootstrap([near, near_too], [reference], "en", test=test, n_samples=200)
        monkeypatch.setattr("evokd.evaluate.significance._TOGETHER", 80 * 64)
        parts = paired_bootstrap([near, near_too], [reference], "en", test=test, n_samples=200)
        monkeypatch.undo()
        assert whole == parts


class Mean(BLEU):
    """A metric as a neural one is: a number and 1 for each segment; its score is their mean."""

    def _compute_score_from_stats(self, stats):
        self.score = stats[0] / stats[1]
        return self


@pytest.fixture(scope="module")
def simulated():
    """Rows of many made-up test sets of 120 segments, for two systems with two runs each that are
    `gap` apart in truth: what a method makes of a segment is alike in its runs, in part."""

    def simulate(gap, test, sets=500):
        draw, scorer = np.random.default_rng(4), Mean(references=[["a"]])
        for number in range(sets):
            segments = draw.normal(50, 10, (1, 120))
            runs = []
            for mean in (0, gap):
                values = segments + mean + draw.normal(0, 3, 120) + draw.normal(0, 3, (2, 120))
                runs.append([np.stack([run, np.ones(120)], axis=1) for run in values])
            yield compare_runs("mean", scorer, runs, test=test, n_samples=200, seed=number + 1)[0]

    return simulate


# of one segment's difference: two methods, and two runs of each
ERROR = math.sqrt((2 * 9 + 2 * 9 / 2) / 120)


def test_where_nothing_differs_the_randomization_errs_in_one_of_twenty(simulated):
    wrong = [row["significant"] for row in simulated(0.0, "randomization")]
    assert statistics.fmean(wrong) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 500))


def test_intervals_hold_the_truth_19_times_of_20(simulated):
    for test in ("bootstrap", "randomization"):
        rows = list(simulated(1.0, test))
        held = [row["delta_interval"][0] < 1 < row["delta_interval"][1] for row in rows]
        assert statistics.fmean(held) == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / 500))


def test_a_detectable_difference_is_seen_four_times_of_five(simulated):
    z = 1.959964 + 0.841621
    rows = list(simulated(z * ERROR, "randomization"))
    assert statistics.fmean(row["detectable"] for row in rows) == pytest.approx(z * ERROR, rel=0.03)
    seen = [row["significant"] for row in rows]
    assert statistics.fmean(seen) == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 500))


def test_holm_by_hand_and_by_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.4]) == [0.9, 0.8]
    assert holm([]) == []
    draw = random.Random(3)
    for _ in range(50):
        p_values = [draw.choice([0.001, 0.01, 0.02, 0.03, draw.random()]) for _ in range(6)]
        rejected, left = set(), sorted(range(6), key=p_values.__getitem__)
        while left and p_values[left[0]] * len(left) < 0.05:
            rejected.add(left.pop(0))
        assert {i for i, p in enumerate(holm(p_values)) if p < 0.05} == rejected


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
