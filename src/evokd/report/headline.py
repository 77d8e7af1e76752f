"""What was found, in plain words; as ready to say that nothing was."""

from __future__ import annotations

from itertools import product

from evokd.recipe.metrics import AVERAGE, describe
from evokd.recipe.objectives import ObjectiveSettings
from evokd.report.formatting import arrow, p_value, points, signed
from evokd.report.results import Results, is_significant

SHOWN = 4
"""Systems that the headline of a comparison names."""
PUBLISHED = ObjectiveSettings().model_dump(include={"lam", "beta", "gamma", "gate", "difficulty"})
"""Self-evolution as in its paper."""


def headline(results: Results) -> list[str]:
    """The finding in one sentence, and the sentences that put it into proportion.

    BLEU on the first test set, the mean over directions and seeds. The second kind of sentence
    compares the finding with the noise of the setup: forward_kd and noevo, trained alike, have the
    same gradients, so what lies between their scores is chance. The last one says what the study is
    for: how much faster than the teacher the best student translates.
    """
    if not results.columns:
        return ["Nothing has been scored yet."]
    focus = results.focus
    if results.tree.get("side_by_side") and len(results.systems) > 1:
        return [_side_by_side(results)]
    if focus is None or results.bleu(focus) is None:
        return [_without_distillation(results)]
    test_set = next(iter(results.columns))
    where = f"On {test_set}, " if len(results.columns) > 1 else ""
    lines = [f"{where}{_gap(results, focus, test_set)}{_lead(results, focus, test_set)}."]
    if len(results.seeds) > 1:
        lines.append(f"Scores are means over {len(results.seeds)} seeds.")
    return [*lines, *_published(results, focus), *_noise(results, focus), *_speed(results)]


def _side_by_side(results: Results) -> str:
    """Of systems that no single study made: the order, on the first test set and metric."""
    test_set, columns = next(iter(results.columns.items()))
    metric = columns[0][0]
    column = next(one for one in reversed(columns) if one[0] == metric)
    cells = {name: results.cell(name, test_set, column) for name in results.systems}
    known = {name: cell.mean for name, cell in cells.items() if cell.mean is not None}
    spec = describe(metric)
    ranked = sorted(known, key=lambda name: known[name], reverse=not spec.lower_is_better)
    others = ", ".join(f"{name} {cells[name].printed}" for name in ranked[1:SHOWN])
    more = f" and {len(ranked) - SHOWN} more" if len(ranked) > SHOWN else ""
    where = f"{test_set}, {'mean over directions' if column[1] == AVERAGE else arrow(column[1])}"
    best = f"{ranked[0]} {cells[ranked[0]].printed} {spec.label}"
    return f"{where}: {best}, {others}{more}."


def _without_distillation(results: Results) -> str:
    reached = {
        "the student trained without a teacher": results.bleu(results.plain_student),
        "the teacher": results.bleu("teacher"),
    }
    known = [f"{who} reaches {bleu:.1f}" for who, bleu in reached.items() if bleu is not None]
    if not known:
        return "No BLEU score is there."
    return f"In BLEU {' and '.join(known)}; no distilled student has been scored."


def _gap(results: Results, focus: str, test_set: str) -> str:
    own, high = results.bleu(focus), results.bleu("teacher")
    low = results.bleu(results.plain_student)
    share, _ = results.gap_closed(focus, test_set)
    if share is None or low is None or high is None:
        others = {"the teacher": high, "the SFT student": low}
        known = [f"{who} {bleu:.1f}" for who, bleu in others.items() if bleu is not None]
        return ", ".join([f"{focus} reaches {own:.1f} BLEU", *known])
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
    delta = _delta(results, focus)
    if delta is None:
        return ""
    lead = f"{signed(delta)} BLEU {'over' if delta >= 0 else 'against'} {results.baseline}"
    tests = [
        test
        for direction in results.directions
        for test in results.tests.get((focus, test_set, "bleu", direction), [])
    ]
    if not tests:
        return f", {lead} (not tested for significance)"
    significant = [test for test in tests if is_significant(test)]
    opposed = [test for test in significant if (test["delta"] > 0) != (delta > 0)]
    agreeing = len(significant) - len(opposed)
    if len(tests) == 1:
        values = p_value(tests[0]["p_value"])
    elif len({test["direction"] for test in tests}) == len(tests):
        values = ", ".join(f"{test['direction']} {p_value(test['p_value'])}" for test in tests)
    else:
        values = f"p < 0.05 in {agreeing} of {len(tests)} tests"
    if opposed:
        directions = dict.fromkeys(test["direction"] for test in opposed)
        values += f"; a significant difference the other way in {', '.join(directions)}"
    if agreeing == len(tests):
        return f", {lead} ({values})"
    if significant:
        return f", {lead}, which is significant only in part ({values})"
    return f"; its {lead} is not significant ({values})"


def _published(results: Results, focus: str) -> list[str]:
    """Where self-evolution as in its paper stands, if the finding is about another method."""
    test_set = next(iter(results.columns))
    for name in results.students:
        settings, own = results.settings(name), results.bleu(name)
        published = results.objective(name) == "self_evolution" and results.on_references(name)
        published &= all(settings.get(key, value) == value for key, value in PUBLISHED.items())
        if published and name != focus and own is not None:
            return [f"{name}, as published, reaches {own:.1f}{_lead(results, name, test_set)}."]
    return []


def _noise(results: Results, focus: str) -> list[str]:
    """How far two methods with the same gradients are apart, beside the finding."""
    twins = _twins(results)
    if not twins:
        return []
    # the largest over directions: in an average, chance cancels and looks smaller than it is
    pairs = [[results.bleu(name, one) for name in twins] for one in results.directions]
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    if not gaps:
        return []
    noise, delta = max(gaps), _delta(results, focus)
    fact = f"{twins[0]} and {twins[1]} have the same gradients and"
    if noise < 0.005:
        several = "its noise is that between seeds"
        seen = several if len(results.seeds) > 1 else "only more seeds would show its noise"
        return [f"{fact} gave the same scores: this setup repeats itself exactly, and {seen}."]
    fact += f" still differ by {'up to ' if len(gaps) > 1 else ''}{points(noise)} BLEU"
    if delta is not None and focus not in twins and noise >= abs(delta):
        return [
            f"{fact}: what separates {focus} from {results.baseline} is no larger than the noise "
            "of this setup."
        ]
    return [f"{fact}: smaller differences mean nothing here."]


def _twins(results: Results) -> tuple[str, ...] | None:
    """The first forward_kd and noevo that were trained alike: on one text, from one start, with the
    same λ and training."""
    own = {name: results.objective(name) for name in results.students}
    pairs = product(*([n for n in own if own[n] == one] for one in ("forward_kd", "noevo")))
    return next((pair for pair in pairs if len(set(map(results.trained_as, pair))) == 1), None)


def _speed(results: Results) -> list[str]:
    """Source words per second of the teacher and of the student with the best BLEU."""
    best = results.best(results.students)
    slow, fast = (results.words_per_s.get(name or "") for name in ("teacher", best))
    if not best or not slow or not fast:
        return []
    how, how_best = _decoding(results, "teacher"), _decoding(results, best)
    if how != how_best:
        return [
            f"The teacher translates {slow:.0f} words/s ({how}), the best student, {best}, "
            f"{fast:.0f} ({how_best})."
        ]
    return [
        f"The teacher translates {slow:.0f} words/s, the best student, {best}, {fast:.0f}: "
        f"{fast / slow:.1f} times as many{f' ({how})' if how else ''}."
    ]


def _decoding(results: Results, system: str) -> str:
    """What the speed of a system depends on, each value once: beam 1, float32, cpu."""
    beams = [f"beam {beam}" for beam in results.decoding(system, "beam")]
    others = [results.decoding(system, key) for key in ("dtype", "device", "engine")]
    return ", ".join(sum(others, beams))


def _delta(results: Results, focus: str) -> float | None:
    """Points of BLEU between a system and the baseline."""
    own, other = results.bleu(focus), results.bleu(results.baseline)
    return None if own is None or other is None or results.baseline == focus else own - other
