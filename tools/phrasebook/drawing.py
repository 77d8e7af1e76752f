"""The embedded corpus: English-German-Czech sentences of a phrasebook, drawn from a grammar.

Words are drawn with frequencies that fall with their rank, so the corpus has frequent and rare
words as real text has. Some combinations of content words (a verb with an object, a noun with a
place) never occur in training; part of the test sentences is made of them.
"""

from __future__ import annotations

import random
import zlib
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Any

from grammar import patterns as grammar
from grammar.words import Pattern

LANGUAGES = ("en", "de", "cs")
PATTERNS = tuple(pattern.name for pattern in grammar.PATTERNS)

# Of 1000 combinations of two content words, how many are kept out of training.
HELD_OUT_PER_MILLE = 40
# Only of words that occur so often without each other among so many sampled fillings.
WITHOUT_THE_OTHER = 6
SAMPLE_SIZE = 10_000
# The share of test sentences that contain a combination never seen in training.
UNSEEN_SHARE = 0.4
# A pattern that gave nothing new in so many draws is taken as exhausted.
PATIENCE = 100
# A pattern that is picked draws so many fillings before another pattern has its turn.
TRIES = 3


@dataclass(frozen=True)
class Triple:
    """One sentence in three languages.

    `words` are its content words by their English names (of slots and of the pattern itself); a
    combination is a pair of them. `unseen` marks test sentences with a pair that no training
    sentence has.
    """

    english: str
    german: str
    czech: str
    pattern: str
    unseen: bool
    words: tuple[str, ...] = ()


def phrasebook(
    seed: int = 1, train: int = 20_000, valid: int = 500, test: int = 1_000
) -> dict[str, list[Triple]]:
    """Draw the splits "train", "valid" and "test", the same on every platform for a seed.

    No sentence, in any of the languages, occurs twice in all splits together. The test split is
    drawn first, so it is the same whatever the size of the training split.

    Raises ValueError for negative sizes and for more sentences than the grammar gives.
    """
    sizes = {"test": test, "valid": valid, "train": train}
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"phrasebook: {name} is {size}, it must be 0 or more")
    drawing = _Drawing(seed)
    unseen = round(test * UNSEEN_SHARE)
    splits: dict[str, list[Triple]] = {}
    splits["test"] = _take(drawing, test - unseen, False, sizes)
    splits["test"] += _take(drawing, unseen, True, sizes)
    drawing.shuffle(splits["test"])  # or all unseen sentences would stand at the end
    splits["valid"] = _take(drawing, valid, False, sizes)
    splits["train"] = _take(drawing, train, False, sizes)
    return {name: splits[name] for name in ("train", "valid", "test")}


def _take(drawing: _Drawing, size: int, unseen: bool, sizes: dict[str, int]) -> list[Triple]:
    taken: list[Triple] = []
    for triple in drawing.triples(unseen):
        if len(taken) == size:
            return taken
        taken.append(triple)
    if len(taken) == size:
        return taken
    raise ValueError(
        f"phrasebook: {sum(sizes.values())} sentences are asked for "
        f"(train {sizes['train']}, valid {sizes['valid']}, test {sizes['test']}), but for seed "
        f"{drawing.seed} the grammar gives about {drawing.drawn}; ask for fewer"
    )


def content_words(pattern: Pattern, filling: dict[str, Any]) -> tuple[str, ...]:
    """The content words of a sentence: nouns, adjectives, places and the pattern's own words."""
    of_slots = (getattr(value, "word", "") for value in filling.values())
    return tuple(dict.fromkeys([*pattern.about, *filter(None, of_slots)]))


def sentence(text: str) -> str:
    """One space between words, a capital letter at the start of every sentence."""
    words = " ".join(text.split())
    return words[0].upper() + words[1:]


class _Drawing:
    """The state of one run of draws: the generator, what was drawn, what is exhausted."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.drawn = 0
        self._random = random.Random(seed)
        self._seen: tuple[set[str], ...] = (set(), set(), set())
        self._held_out: dict[tuple[str, str], bool] = {}
        self._alone: Counter[str] = Counter()
        self._together: Counter[tuple[str, str]] = Counter()
        self._count_words()
        self._slots = [
            [(name, values, _falling_weights(len(values))) for name, values in p.slots.items()]
            for p in grammar.PATTERNS
        ]

    def triples(self, unseen: bool) -> Iterator[Triple]:
        """New triples, with or without a held-out combination, until the grammar is exhausted."""
        misses = [0] * len(grammar.PATTERNS)
        alive = list(range(len(grammar.PATTERNS)))
        shares = list(accumulate(grammar.PATTERNS[i].share for i in alive))
        while alive:
            index = alive[self._pick(shares)]
            triple = None
            for _ in range(TRIES):
                triple = triple or self._draw(index, unseen)
            if triple is not None:
                misses[index] = 0
                self.drawn += 1
                yield triple
                continue
            misses[index] += 1
            if misses[index] == PATIENCE:
                alive.remove(index)
                shares = list(accumulate(grammar.PATTERNS[i].share for i in alive))

    def shuffle(self, triples: list[Triple]) -> None:
        """Fisher-Yates with random() alone, whose values no Python version changes."""
        for last in range(len(triples) - 1, 0, -1):
            other = int(self._random.random() * (last + 1))
            triples[last], triples[other] = triples[other], triples[last]

    def _pick(self, accumulated: list[float]) -> int:
        last = len(accumulated) - 1
        return bisect(accumulated, self._random.random() * accumulated[last], 0, last)

    def _draw(self, index: int, unseen: bool) -> Triple | None:
        """One filling of a pattern, or None where it is refused, unfit or known already."""
        pattern = grammar.PATTERNS[index]
        filling = {
            name: values[self._pick(weights)] for name, values, weights in self._slots[index]
        }
        if pattern.accepts is not None and not pattern.accepts(**filling):
            return None
        words = content_words(pattern, filling)
        if any(self._is_held_out(pair) for pair in combinations(sorted(words), 2)) != unseen:
            return None
        texts = (
            sentence(pattern.en(**filling)),
            sentence(pattern.de(**filling)),
            sentence(pattern.cs(**filling)),
        )
        if any(text in seen for text, seen in zip(texts, self._seen, strict=True)):
            return None
        for text, seen in zip(texts, self._seen, strict=True):
            seen.add(text)
        return Triple(*texts, pattern.name, unseen, words)

    def _is_held_out(self, pair: tuple[str, str]) -> bool:
        """A lot drawn per pair from its spelling, so it needs no list of all pairs."""
        if pair not in self._held_out:
            lot = zlib.crc32(f"{self.seed}:{pair[0]}+{pair[1]}".encode()) % 1000
            self._held_out[pair] = lot < HELD_OUT_PER_MILLE and self._can_be_held_out(pair)
        return self._held_out[pair]

    def _can_be_held_out(self, pair: tuple[str, str]) -> bool:
        """Each word must often occur without the other, or it would not be trained at all.

        "parcel" occurs only with "send": holding that pair out would test an unknown word.
        """
        together = self._together[pair]
        return all(self._alone[word] - together >= WITHOUT_THE_OTHER for word in pair)

    def _count_words(self) -> None:
        """Count words and pairs in a sample of fillings that is the same for every seed."""
        counting = random.Random(0)
        for _ in range(SAMPLE_SIZE):
            pattern = grammar.PATTERNS[int(counting.random() * len(grammar.PATTERNS))]
            filling = {
                name: values[int(counting.random() * len(values))]
                for name, values in pattern.slots.items()
            }
            if pattern.accepts is None or pattern.accepts(**filling):
                words = sorted(content_words(pattern, filling))
                self._alone.update(words)
                self._together.update(combinations(words, 2))


def _falling_weights(count: int) -> list[float]:
    """Accumulated weights of Zipf's law with a flattened head: 1 / (rank + 1)."""
    return list(accumulate(1.0 / (rank + 1) for rank in range(1, count + 1)))
