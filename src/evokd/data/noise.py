"""Targets made wrong on purpose, and the record of which of their words are wrong.

For controlled studies: what does a method do about references that are wrong? Training never sees
the record; a gate's precision and recall in finding wrong tokens are measured with it.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evokd.data.pairs import Pair
from evokd.data.textfiles import read_lines
from evokd.recipe.corpus import NoiseSettings
from evokd.rundir.files import write_lines

DICTIONARY_PAIRS = 20_000
"""Pairs that the dictionary of word_by_word is read off."""


@dataclass(frozen=True)
class WrongWords:
    """What is wrong with a target: its words (split at spaces) by number from 0; one more than the
    last is its end."""

    origin: str
    direction: str
    kind: str
    words: tuple[int, ...]


def add_noise(
    pairs: Sequence[Pair], settings: Iterable[NoiseSettings]
) -> tuple[list[Pair], list[WrongWords]]:
    """Pairs in their order, some of whose targets are wrong, and the record of those.

    Each kind draws from the pairs that those before it have left alone, within a direction, so that
    shares add up. The same settings give the same noise.
    """
    noisy, record = list(pairs), {}
    for noise in settings:
        for direction in dict.fromkeys(pair.direction for pair in pairs):
            chance = random.Random(f"{noise.seed}:{noise.kind}:{direction}")
            members = [i for i, pair in enumerate(pairs) if pair.direction == direction]
            clean = [i for i in members if i not in record]
            make = NOISES[noise.kind]
            share = min(1.0, noise.share * len(members) / max(1, len(clean)))
            for place, words, wrong in make([pairs[i] for i in clean], share, chance):
                pair = replace(pairs[clean[place]], target=" ".join(words))
                noisy[clean[place]] = pair
                record[clean[place]] = WrongWords(
                    pair.origin, direction, noise.kind, tuple(sorted(wrong))
                )
    return noisy, [record[i] for i in sorted(record)]


Noisy = Iterator[tuple[int, list[str], Iterable[int]]]
"""The place of a pair, the words of its new target, and which of them are wrong."""


def misaligned(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """Targets of other pairs, as where lines have slipped."""
    return _of_others(pairs, share, chance, [pair.target for pair in pairs])


def wrong_language(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """Other sentences of the source language."""
    return _of_others(pairs, share, chance, [pair.source for pair in pairs])


def copied(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """The source itself."""
    for place in _some(pairs, share, chance):
        yield _all_wrong(place, pairs[place].source)


def word_by_word(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """The source word by word, as a bad system translates it: each word becomes the one that goes
    with it best in the corpus itself (Dice's coefficient)."""
    best = _dictionary(pairs)
    for place in _some(pairs, share, chance):
        words = [best.get(word, word) for word in pairs[place].source.split()]
        right = Counter(pairs[place].target.split())
        yield place, words, [i for i, word in enumerate(words) if word not in right]


def truncated(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """The target's beginning; what is wrong is its end."""
    for place in _some(pairs, share, chance):
        words = pairs[place].target.split()
        if len(words) > 1:
            words = words[: chance.randrange(1, len(words))]
            yield place, words, [len(words)]


def dropped_words(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """This share of the words is missing; what comes where one was is wrong."""
    for place, pair in enumerate(pairs):
        kept: list[str] = []
        wrong = set()
        for word in pair.target.split():
            if chance.random() < share:
                wrong.add(len(kept))
            else:
                kept.append(word)
        if wrong and kept:
            yield place, kept, wrong


def swapped_words(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """This share of the words stands in its neighbour's place."""
    for place, pair in enumerate(pairs):
        words, wrong, i = pair.target.split(), set(), 0
        while i + 1 < len(words):
            if chance.random() < share / 2 and words[i] != words[i + 1]:
                words[i], words[i + 1] = words[i + 1], words[i]
                wrong |= {i, i + 1}
                i += 1
            i += 1
        if wrong:
            yield place, words, wrong


def replaced_words(pairs: Sequence[Pair], share: float, chance: random.Random) -> Noisy:
    """This share of the words is another one, drawn from all targets as often as it comes there."""
    others = [word for pair in pairs for word in pair.target.split()]
    for place, pair in enumerate(pairs):
        words, wrong = pair.target.split(), set()
        for i, word in enumerate(words):
            if chance.random() < share and (other := chance.choice(others)) != word:
                words[i] = other
                wrong.add(i)
        if wrong:
            yield place, words, wrong


NOISES = {
    function.__name__: function
    for function in (
        *(misaligned, wrong_language, copied, word_by_word, truncated),
        *(dropped_words, swapped_words, replaced_words),
    )
}
"""By the names that a recipe gives them (`evokd.recipe.corpus.NOISES`)."""


def write_record(path: Path, record: Iterable[WrongWords]) -> None:
    """JSON lines, one a pair that is wrong."""
    write_lines(path, (json.dumps(asdict(one), ensure_ascii=False) for one in record))


def read_record(path: Path) -> list[WrongWords]:
    """What `write_record` wrote."""
    rows = [json.loads(line) for line in read_lines(path, may_be_empty=True)]
    return [WrongWords(**{**row, "words": tuple(row["words"])}) for row in rows]


def _some(pairs: Sequence[Pair], share: float, chance: random.Random) -> list[int]:
    """Places of this share of the pairs, in no order."""
    return chance.sample(range(len(pairs)), round(share * len(pairs)))


def _of_others(
    pairs: Sequence[Pair], share: float, chance: random.Random, texts: Sequence[str]
) -> Noisy:
    """This share of the pairs, each with the text of another one of them."""
    chosen = _some(pairs, share, chance)
    for place, other in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        if other != place:
            yield _all_wrong(place, texts[other])


def _all_wrong(place: int, target: str) -> tuple[int, list[str], range]:
    words = target.split()
    return place, words, range(len(words) + 1)


def _dictionary(pairs: Sequence[Pair]) -> dict[str, str]:
    """Source word → the target word with the largest 2 · n(both) / (n(source) + n(target))."""
    both: dict[str, Counter[str]] = defaultdict(Counter)
    of_source: Counter[str] = Counter()
    of_target: Counter[str] = Counter()
    for pair in pairs[:DICTIONARY_PAIRS]:
        sources, targets = set(pair.source.split()), set(pair.target.split())
        of_source.update(sources)
        of_target.update(targets)
        for word in sources:
            both[word].update(targets)
    best = {}
    for word, counts in both.items():
        dice = {other: 2 * n / (of_source[word] + of_target[other]) for other, n in counts.items()}
        # Of equal ones the first in the alphabet, not in the order of a set.
        best[word] = min(dice, key=lambda other: (-dice[other], other), default=word)
    return best
