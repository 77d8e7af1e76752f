"""Class-blind magnitude pruning (See, Luong and Manning 2016), and what is left of a model.

All weight matrices are sorted as one by magnitude and the smallest share is set to 0, wherever it
stands: attention, feed-forward, embeddings and head under one threshold. Embeddings and head belong
to it: they are weight classes of See et al., and the 17M that Kim and Rush leave of an 84M student
at 80 % are a fifth of all its parameters. Norms and biases stay whole: they are few, and not on the
scale of the matrices.

A pruned model is an ordinary one with zeros in it: saved dense, loaded and translated like any
other, no faster. Which weights were pruned is read off the zeros, so no mask is kept beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from evokd.errors import InputError


@torch.no_grad()
def prune_model(model: nn.Module, level: float) -> dict[str, Tensor]:
    """Set the smallest weights of all matrices to 0, in place.

    Args:
        level: share of the matrices' weights that are 0 afterwards, those that were 0 before among
            them: pruning to 0.5 and then to 0.8 leaves a fifth.

    Returns:
        Which weights of the matrices aren't 0, by parameter name, as bool; shared weights once.

    Raises:
        InputError: a level that isn't between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"pruning level {level}; above 0 and below 1 is accepted")
    weights = matrices(model).values()
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    smallest = magnitudes.topk(round(level * len(magnitudes)), largest=False).indices
    kept = torch.ones_like(magnitudes, dtype=torch.bool).index_fill_(0, smallest, False)
    for weight, own in zip(weights, kept.split([w.numel() for w in weights]), strict=True):
        weight.masked_fill_(~own.view_as(weight), 0.0)
    return {name: weight != 0 for name, weight in matrices(model).items()}


@torch.no_grad()
def pruned_facts(model: nn.Module, masks: dict[str, Tensor]) -> dict[str, Any]:
    """What is left of a model; shared weights count once.

    Returns:
        parameters: all of them.
        nonzero_parameters: those that aren't 0.
        pruned_share: masked weights among those of all matrices.
        compression: all over non-zero ones, of this model. Kim and Rush's compression is the
            teacher's parameters over the student's non-zero ones.
        mib_packed: what it would take to store the non-zero values and one bit for each weight of
            a matrix that says whether it is there. The checkpoint itself holds the zeros, too.

    Raises:
        ValueError: a weight that is masked isn't 0 (retraining lost the masks), or the masks are of
            another model.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise ValueError(f"the model has no {name} of shape {tuple(mask.shape)} to be masked")
        back = int(torch.count_nonzero(parameters[name][~mask]))
        if back:
            raise ValueError(f"{back} pruned weights of {name} aren't 0: the masks were lost")
    everything = sum(p.numel() for p in parameters.values())
    left = {name: int(torch.count_nonzero(p)) for name, p in parameters.items()}
    nonzero = sum(left.values())
    size = sum(mask.numel() for mask in masks.values())
    values = sum(left[name] * p.element_size() for name, p in parameters.items())
    return {
        "parameters": everything,
        "nonzero_parameters": nonzero,
        "pruned_share": sum(int((~mask).sum()) for mask in masks.values()) / max(1, size),
        "compression": everything / max(1, nonzero),
        "mib_packed": round((values + size / 8) / 2**20, 2),
    }


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that are pruned: all of two or more dimensions, embeddings and head included."""
    return {name: p for name, p in model.named_parameters() if p.dim() > 1}
