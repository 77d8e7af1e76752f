"""A small study, made by hand: its rows against sacreBLEU, arithmetic and each other."""

import json
import statistics

import pytest
import sacrebleu

from evokd.errors import InputError
from evokd.evaluate.comparison import (
    SystemOutput,
    TestSet,
    behaviour_all,
    compare_all,
    gap_closed,
    score_all,
    summarise,
)

GERMAN = [
    "der Hund läuft schnell über die Wiese",
    "eine Frau liest ein Buch im Garten",
    "zwei Kinder spielen am Strand mit einem Ball",
    "ein Mann fährt mit dem Rad zur Arbeit",
]
ENGLISH = [
    "the dog runs quickly across the meadow",
    "a woman reads a book in the garden",
    "two children play on the beach with a ball",
    "a man rides his bike to work",
]
TEST_SETS = [
    TestSet("captions", "en-de", ENGLISH, [GERMAN]),
    TestSet("captions", "de-en", GERMAN, [ENGLISH]),
]


def spoil(lines, every):
    """Each `every`-th word of the text is wrong."""
    words = 0
    spoilt = []
    for line in lines:
        kept = []
        for word in line.split():
            words += 1
            kept.append("x" if words % every == 0 else word)
        spoilt.append(" ".join(kept))
    return spoilt


def study(methods=(("sft", 3), ("forward_kd", 4), ("self_evolution", 5)), seeds=(1, 2)):
    outputs = []
    for test_set in TEST_SETS:
        reference = test_set.references[0]
        outputs.append(
            SystemOutput("teacher", None, test_set.name, test_set.direction, spoil(reference, 9))
        )
        for name, every in methods:
            for seed in seeds:
                lines = spoil(reference, every + seed - 1)
                outputs.append(
                    SystemOutput(
                        name, seed, test_set.name, test_set.direction, lines, [False] * len(lines)
                    )
                )
    return outputs


def row(system, score, seed=1, direction="en-de", metric="bleu"):
    return {
        "system": system,
        "seed": seed,
        "test_set": "t",
        "direction": direction,
        "metric": metric,
        "score": score,
        "signature": "",
    }


def test_score_rows_equal_sacrebleu():
    outputs = study()
    rows = score_all(outputs, TEST_SETS)
    assert set(rows[0]) == {
        "system", "seed", "test_set", "direction", "metric", "score", "signature",
    }  # fmt: skip
    found = {(r["system"], r["seed"], r["direction"], r["metric"]): r["score"] for r in rows}
    references = {test_set.direction: test_set.references for test_set in TEST_SETS}
    teacher = {o.direction: o.hypotheses for o in outputs if o.system == "teacher"}
    truth = {}
    for o in outputs:
        key = (o.system, o.seed, o.direction)
        truth[(*key, "bleu")] = sacrebleu.corpus_bleu(o.hypotheses, references[o.direction]).score
        truth[(*key, "chrf")] = sacrebleu.corpus_chrf(o.hypotheses, references[o.direction]).score
        if o.system != "teacher":
            like = sacrebleu.corpus_bleu(o.hypotheses, [teacher[o.direction]]).score
            truth[(*key, "bleu_vs_teacher")] = like
    assert found == truth
    json.dumps(rows)


def test_a_student_that_equals_the_teacher_is_wholly_like_it():
    lines = spoil(GERMAN, 2)
    outputs = [
        SystemOutput("teacher", None, "captions", "en-de", lines),
        SystemOutput("copycat", 5, "captions", "en-de", lines),
    ]
    rows = score_all(outputs, TEST_SETS, ["bleu"])
    like = [r["score"] for r in rows if r["metric"] == "bleu_vs_teacher"]
    assert like == [pytest.approx(100)]


def test_without_a_teacher_nothing_is_like_it():
    outputs = [o for o in study() if o.system != "teacher"]
    assert {r["metric"] for r in score_all(outputs, TEST_SETS)} == {"bleu", "chrf"}


def test_all_systems_are_compared_with_the_baseline_of_their_seed():
    outputs = study()
    rows = compare_all(outputs, TEST_SETS, "forward_kd", ["bleu"], n_samples=100)
    scores = {
        (r["system"], r["seed"], r["direction"]): r["score"]
        for r in score_all(outputs, TEST_SETS, ["bleu"])
        if r["metric"] == "bleu"
    }
    assert [(r["system"], r["seed"], r["direction"]) for r in rows] == [
        (system, seed, direction)
        for direction in ("en-de", "de-en")
        for seed in (1, 2)
        for system in ("teacher", "sft", "self_evolution")
    ]
    for r in rows:
        seed = None if r["system"] == "teacher" else r["seed"]
        assert r["score"] == scores[r["system"], seed, r["direction"]]
        assert r["baseline_score"] == scores["forward_kd", r["seed"], r["direction"]]
        assert r["delta"] == r["score"] - r["baseline_score"]
        assert r["significant"] is (r["p_value"] < 0.05)
        assert r["baseline"] == "forward_kd"
    assert {"bs:100|seed:12345" in r["signature"] for r in rows} == {True}
    json.dumps(rows)


def test_metrics_of_a_comparison_are_not_mixed_up():
    outputs = study(seeds=(1,))
    both = compare_all(outputs, TEST_SETS, "sft", ["chrf", "bleu"], n_samples=50)
    for metric in ("bleu", "chrf"):
        alone = compare_all(outputs, TEST_SETS, "sft", [metric], n_samples=50)
        assert [r for r in both if r["metric"] == metric] == alone


def test_a_baseline_without_seed_serves_all_seeds():
    outputs = study()
    rows = compare_all(outputs, TEST_SETS, "teacher", ["bleu"], n_samples=20)
    assert [(r["system"], r["seed"]) for r in rows[:6]] == [
        (system, seed) for system in ("sft", "forward_kd", "self_evolution") for seed in (1, 2)
    ]


def test_seeds_are_pooled_on_demand():
    outputs = study(methods=(("sft", 3), ("forward_kd", 4), ("noevo", 4)))
    plain = compare_all(outputs, TEST_SETS, "sft", ["bleu"], n_samples=50)
    rows = compare_all(outputs, TEST_SETS, "sft", ["bleu"], n_samples=50, trials=100)
    assert [row for row in rows if "runs" not in row] == plain
    pooled = {(r["system"], r["direction"]): r for r in rows if "runs" in r}
    assert {place: row["runs"] for place, row in pooled.items()} == {
        (system, test_set.direction): [1 if system == "teacher" else 2, 2]
        for system in ("teacher", "forward_kd", "noevo")
        for test_set in TEST_SETS
    }
    row = pooled["forward_kd", "de-en"]
    assert "ar:100|seed:12345" in row["signature"]
    assert (row["seed"], row["baseline"], row["segments"]) == (None, "sft", 4)
    lines = {
        name: [o.hypotheses for o in outputs if (o.system, o.direction) == (name, "de-en")]
        for name in ("sft", "forward_kd")
    }
    for key, name in (("score", "forward_kd"), ("baseline_score", "sft")):
        truth = sacrebleu.corpus_bleu([x for own in lines[name] for x in own], [ENGLISH * 2])
        assert row[key] == pytest.approx(truth.score)


def test_the_family_of_a_correction_is_a_column():
    outputs = study(methods=(("sft", 3), ("forward_kd", 4), ("noevo", 5)))
    options = {"n_samples": 50, "trials": 100}
    plain = compare_all(outputs, TEST_SETS, "sft", **options)
    rows = compare_all(outputs, TEST_SETS, "sft", correction="holm", **options)
    families = {}
    for before, row in zip(plain, rows, strict=True):
        assert before["p_value"] == row["p_value"]
        assert row["significant"] == (row["p_corrected"] < 0.05)
        key = (row["direction"], row["metric"], row["seed"], "runs" in row)
        families.setdefault(key, []).append((row["p_value"], row["p_corrected"]))
    assert len(families) == 2 * 2 * 3
    for tests in families.values():
        assert len(tests) == 3
        smallest = min(tests)
        assert smallest[1] == pytest.approx(min(1, 3 * smallest[0]))
    with pytest.raises(InputError, match="'bonferroni' of p-values; accepted: none, holm"):
        compare_all(outputs, TEST_SETS, "sft", correction="bonferroni")


def test_a_missing_baseline_is_an_error():
    with pytest.raises(InputError, match=r"'reverse_kd' has no output for captions en-de.*teacher"):
        compare_all(study(), TEST_SETS, "reverse_kd")
    outputs = [o for o in study() if (o.system, o.seed) != ("sft", 2)]
    with pytest.raises(InputError, match="forward_kd on captions en-de, seed 2 has no baseline"):
        compare_all(outputs, TEST_SETS, "sft")


def test_outputs_that_fit_nothing_are_refused():
    output = SystemOutput("sft", 1, "captions", "en-de", GERMAN)
    with pytest.raises(InputError, match=r"seed 1: no such test set.*known: captions en-de"):
        score_all([SystemOutput("sft", 1, "news", "en-de", GERMAN)], TEST_SETS)
    with pytest.raises(InputError, match=r"sft on captions en-de, seed 1 has 3 lines.*has 4"):
        score_all([SystemOutput("sft", 1, "captions", "en-de", GERMAN[:3])], TEST_SETS)
    with pytest.raises(InputError, match="seed 1 is there twice"):
        behaviour_all([output, output], TEST_SETS)


def test_behaviour_rows_carry_the_labels():
    output = SystemOutput("sft", 1, "captions", "en-de", ["", *ENGLISH[1:]], [True] * 4)
    (found,) = behaviour_all([output], TEST_SETS)
    assert found["system"] == "sft"
    assert found["direction"] == "en-de"
    assert (found["empty"], found["copied"], found["cut_off"]) == (1, 3, 4)
    assert found["lines"]["copied"] == [2, 3, 4]


def test_summary_by_hand():
    scores = [
        row("a", 10.0, 1), row("a", 14.0, 2), row("a", 18.0, 3),
        row("a", 20.0, 1, "de-en"), row("a", 20.0, 2, "de-en"), row("a", 26.0, 3, "de-en"),
        row("teacher", 30.0, None), row("teacher", 40.0, None, "de-en"),
    ]  # fmt: skip
    found = {(r["system"], r["direction"]): r for r in summarise(scores)}
    assert found["a", "en-de"] == {
        "system": "a", "test_set": "t", "direction": "en-de", "metric": "bleu",
        "mean": 14.0, "std": 4.0, "seeds": 3,
    }  # fmt: skip
    # averages by seed are 15, 17 and 22
    assert found["a", "average"]["mean"] == 18.0
    assert found["a", "average"]["std"] == pytest.approx(13**0.5)
    assert found["teacher", "average"]["mean"] == 35.0
    assert found["teacher", "average"]["std"] is None
    assert found["teacher", "average"]["seeds"] == 1


def test_no_average_of_one_direction_or_of_half_the_directions():
    assert [r["direction"] for r in summarise([row("a", 1.0)])] == ["en-de"]
    scores = [
        row("a", 1.0), row("a", 3.0, 1, "de-en"), row("a", 90.0, 2), row("b", 1.0),
    ]  # fmt: skip
    averages = [r for r in summarise(scores) if r["direction"] == "average"]
    assert [(r["system"], r["mean"], r["seeds"]) for r in averages] == [("a", 2.0, 1)]


def test_gap_closed_by_hand():
    scores = [
        row("sft", 10.0, 1), row("sft", 12.0, 2), row("kd", 15.0, 1), row("kd", 12.0, 2),
        row("teacher", 20.0, None),
        row("sft", 20.0, 1, "de-en"), row("sft", 20.0, 2, "de-en"),
        row("kd", 21.0, 1, "de-en"), row("kd", 19.0, 2, "de-en"),
        row("teacher", 24.0, None, "de-en"),
    ]  # fmt: skip
    found = {(r["direction"], r["seed"]): r["value"] for r in gap_closed(scores)}
    assert found == {
        ("en-de", 1): 5 / 10,
        ("en-de", 2): 0.0,
        ("en-de", None): (13.5 - 11) / (20 - 11),
        ("de-en", 1): 1 / 4,
        ("de-en", 2): -1 / 4,
        ("de-en", None): 0.0,
        ("average", 1): (18 - 15) / (22 - 15),
        ("average", 2): (15.5 - 16) / (22 - 16),
        ("average", None): (16.75 - 15.5) / (22 - 15.5),
    }


def test_gap_of_an_error_rate_is_turned_round():
    scores = [row(s, v, metric="ter") for s, v in [("sft", 60.0), ("kd", 50.0), ("teacher", 40.0)]]
    assert {r["value"] for r in gap_closed(scores)} == {0.5}


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([row("sft", 20.0), row("kd", 21.0), row("teacher", 20.4)], "leads sft by 0.40 points"),
        ([row("sft", 20.0), row("kd", 21.0), row("teacher", 15.0)], "leads sft by -5.00 points"),
        ([row("sft", 20.0), row("kd", 21.0)], "no score of teacher"),
        ([row("kd", 21.0), row("teacher", 25.0)], "no score of sft"),
    ],
)
def test_a_gap_that_means_nothing_has_a_reason(scores, reason):
    rows = gap_closed(scores)
    assert [r["seed"] for r in rows] == [1, None]
    for r in rows:
        assert r["value"] is None
        assert reason in r["reason"]


def test_a_study_holds_together():
    scores = score_all(study(), TEST_SETS)
    means = {(r["system"], r["direction"], r["metric"]): r["mean"] for r in summarise(scores)}
    rows = gap_closed(scores)
    assert {r["metric"] for r in rows} == {"bleu", "chrf"}
    assert {r["system"] for r in rows} == {"forward_kd", "self_evolution"}
    for r in rows:
        if r["seed"] is None:
            low, own, high = (
                means[system, r["direction"], r["metric"]]
                for system in ("sft", r["system"], "teacher")
            )
            assert r["value"] == pytest.approx((own - low) / (high - low))
    for system in ("sft", "teacher"):
        both = [means[system, direction, "bleu"] for direction in ("en-de", "de-en")]
        assert means[system, "average", "bleu"] == pytest.approx(statistics.fmean(both))
