"""What the check before training advises: which method and text, for the data at hand, and why.

The rules are those of the map (docs/regimes.md): what wins where, as measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evokd.recipe.methods import MethodSettings
from evokd.recipe.recipe import Recipe

FEW_WRONG = 0.02
"""Estimated share of wrong pairs up to which there may be none: the estimate is off by as much."""
UNSURE = 4.0
"""Nats per validation token that the teacher spends on references above which it knows too little
to teach: of image captions it was 2 and more, of made sentences 0.05."""
BLURRED = (0.1, 1.4)
"""Nats per validation token, and how many times as many, by which the entropy of a teacher of worse
text exceeds what clean references cost it. Of others it was up to 1.08 times as much where they
spent 2 nats and more, and up to 0.08 more where they spent less than 0.15."""
VOUCHED = {"objective": "self_evolution", "gate": "vouched"}


@dataclass(frozen=True)
class Advice:
    """A method for the data at hand."""

    method: dict[str, Any]
    """Keys of a method in a recipe, without its name."""
    reason: str
    row: str
    """Of docs/regimes.md."""

    def lines(self) -> list[str]:
        """Two lines for the log and the report."""
        return [
            f"advice: {self.reason}",
            f"advice: take {_words(self.method)} (docs/regimes.md, {self.row})",
        ]


def advise(facts: Mapping[str, Any], unpaired: int = 0) -> Advice:
    """A method, from what the check before training measured.

    Args:
        facts: teacher_nll, teacher_entropy and student_nll (nats per validation token),
            hard_share (of the start's tokens), wrong_share (estimate; of the training pairs; None:
            it can't be told).
        unpaired: sentences without a translation.
    """
    lead = facts["student_nll"] - facts["teacher_nll"]
    wrong, hard = facts.get("wrong_share"), facts["hard_share"]
    looks = (
        "how many of the training pairs are wrong can't be told"
        if wrong is None
        else f"about {wrong:.0%} of the training pairs look wrong to the teacher"
    )
    seen = (
        f"{looks}, {hard:.0%} of the start's tokens are hard, the teacher leads by {lead:.2f} nats "
        "a token"
    )
    if lead <= 0:
        return Advice({"objective": "sft"}, f"{seen}: there is nothing to distil", "no lead")
    if facts["teacher_nll"] > UNSURE:
        spends = f"but spends {facts['teacher_nll']:.1f} itself: it hardly knows the language"
        return Advice({"objective": "sft"}, f"{seen}, {spends}", "unsure")
    if unpaired:
        more = f"{seen}; {unpaired} sentences without a translation are there for it to translate"
        return Advice({**VOUCHED, "text": "teacher"}, more, "plain text")
    if wrong is None:
        untold = f"{seen}; a teacher judges pairs that it wasn't trained on (corpus.held_out)"
        return Advice({**VOUCHED, "text": "reference"}, untold, "not told")
    if wrong > FEW_WRONG:
        return Advice({**VOUCHED, "text": "teacher"}, f"{seen}: its own text is cleaner", "noise")
    expected, apart = facts["teacher_entropy"], facts["teacher_entropy"] - facts["teacher_nll"]
    if apart > BLURRED[0] and expected > BLURRED[1] * facts["teacher_nll"]:
        learnt = f"but expects to be surprised by {apart:.2f} more than it is: it learnt worse text"
        return Advice({"objective": "sft"}, f"{seen}, {learnt}", "blurred")
    return Advice({**VOUCHED, "text": "reference"}, f"{seen}: the references are fine", "clean")


def with_advice(
    recipe: Recipe, advice: Mapping[str, Any], log: Callable[[str], None] = print
) -> Recipe:
    """The recipe with what was advised laid over each method that leaves it open."""
    return recipe.model_copy(
        update={"methods": tuple(_advised(method, advice, log) for method in recipe.methods)}
    )


def _advised(
    method: MethodSettings, advice: Mapping[str, Any], log: Callable[[str], None]
) -> MethodSettings:
    if not method.open:
        return method
    own = method.model_dump(mode="json", exclude_defaults=True)
    unused = []
    if advice["objective"] != method.objective:  # whose settings the other one doesn't have
        unused = [key for key in own if key not in ("name", "start", "training", "open")]
        own = {key: value for key, value in own.items() if key not in unused}
    lost = ", ".join(key for key in unused if key not in (*VOUCHED, "text"))
    log(f"{method.name}: takes {_words(advice)}" + (f", which has no {lost}" if lost else ""))
    return MethodSettings.model_validate({**own, **advice})


def _words(method: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in method.items()) + "}"
