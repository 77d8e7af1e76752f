"""Files of the run folder that results are of: where they stand, or where they are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from evokd.evaluate.sentences import SENTENCES
from evokd.rundir.files import read_json, read_json_lines
from evokd.rundir.integrity import MANIFEST
from evokd.rundir.stage import KEPT

T = TypeVar("T")


class RunFiles:
    """What lies beside results.json."""

    def __init__(self, folder: Path | None, stages: Mapping[str, Mapping[str, Any]]) -> None:
        """Look at it.

        Args:
            folder: the run folder, if there is one.
            stages: place → what the results are of there: its fingerprint, and when it was made.
                Empty for results of an earlier version, for which what stands there has to do.
        """
        self.folder = folder
        self.stages = stages

    def changed(self) -> list[str]:
        """A line for each place that holds something else by now."""
        return [
            f"{place} isn't what these results are of"
            + ("" if self._of(place) else ", and that is gone: what is said of it is left out")
            for place in self.stages
            if self.folder and not self._stands(place)
        ]

    def manifest(self, place: str) -> Mapping[str, Any]:
        """What a stage noted down when it was finished."""
        folder = self._of(place)
        return read_mapping(folder / MANIFEST) if folder else {}

    def of_trainings(self, system: str, file: str, read: Callable[[Path], T]) -> list[T]:
        """A file of each training of a system, or of a stage, as far as it holds anything."""
        if self.folder is None:
            return []
        name = re.compile(rf"students/{re.escape(system)}\.seed\d+|{re.escape(system)}")
        there = [
            path.relative_to(self.folder).as_posix() for path in self.folder.glob("students/*")
        ]
        places = dict.fromkeys([*sorted(there), *self.stages, system])
        folders = [self._of(place) for place in places if name.fullmatch(place)]
        contents = [read(folder / file) for folder in folders if folder]
        return [content for content in contents if content]

    @cached_property
    def sentences(self) -> list[Mapping[str, Any]]:
        """The lines of sentences.jsonl, a test set and direction each (`evaluate/sentences.py`)."""
        return read_json_lines(self.folder / SENTENCES) if self.folder else []

    def training_text(self, most: int) -> Iterator[Mapping[str, Any]]:
        """The first pairs of the training text; none where it is gone."""
        if (folder := self._of("corpus")) and (path := folder / "train.jsonl").is_file():
            with path.open(encoding="utf-8") as lines:
                yield from map(json.loads, islice(lines, most))

    def standing(self, place: str) -> Path | None:
        """A stage's folder, where it still is what these results are of."""
        stands = self.folder is not None and place in self.stages and self._stands(place)
        return self.folder / place if self.folder and stands else None

    def noted_exports(self, student: str) -> list[Mapping[str, Any]]:
        """What `evokd export` noted of a student that these results are of."""
        made = self.stages.get(f"students/{student}", {}).get("fingerprint")
        paths = sorted((self.folder / "exports" / student).glob("*.json")) if self.folder else []
        records = [read_mapping(path) for path in paths]
        return [r["found"] for r in records if made and r.get("made_of", {}).get("system") == made]

    def _stands(self, place: str) -> bool:
        made = self.folder and read_mapping(self.folder / place / MANIFEST).get("fingerprint")
        return bool(made == self.stages[place]["fingerprint"])

    def _of(self, place: str) -> Path | None:
        if self.folder is None or place not in self.stages or self._stands(place):
            return self.folder and self.folder / place
        kept = self.folder / KEPT / place / self.stages[place]["fingerprint"]
        return kept if kept.is_dir() else None


def read_mapping(path: Path) -> Mapping[str, Any]:
    """A JSON file; empty if it is missing or broken: the page does without what isn't there."""
    try:
        tree = read_json(path)
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}
