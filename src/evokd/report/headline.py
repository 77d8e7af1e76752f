"""What was found, in plain words; as ready to say that nothing was."""

from __future__ import annotations

from evokd.report.results import (
    Results,
    comparisons_of,
    focus_system,
    gap_closed,
    is_significant,
    mean_score,
    names_of_test_sets,
    objectives_of,
    plain_student,
    systems,
)


def headline(results: Results) -> list[str]:
    """The finding in one sentence, and the sentences that put it into proportion.

    BLEU on the first test set, the mean over directions and seeds. The second kind of sentence
    compares the finding with the noise of the setup: forward_kd and noevo have the same gradients,
    so what lies between their scores is chance. The last one says what the study is for: how much
    faster than the teacher the best student translates.
    """
    names = names_of_test_sets(results)
    if not names:
        return ["Nothing has been scored yet."]
    test_set, focus = names[0], focus_system(results)
    if focus is None or mean_score(results, focus, test_set) is None:
        return [_without_distillation(results, test_set)]
    where = f"On {test_set}, " if len(names) > 1 else ""
    lines = [f"{where}{_gap(results, focus, test_set)}{_lead(results, focus, test_set)}."]
    noise = _noise(results, focus, test_set)
    seeds = len(results.get("seeds") or [])
    if seeds > 1:
        lines.append(f"Scores are means over {seeds} seeds.")
    pace = _pace(results, test_set)
    return lines + [line for line in (noise, pace) if line]


def signed(points: float) -> str:
    """+1.2, −0.8; two decimals where one would show no difference."""
    return f"{points:+.{_decimals(points)}f}".replace("-", "−")


def format_p(p_value: float) -> str:
    """0.31, 0.003, < 0.001."""
    if p_value < 0.001:
        return "< 0.001"
    return f"= {p_value:.3f}" if p_value < 0.1 else f"= {p_value:.2f}"


def _decimals(points: float) -> int:
    return 2 if abs(points) < 0.1 else 1


def _without_distillation(results: Results, test_set: str) -> str:
    student = plain_student(results)
    low = mean_score(results, student, test_set) if student else None
    high = mean_score(results, "teacher", test_set)
    if low is not None and high is not None:
        return (
            f"The student trained without a teacher reaches {low:.1f} BLEU, the teacher "
            f"{high:.1f}; no distilled student has been scored."
        )
    found = high if low is None else low
    if found is None:
        return "No BLEU score is there."
    who = "The teacher" if low is None else "The student trained without a teacher"
    return f"{who} reaches {found:.1f} BLEU; nothing else has been scored."


def _gap(results: Results, focus: str, test_set: str) -> str:
    student = plain_student(results)
    own = mean_score(results, focus, test_set)
    low = mean_score(results, student, test_set) if student else None
    high = mean_score(results, "teacher", test_set)
    assert own is not None
    share, _ = gap_closed(results, focus, test_set)
    if share is None or low is None or high is None:
        others = [f"the teacher {high:.1f}"] if high is not None else []
        others += [f"the SFT student {low:.1f}"] if low is not None else []
        return ", ".join([f"{focus} reaches {own:.1f} BLEU", *others])
    if share < 0:
        return (
            f"{focus} ({own:.1f} BLEU) falls behind the SFT student ({low:.1f}): it closes none "
            f"of the gap to the teacher ({high:.1f})"
        )
    if share >= 1:
        return (
            f"{focus} ({own:.1f} BLEU) closes the whole gap between the SFT student ({low:.1f}) "
            f"and the teacher ({high:.1f})"
        )
    return (
        f"{focus} closes {100 * share:.0f} % of the gap between the SFT student "
        f"({low:.1f} BLEU) and the teacher ({high:.1f})"
    )


def _lead(results: Results, focus: str, test_set: str) -> str:
    """Its distance to the baseline, with what the significance tests say about it."""
    baseline, delta = results.get("baseline"), _delta(results, focus, test_set)
    if delta is None:
        return ""
    side = "over" if delta >= 0 else "against"
    told = f"{signed(delta)} BLEU {side} {baseline}"
    tests = comparisons_of(results, focus, test_set, "bleu")
    if not tests:
        return f", {told} (not tested for significance)"
    agreeing = [t for t in tests if is_significant(t) and (t["delta"] > 0) == (delta > 0)]
    opposed = [t for t in tests if is_significant(t) and (t["delta"] > 0) != (delta > 0)]
    if len(tests) == 1:
        values = f"p {format_p(tests[0]['p_value'])}"
    elif len({test["direction"] for test in tests}) == len(tests):
        values = ", ".join(f"{t['direction']} p {format_p(t['p_value'])}" for t in tests)
    else:
        values = f"p < 0.05 in {len(agreeing)} of {len(tests)} tests"
    if opposed:
        values += "; a significant difference the other way in " + ", ".join(
            dict.fromkeys(test["direction"] for test in opposed)
        )
    if len(agreeing) == len(tests):
        return f", {told} ({values})"
    if agreeing or opposed:
        return f", {told}, which is significant only in part ({values})"
    return f"; its {told} is not significant ({values})"


def _noise(results: Results, focus: str, test_set: str) -> str | None:
    """How far two methods with the same gradients are apart, beside the finding."""
    objectives = objectives_of(results)
    twins = [
        next((name for name, objective in objectives.items() if objective == wanted), None)
        for wanted in ("forward_kd", "noevo")
    ]
    if twins[0] is None or twins[1] is None or not _same_lambda(results, twins[0], twins[1]):
        return None
    # the largest over directions: in an average, chance cancels and looks smaller than it is
    pairs = [
        [mean_score(results, name, test_set, "bleu", direction) for name in twins if name]
        for direction in results.get("directions") or []
    ]
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    if not gaps:
        return None
    noise, delta = max(gaps), _delta(results, focus, test_set)
    if noise < 0.005 and len(results.get("seeds") or []) > 1:
        return (
            f"{twins[0]} and {twins[1]} have the same gradients and gave the same scores: this "
            "setup repeats itself exactly, and its noise is that between seeds."
        )
    if noise < 0.005:
        return (
            f"{twins[0]} and {twins[1]} have the same gradients and gave the same scores: this "
            "setup repeats itself exactly, and only more seeds would show its noise."
        )
    up_to = "up to " if len(gaps) > 1 else ""
    fact = (
        f"{twins[0]} and {twins[1]} have the same gradients and still differ by {up_to}"
        f"{noise:.{_decimals(noise)}f} BLEU"
    )
    if delta is not None and focus not in twins and noise >= abs(delta):
        return (
            f"{fact}: what separates {focus} from {results['baseline']} is no larger than the "
            "noise of this setup."
        )
    return f"{fact}: smaller differences mean nothing here."


def _pace(results: Results, test_set: str) -> str | None:
    """Source words per second of the teacher and of the student with the best BLEU."""
    scores = {
        name: mean_score(results, name, test_set) for name in systems(results) if name != "teacher"
    }
    known = {name: score for name, score in scores.items() if score is not None}
    if not known:
        return None
    best = max(known, key=lambda name: known[name])
    slow, fast = (_words_per_s(results, name) for name in ("teacher", best))
    if not slow or not fast:
        return None
    how, how_best = _decoding(results, "teacher"), _decoding(results, best)
    if how != how_best:
        return (
            f"The teacher translates {slow:.0f} words/s ({how}), the best student, {best}, "
            f"{fast:.0f} ({how_best})."
        )
    return (
        f"The teacher translates {slow:.0f} words/s, the best student, {best}, {fast:.0f}: "
        f"{fast / slow:.1f} times as many{f' ({how})' if how else ''}."
    )


def _words_per_s(results: Results, system: str) -> float | None:
    """Over everything that it translated."""
    own = [row for row in results.get("speed") or [] if row["system"] == system]
    seconds = sum(row.get("seconds") or 0 for row in own)
    words = sum((row.get("seconds") or 0) * (row.get("words_per_s") or 0) for row in own)
    return words / seconds if seconds else None


def _decoding(results: Results, system: str) -> str:
    """What the speed of a system depends on, each value once: beam 1, float32, cpu."""
    own = [row for row in results.get("speed") or [] if row["system"] == system]
    beams = [f"beam {row['beam']}" for row in own if row.get("beam")]
    others = [row[key] for key in ("dtype", "device") for row in own if row.get(key)]
    return ", ".join(dict.fromkeys(beams + others))


def _delta(results: Results, focus: str, test_set: str) -> float | None:
    baseline = results.get("baseline")
    if not baseline or baseline == focus:
        return None
    own, other = (mean_score(results, name, test_set) for name in (focus, baseline))
    return None if own is None or other is None else own - other


def _same_lambda(results: Results, first: str, second: str) -> bool:
    values = {
        (row.get("settings") or {}).get("lam")
        for row in results.get("systems") or []
        if row["system"] in (first, second)
    }
    return len(values) == 1
