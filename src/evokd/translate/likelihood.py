"""What a model thinks of given translations: perplexity, and how much it is of one mind.

Kim and Rush (2016) explain why a student trained on its teacher's translations needs no beam: it
puts much of its probability on one translation of a sentence, 16.9 % on average against 0.9 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from evokd.data.pairs import Pair
from evokd.models.batching import Budget, Progress, longest_first, max_positions
from evokd.models.encoded import collate, encode_corpus, target_mask
from evokd.models.lm_head import Head, evaluating, final_hidden, head_of
from evokd.models.loading import Translator
from evokd.recipe.objectives import IGNORED

BATCH_TOKENS = 8192
LOGIT_BYTES = {"cpu": 60 * 2**20, "cuda": 2**30}
"""Size of the logits that stand in memory at once."""


class SequenceScore(NamedTuple):
    """What a model thinks of one translation.

    Attributes:
        log_probability: Σ ln q(yₜ | y₍<ₜ₎, x) over its tokens, the end token among them, in nats.
        tokens: how many these are; 0 for what can't be scored: a blank source, or more tokens
            than the model has positions.
    """

    log_probability: float
    tokens: int


NO_TOKENS: dict[str, list[int]] = {"input_ids": [], "labels": []}


def log_probabilities(
    translator: Translator,
    pairs: Sequence[Pair],
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress | None = None,
) -> list[SequenceScore]:
    """Score translations, each with its source, in their order.

    A text is scored as the tokens that the tokenizer makes of it, and the end token of training. A
    model may have written the same text in other tokens, and a probability over all of them is
    larger than this one. A blank translation is the end token alone.

    Args:
        batch_tokens: most tokens at once, padding included; one sequence may exceed it.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
    """
    limit = max_positions(translator.model)
    pairs = [replace(p, source=p.source.strip(), target=p.target.strip()) for p in pairs]
    data, _ = encode_corpus(pairs, translator.tokenizer, translator.prompt)
    sequences = []
    for place, pair in enumerate(pairs):
        sequence = data[place]
        if not pair.target:
            # Not even the space that a response may begin with: it isn't needed to say nothing.
            start = sequence["labels"].count(IGNORED)
            sequence = {name: [*ids[:start], ids[-1]] for name, ids in sequence.items()}
        if not pair.source or len(sequence["input_ids"]) > limit:
            sequence = NO_TOKENS
        sequences.append(sequence)
    budget = Budget(rows=batch_tokens, tokens=batch_tokens)
    return sequence_scores(translator, sequences, budget, progress)


def perplexity(scores: Sequence[SequenceScore]) -> float | None:
    """exp of the mean −ln q of a token, end tokens included; None if there is none.

    It depends on the tokenizer: only models that share one can be compared by it.
    """
    tokens = sum(score.tokens for score in scores)
    if not tokens:
        return None
    return math.exp(-math.fsum(score.log_probability for score in scores) / tokens)


def likelihood_facts(
    translator: Translator,
    pairs: Sequence[Pair],
    outputs: Sequence[Sequence[str]] = (),
    progress: Progress | None = None,
) -> dict[str, float | None]:
    """Perplexity of references, and the share of a model's probability on its own mode.

    The mode, the most probable of all translations, isn't known; in its place stands the most
    probable one at hand of those that the model made, so the share is at most the mode's.
    Several are compared: beam search may end on a less probable translation than greedy search
    (its score is divided by length), and an output whose tokens aren't those that its text is
    encoded to, or that was cut off at its cap, looks less probable than it was.

    Args:
        pairs: sources and references, of any directions.
        outputs: the model's own translations of these sources, one list of lines for each way of
            decoding (greedy, beam 5, …).

    Returns:
        perplexity: of the references, see `perplexity`; None without tokens.
        mode_mass: mean of q(ŷ | x) over the sentences with an output that could be scored; None
            without any.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
        ValueError: outputs of a number other than that of the pairs.
    """
    decodings = [
        [replace(pair, target=line.strip()) for pair, line in zip(pairs, lines, strict=True)]
        for lines in outputs
    ]
    # Each distinct one once: decodings often agree.
    distinct = list(dict.fromkeys(chain(pairs, *decodings)))
    scores = log_probabilities(translator, distinct, progress=progress)
    score_of = dict(zip(distinct, scores, strict=True))
    by_sentence = ([score_of[pair] for pair in own] for own in zip(*decodings, strict=True))
    scored = ([one.log_probability for one in own if one.tokens] for own in by_sentence)
    masses = [math.exp(max(own)) for own in scored if own]
    return {
        "perplexity": perplexity([score_of[pair] for pair in pairs]),
        "mode_mass": fmean(masses) if masses else None,
    }


def sequence_scores(
    translator: Translator,
    sequences: Sequence[dict[str, list[int]]],
    budget: Budget,
    progress: Progress | None = None,
) -> list[SequenceScore]:
    """Score the labelled tokens of sequences; arguments as those of `measure_tokens`."""
    score = partial(_log_probabilities, head=head_of(translator.model))
    rows = measure_tokens(translator, sequences, budget, score, progress)
    return [SequenceScore(float(row.sum()), len(row)) for row in rows]


@torch.no_grad()
def measure_tokens(
    translator: Translator,
    sequences: Sequence[dict[str, list[int]]],
    budget: Budget,
    measure: Callable[[Tensor, Tensor], Tensor],
    progress: Progress | None = None,
) -> list[Tensor]:
    """Measure the labelled tokens of sequences, longest first, as many at once as fit.

    Args:
        sequences: {"input_ids", "labels"} of each; those without a token are passed over.
        measure: of N tokens, from the states that predict them, (N, H), and their ids, (N,), to
            (N, …).

    Returns:
        The measures of each sequence, (its tokens, …) on the CPU.
    """
    model = translator.model
    sizes = [len(sequence["input_ids"]) for sequence in sequences]
    order = [place for place in longest_first(sizes) if sizes[place]]
    done = len(sequences) - len(order)
    report = progress or (lambda done, total: None)
    report(done, len(sequences))
    measured = [torch.empty(0)] * len(sequences)
    with evaluating(model):
        for batch in budget.batches([sizes[place] for place in order]):
            places = [order[i] for i in batch]
            collated = collate([sequences[place] for place in places])
            inputs = {name: part.to(model.device) for name, part in collated.items()}
            labels = inputs.pop("labels")
            predicts = target_mask(labels)
            hidden = final_hidden(model, model, inputs)[predicts]
            measures = measure(hidden, labels.roll(-1, dims=1)[predicts])
            rows = measures.cpu().split(predicts.sum(1).tolist())
            for place, row in zip(places, rows, strict=True):
                measured[place] = row
            done += len(places)
            report(done, len(sequences))
    return measured


def _log_probabilities(hidden: Tensor, labels: Tensor, head: Head) -> Tensor:
    """(N,) float64: ln q of each label."""
    size = head.weight.shape[0]
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    memory = LOGIT_BYTES["cpu" if hidden.device.type == "cpu" else "cuda"]
    rows = max(16, min(len(labels), memory // (size * dtype.itemsize)))
    buffer = torch.empty(rows, size, dtype=dtype, device=hidden.device)
    parts = []
    for chunk, targets in zip(hidden.split(rows), labels.split(rows), strict=True):
        logits = head.logits(chunk, size, out=buffer[: len(chunk)])
        parts.append(-cross_entropy(logits, targets, reduction="none"))
    return torch.cat(parts).double()
