"""Training text divided: a sample of it, what is set aside for validation, what is kept from the
teacher, and how often each direction is seen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from evokd.data.cleaning import CleaningReport
from evokd.data.contamination import sentences_of, without_leaks
from evokd.data.pairs import Pair, by_sentence

VALID_SHARE = 0.02
VALID_MOST = 500  # sentence pairs
HELD_OUT_LEAST = 50  # of each pair of languages; fewer tell nothing


def sample(pairs: list[Pair], size: int, chance: random.Random) -> list[Pair]:
    """So many sentence pairs at random, both directions together, in their old order."""
    groups = by_sentence(pairs)
    if size >= len(groups):
        return pairs
    chosen = sorted(chance.sample(range(len(groups)), size))
    return [pair for i in chosen for pair in groups[i]]


def spread(pairs: list[Pair], most: int | None) -> list[Pair]:
    """At most so many pairs of each direction, spread evenly; all of them for None."""
    if most is None:
        return pairs
    counts = Counter(pair.direction for pair in pairs)
    seen: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        place, step = seen[pair.direction], -(-counts[pair.direction] // most)
        seen[pair.direction] += 1
        if place % step == 0:
            kept.append(pair)
    return kept


def set_aside(
    train: list[Pair], cleaning: CleaningReport, chance: random.Random
) -> tuple[list[Pair], list[Pair]]:
    """Take validation text out of train: of each pair of languages 2 %, at most 500 in all.

    What shares a sentence with it leaves train too (a sentence has more than one translation, or is
    there in three languages).
    """
    groups = by_sentence(train)
    share = min(VALID_SHARE, VALID_MOST / max(len(groups), 1))
    by_languages: dict[frozenset[str], list[int]] = {}
    for i, (pair, *_) in enumerate(groups):
        key = frozenset((pair.source_language, pair.target_language))
        by_languages.setdefault(key, []).append(i)
    chosen: set[int] = set()
    for members in by_languages.values():
        if len(members) > 1:  # the last one is better trained on
            chosen.update(chance.sample(members, max(1, int(share * len(members)))))
    valid = [pair for i in sorted(chosen) for pair in groups[i]]
    rest = [pair for i, group in enumerate(groups) if i not in chosen for pair in group]
    rest, _ = without_leaks(rest, {"valid": sentences_of(valid)}, cleaning, drop=True)
    return rest, valid


def hold_out(
    train: list[Pair], models: list[Pair], size: int, chance: random.Random
) -> tuple[list[Pair], int]:
    """What the teacher is trained on, less some lines of train at random, in all their languages
    and directions; and how many lines these are."""
    languages: dict[str, set[str]] = {}
    for pair in train:
        languages.setdefault(pair.origin, set()).update(
            (pair.source_language, pair.target_language)
        )
    members: dict[frozenset[str], list[str]] = {}
    for origin, codes in languages.items():
        members.setdefault(frozenset(codes), []).append(origin)
    chosen: set[str] = set()
    for origins in members.values():
        share = size * len(origins) // max(len(languages), 1)
        count = min(max(share, HELD_OUT_LEAST), len(origins) // 10)
        chosen.update(chance.sample(origins, count) if count >= HELD_OUT_LEAST else ())
    return [pair for pair in models if pair.origin not in chosen], len(chosen)


def weigh(train: list[Pair], weights: Mapping[str, float], chance: random.Random) -> list[Pair]:
    """Each direction's pairs ⌊w⌋ times, and a random part of them once more."""
    if not weights:
        return train
    extra: set[int] = set()
    for direction in dict.fromkeys(pair.direction for pair in train):
        members = [i for i, pair in enumerate(train) if pair.direction == direction]
        extra.update(chance.sample(members, round(weights.get(direction, 1) % 1 * len(members))))
    copies = (int(weights.get(p.direction, 1)) + (i in extra) for i, p in enumerate(train))
    return [pair for pair, n in zip(train, copies, strict=True) for _ in range(n)]
