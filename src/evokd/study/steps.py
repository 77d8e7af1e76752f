"""What a run would do with each stage, and why: kept, made, or made anew."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evokd.rundir.files import fingerprint, read_sealed
from evokd.rundir.integrity import MANIFEST, STARTED
from evokd.rundir.records import find_record
from evokd.rundir.stage import KEPT, Stage, is_of_earlier, manifest_in

Action = Literal["keep", "make", "remake"]
HASH = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")
ABSENT = object()
MOST_SHOWN = 6  # settings that differ, in a line
UNDECIDED = "what it takes is decided by the check before training"
ALSO_NEEDED = {
    "students": ("cache",),
    "filtered": ("gate",),  # which has scored some of the pairs
    "teacher_text": ("teacher_text",),  # whose hypotheses may serve both kinds
}
"""Kinds of stages → those that they read, too, or go on from, though it changes nothing of them."""


@dataclass(frozen=True)
class Step:
    """A stage in a dry run."""

    name: str
    action: Action
    because: str
    place: str
    """In the run folder."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """The manifest of what stands in its place, whatever it was made of."""
    made_of: Mapping[str, Any] = field(default_factory=dict)
    """What it is to be made of."""
    key: str = ""
    """The fingerprint of that."""

    @property
    def kind(self) -> str:
        """The folder of its kind: students, start."""
        return self.place.split("/")[0].split(".")[0]

    @property
    def is_record(self) -> bool:
        """Whether it is a small result, no stage."""
        return self.place.endswith(".json")

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "action": self.action, "because": self.because}


def step_of(stage: Stage, found: Path | None) -> Step:
    """What a run would do with a stage that stands whole in a folder, or nowhere."""
    before = manifest_in(stage.folder)

    def step(action: Action, because: str) -> Step:
        given = (stage.place, before, stage.made_of, stage.fingerprint)
        return Step(stage.name, action, because, *given)

    if found == stage.folder:
        return step("keep", "done before")
    if found is not None:
        kept = found.is_relative_to(stage.root / KEPT)
        return step("keep", f"done before, in {found.relative_to(stage.root) if kept else found}")
    if not before:
        if is_of_earlier(stage.folder):
            return step("remake", "an earlier version of evokd made it")
        if (stage.folder / MANIFEST).exists():
            return step("remake", f"{stage.place}/{MANIFEST} isn't what was written")
        begun = (stage.folder / STARTED).exists()
        return step("make", "begun before, not finished" if begun else "not made yet")
    if before["fingerprint"] == stage.fingerprint:
        wrong = [f"{stage.place}/{name} {what}" for name, what in stage.wrong().items()]
        return step("remake", "; ".join(wrong))
    return step("remake", in_words(differences(before["made_of"], stage.manifest_made_of())))


def step_of_record(name: str, root: Path, path: Path, made_of: Mapping[str, Any]) -> Step:
    """The same of a small result."""
    place, key = path.relative_to(root).as_posix(), fingerprint(made_of)
    found, before = find_record(root, path, key), {}
    with contextlib.suppress(OSError, ValueError):
        before = read_sealed(path)

    def step(action: Action, because: str) -> Step:
        return Step(name, action, because, place, made_of=made_of, key=key)

    if found is not None:
        return step("keep", "done before")
    if not before:
        damaged = path.exists()
        return (
            step("remake", f"{place} isn't what was written")
            if damaged
            else step("make", "not made yet")
        )
    changed = differences(before.get("made_of", {}), json.loads(json.dumps(made_of, default=str)))
    why = in_words(changed) or f"the text beside {place} isn't what was written"
    return step("remake", why)


def inputs_of(step: Step, earlier: Sequence[Step]) -> list[Step]:
    """Which of the steps before it it is made from: those whose fingerprints it is made of, and
    what it reads beside them."""
    named, kinds = set(_texts(step.made_of)), ALSO_NEEDED.get(step.kind, ())
    if step.because == UNDECIDED:
        kinds = (*kinds, "gate")
    return [
        one
        for one in earlier
        if one.key in named
        or one.kind == "corpus"
        or one.kind in kinds
        or (step.kind == "analysis" and one.kind == "translations" and _same_system(step, one))
    ]


def _same_system(one: Step, other: Step) -> bool:
    return one.made_of["system"] == other.made_of["system"]


def _texts(tree: Any) -> Iterator[str]:
    """All that is text in a tree."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _texts(value)


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """What differs between two trees: "method.gamma: 0.4 → 1.0", "teacher changed"."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{key}.{name}" if key else str(name)
            yield from differences(old.get(name, ABSENT), new.get(name, ABSENT), inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{key}.{number}")
    elif old != new:
        hashes = [one for one in (old, new) if isinstance(one, str) and HASH.fullmatch(one)]
        what = "is new" if old is ABSENT else "is gone" if new is ABSENT else "changed"
        yield f"{key} {what}" if hashes else f"{key}: {_shown(old)} → {_shown(new)}"


def in_words(changes: Iterable[str]) -> str:
    """What differs, in a line that can be read; empty for nothing."""
    shown = list(changes)
    more = [f"{len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
    return ", ".join([*shown[:MOST_SHOWN], *more])


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "default"
    if isinstance(value, (dict, list)):
        text = str(value)
        return text if len(text) < 60 else f"{text[:57]}…"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
