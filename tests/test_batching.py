"""What fits together, and padding in front."""

import torch

from evokd.models.batching import Budget, Request, left_padded, longest_first


def test_a_budget_of_tokens_counts_prompts_and_caps():
    sizes = [Request([5] * length, 10).size for length in (30, 20, 20, 10, 10, 10)]
    assert sizes == [40, 30, 30, 20, 20, 20]
    assert Budget(rows=64, tokens=120).more(sizes) == 3
    assert Budget(rows=2, tokens=120).more(sizes) == 2
    assert Budget(rows=64, tokens=1).more(sizes) == 1
    assert Budget(rows=64, tokens=1).more(sizes, present=sizes[:1]) == 0
    assert Budget(rows=64, tokens=120).more(sizes[3:], present=sizes[1:2]) == 3
    assert Budget(rows=64, tokens=120).more(sizes[3:], present=sizes[:2]) == 1
    assert Budget(rows=64, tokens=120).more([], present=sizes[:2]) == 0


def test_batches_are_neighbours_within_the_budget():
    sizes = [9, 7, 7, 3, 2, 2, 2, 1]
    batches = [list(batch) for batch in Budget(rows=3, tokens=15).batches(sizes)]
    assert batches == [[0], [1, 2], [3, 4, 5], [6, 7]]
    assert not list(Budget(rows=3, tokens=15).batches([]))


def test_longest_first_keeps_the_order_of_equals():
    assert longest_first([2, 5, 2, 9, 5]) == [3, 1, 4, 0, 2]


def test_prompts_end_at_the_same_column():
    ids, mask = left_padded([[5, 6, 7], [8]], torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert ids.dtype == mask.dtype == torch.int64
