"""How references surprise a teacher, and the share of wrong ones among them."""

import math

import pytest
import torch

from evokd.distil.surprisal import reference_surprisal, wrong_share
from evokd.distil.teacher.signal import LiveTeacher
from tiny import tiny_llama


def test_surprisal_equals_a_naive_twin():
    generator = torch.Generator().manual_seed(1)
    model = tiny_llama(3).double().eval()
    size = model.config.vocab_size
    data = []
    for length, prompt in ((9, 3), (5, 1), (12, 6)):
        ids = torch.randint(3, size, (length,), generator=generator).tolist()
        data.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    seen = []
    found = reference_surprisal(
        LiveTeacher(model), data, size, "cpu", lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (3, 3)
    for example, own in zip(data, found, strict=True):
        with torch.no_grad():
            p = model(torch.tensor([example["input_ids"]])).logits[0].softmax(-1)
        where = [i for i, label in enumerate(example["labels"]) if label != -100]
        nll = torch.stack([-p[i - 1, example["input_ids"][i]].log() for i in where])
        entropy = torch.stack([-(p[i - 1] * p[i - 1].log()).sum() for i in where])
        logs = torch.stack([p[i - 1].log() for i in where])
        spread = (logs.exp() * (-logs - entropy[:, None]) ** 2).sum(1)
        expected = torch.stack([nll, entropy, spread], 1).float()
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def drawn(share, apart, count=4000, seed=1):
    """Values of a mixture, of wrong ones alone and of right ones alone."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(3, count, generator=generator)
    wrong = torch.rand(count, generator=generator) < share
    return normal[0] + apart * wrong, normal[1] + apart, normal[2], wrong


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("apart", [1.5, 4.0])
def test_the_share_of_a_known_mixture_is_found(share, apart):
    values, wrong, right, _ = drawn(share, apart)
    assert wrong_share(values, wrong, right).share == pytest.approx(share, abs=0.06)
    if apart > 3:  # where right ones hardly reach wrong ones, nothing need be known of them
        assert wrong_share(values, wrong).share == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("known", [True, False])
def test_what_is_above_the_threshold_is_wrong(known):
    values, wrong, right, is_wrong = drawn(0.3, 5.0)
    threshold = wrong_share(values, wrong, right if known else None).threshold
    dropped = values > threshold
    assert dropped[is_wrong].float().mean() > 0.95
    assert dropped[~is_wrong].float().mean() < 0.01


def test_nothing_is_dropped_from_what_is_right():
    values, wrong, right, _ = drawn(0.0, 5.0)
    assert (values > wrong_share(values, wrong, right).threshold).float().mean() < 0.002


def test_a_teacher_that_can_not_tell_says_nothing():
    values, wrong, right, _ = drawn(0.5, 0.0)
    estimate = wrong_share(values, wrong, right)
    assert (estimate.share, estimate.threshold) == (None, math.inf)
