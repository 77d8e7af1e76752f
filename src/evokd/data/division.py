"""Training text divided: a sample of it, what is set aside for validation, what is kept from the
teacher, and how often each direction is seen.

Pairs are chosen by their columns (`evokd.data.sifting`); nothing of their text is read for that.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from evokd.data.cleaning import CleaningReport
from evokd.data.contamination import sentences_of
from evokd.data.pairs import Pair
from evokd.data.seen import among, sorted_keys
from evokd.data.sifting import SiftedPairs

VALID_SHARE = 0.02
VALID_MOST = 500  # sentence pairs
HELD_OUT_LEAST = 50  # of each pair of languages; fewer tell nothing


def sample(pairs: SiftedPairs, size: int, chance: random.Random) -> SiftedPairs:
    """So many sentence pairs at random, both directions together, in their old order."""
    starts = pairs.starts()
    if size >= len(starts):
        return pairs
    return pairs.take(
        np.flatnonzero(_whole(pairs, starts, chance.sample(range(len(starts)), size)))
    )


def spread(pairs: Iterable[Pair], counts: Mapping[str, int], most: int) -> Iterator[Pair]:
    """At most so many pairs of each direction, spread evenly.

    Args:
        counts: pairs by direction.
    """
    seen: Counter[str] = Counter()
    for pair in pairs:
        place, step = seen[pair.direction], -(-counts[pair.direction] // most)
        seen[pair.direction] += 1
        if place % step == 0:
            yield pair


def set_aside(
    train: SiftedPairs, cleaning: CleaningReport, chance: random.Random
) -> tuple[SiftedPairs, list[Pair]]:
    """Take validation text out of train: of each pair of languages 2 %, at most 500 in all.

    What shares a sentence with it leaves train too (a sentence has more than one translation, or is
    there in three languages).
    """
    starts = train.starts()
    share = min(VALID_SHARE, VALID_MOST / max(len(starts), 1))
    languages = [frozenset(direction.split("-")) for direction in train.directions]
    of_groups = train.column("direction")[starts]
    chosen: list[int] = []
    # Of the two directions of two languages either may come first.
    numbers = np.array([languages.index(one) for one in languages], int)[of_groups]
    for number in _in_order(numbers):
        members = np.flatnonzero(numbers == number)
        if len(members) > 1:  # the last one is better trained on
            count = max(1, int(share * len(members)))
            chosen += members[chance.sample(range(len(members)), count)].tolist()
    is_valid = _whole(train, starts, chosen)
    valid = list(train.take(np.flatnonzero(is_valid)))
    sentences = sorted_keys(sentences_of(valid))
    shares = among(train.column("source"), sentences) | among(train.column("target"), sentences)
    for pair in train.take(np.flatnonzero(shares & ~is_valid)):
        cleaning.drop("valid_leak", pair)
    return train.take(np.flatnonzero(~shares & ~is_valid)), valid


def hold_out(
    train: SiftedPairs, models: SiftedPairs, size: int, chance: random.Random
) -> tuple[SiftedPairs, int]:
    """What the teacher is trained on, less some lines of train at random, in all their languages
    and directions; and how many lines these are."""
    codes = sorted({code for direction in train.directions for code in direction.split("-")})
    bits = [sum(1 << codes.index(c) for c in d.split("-")) for d in train.directions]
    origins, first, place = np.unique(
        train.column("origin"), return_index=True, return_inverse=True
    )
    languages = np.zeros(len(origins), np.int64)
    np.bitwise_or.at(languages, place, np.array(bits, np.int64)[train.column("direction")])
    order = np.argsort(first)  # as they come in the text
    origins, languages = origins[order], languages[order]
    chosen = [np.zeros(0, np.uint64)]
    for number in _in_order(languages):
        own = origins[languages == number]
        share = size * len(own) // max(len(origins), 1)
        count = min(max(share, HELD_OUT_LEAST), len(own) // 10)
        if count >= HELD_OUT_LEAST:
            chosen.append(own[chance.sample(range(len(own)), count)])
    held_out = np.sort(np.concatenate(chosen))
    stays = ~among(models.column("origin"), held_out)
    return models.take(np.flatnonzero(stays)), len(held_out)


def weigh(train: SiftedPairs, weights: Mapping[str, float], chance: random.Random) -> SiftedPairs:
    """Each direction's pairs ⌊w⌋ times, and a random part of them once more."""
    if not weights:
        return train
    numbers = train.column("direction")
    copies = np.zeros(len(train), np.int64)
    for number in _in_order(numbers):
        weight = weights.get(train.directions[number], 1)
        members = np.flatnonzero(numbers == number)
        copies[members] = int(weight)
        extra = chance.sample(range(len(members)), round(weight % 1 * len(members)))
        copies[members[extra]] += 1
    return train.take(np.repeat(np.arange(len(train)), copies))


def _whole(pairs: SiftedPairs, starts: np.ndarray, groups: list[int]) -> np.ndarray:
    """(n,), which pairs are of some of the groups that begin at `starts`."""
    is_chosen = np.zeros(len(starts), bool)
    is_chosen[groups] = True
    return np.repeat(is_chosen, np.diff(np.append(starts, len(pairs))))


def _in_order(numbers: np.ndarray) -> list[int]:
    """Different numbers as they first come."""
    found, first = np.unique(numbers, return_index=True)
    return [int(number) for number in found[np.argsort(first)]]
