"""The headline says what was found, how sure it is, and how fast the best student is."""

from __future__ import annotations

from typing import Any

import pytest

from evokd.report.headline import headline
from evokd.report.results import Results
from fake_run import small_results


def test_headline_says_what_was_found() -> None:
    assert headline(Results(small_results()))[0] == (
        "self_evolution closes 55 % of the gap between the SFT student (20.0 BLEU) and the teacher "
        "(30.0), +1.5 BLEU over forward_kd (p = 0.010)."
    )


def test_headline_is_honest_when_there_is_little() -> None:
    results = small_results()
    for row in results["comparisons"]:
        row["significant"], row["p_value"] = False, 0.31
    assert (
        "; its +1.5 BLEU over forward_kd is not significant (p = 0.31)."
        in headline(Results(results))[0]
    )
    for row in results["summary"]:
        row["mean"] = {"self_evolution": 19.0}.get(row["system"], row["mean"])
    results["gap_closed"][1]["value"] = -0.1
    line = headline(Results(results))[0]
    assert line.startswith("self_evolution (19.0 BLEU) falls behind the SFT student (20.0)")
    assert "−5.0 BLEU against forward_kd" in line


def test_headline_knows_the_noise() -> None:
    results = small_results()
    for key in ("systems", "scores", "summary"):
        twin = next(row for row in results[key] if row["system"] == "forward_kd")
        changes = {"system": "noevo", "objective": "noevo", "mean": 25.8, "score": 25.8}
        results[key].append(twin | {k: v for k, v in changes.items() if k in twin})
    assert "no larger than the noise of this setup" in headline(Results(results))[1]
    results["summary"][-1]["mean"] = 24.3
    assert (
        "still differ by 0.3 BLEU: smaller differences mean nothing"
        in headline(Results(results))[1]
    )
    results["summary"][-1]["mean"] = 24.0
    assert "gave the same scores" in headline(Results(results))[1]
    assert "only more seeds would show its noise" in headline(Results(results))[1]
    results["seeds"] = [1, 2]
    assert "its noise is that between seeds" in " ".join(headline(Results(results)))


@pytest.mark.parametrize(
    "own",
    [
        {"settings": {"lam": 1.0}},
        {"settings": {"lam": 0.5, "text": "filtered"}},
        {"settings": {"lam": 0.5, "start": "sft"}},
        {"settings": {"lam": 0.5, "on_policy": {"share": 0.5}}},
        {"settings": {"lam": 0.5, "competence": {"samples": 2}}},
        {"training": {"max_steps": 30}},
        {"train_steps": 30},  # of a folder from before trainings stood in results.json
    ],
)
def test_headline_compares_only_what_was_trained_alike(own: dict[str, Any]) -> None:
    results = small_results()
    row = next(row for row in results["systems"] if row["system"] == "forward_kd")
    row |= {"settings": {"lam": 0.5, "beta": 0.5}, "training": {}, "train_steps": 600}
    twin = {"system": "noevo", "objective": "noevo"}
    for key in ("scores", "summary"):
        results[key].append(results[key][1] | {"system": "noevo"})
    results["systems"].append(row | twin | own)
    assert len(headline(Results(results))) == 1
    like = {"settings": {"lam": 0.5, "beta": 0.9}}
    results["systems"].append(row | like | {"system": "other", "objective": "noevo"})
    for key in ("scores", "summary"):
        results[key].append(results[key][1] | {"system": "other"})
    said = headline(Results(results))[1]
    assert said.startswith("forward_kd and other have the same gradients and gave the same scores")


def test_headline_ends_with_the_speed_of_teacher_and_best_student() -> None:
    results = small_results()
    assert len(headline(Results(results))) == 1
    pace = {"teacher": [(100, 4.0), (400, 1.0)], "self_evolution": [(400, 2.0)], "sft": [(900, 1)]}
    how = {"beam": 1, "dtype": "float32", "device": "cpu"}
    results["speed"] = [
        {"system": name, "words_per_s": rate, "seconds": seconds, **how}
        for name, rows in pace.items()
        for rate, seconds in rows
    ]
    # 400 + 400 words in 5 seconds; sft is faster still, but not the best
    assert headline(Results(results))[-1] == (
        "The teacher translates 160 words/s, the best student, self_evolution, 400: "
        "2.5 times as many (beam 1, float32, cpu)."
    )
    results["speed"][-2]["device"] = "cuda:0"  # a comparison of devices, no longer of models
    assert headline(Results(results))[-1] == (
        "The teacher translates 160 words/s (beam 1, float32, cpu), the best student, "
        "self_evolution, 400 (beam 1, float32, cuda:0)."
    )
    results["speed"] = results["speed"][:2]
    assert len(headline(Results(results))) == 1


def test_what_was_advised_leads_and_the_published_gate_follows() -> None:
    results = small_results()
    for key in ("systems", "scores", "summary", "comparisons"):
        ours = next(row for row in results[key] if row["system"] == "self_evolution")
        results[key].append(ours | {"system": "auto"})
    results["systems"][-1]["settings"] = {"open": True, "gate": "vouched", "gamma": 0.4}
    published = next(row for row in results["systems"] if row["system"] == "self_evolution")
    published["settings"] = {"gate": "hard", "gamma": 0.4, "difficulty": "kl"}
    lines = headline(Results(results))
    assert lines[0].startswith("auto ")
    assert lines[1].startswith("self_evolution, as published, reaches 25.5, +1.5 BLEU over")
    published["settings"]["gamma"] = 1.5
    assert len(headline(Results(results))) == len(lines) - 1
