"""What a model thinks of given translations: perplexity, and how much it is of one mind.

Kim and Rush (2016) explain why a student trained on its teacher's translations needs no beam: it
puts much of its probability on one translation of a sentence, 16.9 % on average against 0.9 %.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from evokd.data.pairs import Pair
from evokd.models.encoding import IGNORED, collate, encode_corpus, pad_id_of
from evokd.models.lm_head import Head, evaluating, final_hidden, head_of
from evokd.models.loading import Translator
from evokd.translate.batching import Budget, longest_first, max_positions

BATCH_TOKENS = 8192
LOGIT_BYTES = {"cpu": 60 * 2**20, "cuda": 2**30}
"""Size of the logits that stand in memory at once."""
PEAKED = 0.01
"""A translation more probable than this is one that the model has settled for."""


@dataclass(frozen=True)
class SequenceScore:
    """What a model thinks of one translation.

    Attributes:
        log_probability: Σ ln q(yₜ | y₍<ₜ₎, x) over its tokens, the end token among them, in nats.
        tokens: how many these are; 0 for what can't be scored: a blank source, or more tokens
            than the model has positions.
        greedy: whether each token is the model's first choice at its place.
    """

    log_probability: float
    tokens: int
    greedy: bool

    @property
    def probability(self) -> float:
        """q(y | x)."""
        return math.exp(self.log_probability)


NO_TOKENS: dict[str, list[int]] = {"input_ids": [], "labels": []}
NOT_SCORED = SequenceScore(0.0, 0, False)


def log_probabilities(
    translator: Translator,
    pairs: Sequence[Pair],
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> list[SequenceScore]:
    """Score translations, each with its source, in their order.

    A text is scored as the tokens that the tokenizer makes of it, and the end token of training. A
    model may have written the same text in other tokens, and a probability over all of them is
    larger than this one. A blank translation is the end token alone.

    Args:
        batch_tokens: most tokens at once, padding included; one sequence may exceed it.
        progress: called with translations done and in all.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
    """
    budget = Budget(rows=batch_tokens, tokens=batch_tokens)
    return sequence_scores(translator, _encoded(translator, pairs), budget, progress)


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
    pairs_by_direction: Mapping[str, Sequence[Pair]],
    outputs_by_direction: Mapping[str, Sequence[Sequence[str]]],
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Perplexity of references, and the share of a model's probability on its own mode.

    The mode, the most probable of all translations, isn't known; in its place stands the most
    probable one at hand of those that the model made, so the share is at most the mode's.
    Several are compared: beam search may end on a less probable translation than greedy search
    (its score is divided by length), and an output whose tokens aren't those that its text is
    encoded to, or that was cut off at its cap, looks less probable than it was.

    Args:
        pairs_by_direction: sources and references of `en-de`, ….
        outputs_by_direction: the model's own translations of these sources, one list of lines for
            each way of decoding (greedy, beam 5, …). Without any there is no mode_mass.
        progress: called with translations scored and in all.

    Returns:
        perplexity: of the references, see `perplexity`; None without tokens.
        reference_tokens: how many they are.
        sentences: with an output that could be scored.
        mode_mass: mean over these of 100 · q(ŷ | x), in percent; None without sentences.
        mode_mass_median: the median of the same.
        peaked: share of sentences where q(ŷ | x) > 0.01.
        mode_is_greedy: share of sentences where ŷ is the model's first choice token by token.
        not_scored: references that couldn't be (blank source, too long).
        directions: the same for each direction.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
        ValueError: outputs of a number other than that of the pairs.
    """
    outputs: dict[str, list[list[Pair]]] = {}
    for direction, pairs in pairs_by_direction.items():
        decodings = outputs_by_direction.get(direction, ())
        for lines in decodings:
            if len(lines) != len(pairs):
                raise ValueError(f"{direction}: {len(lines)} outputs for {len(pairs)} sources")
        outputs[direction] = [
            [replace(pair, target=lines[i].strip()) for lines in decodings]
            for i, pair in enumerate(pairs)
        ]
    # Each distinct one once: decodings often agree.
    distinct = list(dict.fromkeys(chain(*pairs_by_direction.values(), *chain(*outputs.values()))))
    scores = log_probabilities(translator, distinct, batch_tokens, progress)
    score_of = dict(zip(distinct, scores, strict=True))
    references = {
        direction: [score_of[pair] for pair in pairs]
        for direction, pairs in pairs_by_direction.items()
    }
    modes = {
        direction: _modes([score_of[pair] for pair in own] for own in of_direction)
        for direction, of_direction in outputs.items()
    }
    facts = _facts(list(chain(*references.values())), list(chain(*modes.values())))
    return facts | {"directions": {name: _facts(references[name], modes[name]) for name in modes}}


def sequence_scores(
    translator: Translator,
    sequences: Sequence[dict[str, list[int]]],
    budget: Budget,
    progress: Callable[[int, int], None] | None = None,
) -> list[SequenceScore]:
    """Score the labelled tokens of sequences; arguments as those of `measure_tokens`."""
    score = partial(_token_scores, head=head_of(translator.model))
    rows = measure_tokens(translator, sequences, budget, score, progress)
    return [
        SequenceScore(float(rows[i][:, 0].sum()), len(rows[i]), bool(rows[i][:, 1].all()))
        if i in rows
        else NOT_SCORED
        for i in range(len(sequences))
    ]


@torch.no_grad()
def measure_tokens(
    translator: Translator,
    sequences: Sequence[dict[str, list[int]]],
    budget: Budget,
    measure: Callable[[Tensor, Tensor], Tensor],
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, Tensor]:
    """Measure the labelled tokens of sequences, longest first, as many at once as fit.

    Args:
        sequences: {"input_ids", "labels"} of each; those without a token are passed over.
        measure: of N tokens, from the states that predict them, (N, H), and their ids, (N,), to
            (N, …).
        progress: called with sequences done and in all.

    Returns:
        The measures of each sequence, (its tokens, …) on the CPU, by its place.
    """
    model, pad_id = translator.model, pad_id_of(translator.tokenizer)
    sizes = [len(sequence["input_ids"]) for sequence in sequences]
    order = [place for place in longest_first(sizes) if sizes[place]]
    empty = len(sequences) - len(order)
    report = progress or (lambda done, total: None)
    report(empty, len(sequences))
    measured: dict[int, Tensor] = {}
    with evaluating(model):
        for batch in budget.batches([sizes[place] for place in order]):
            places = [order[i] for i in batch]
            inputs = {
                name: part.to(model.device)
                for name, part in collate([sequences[place] for place in places], pad_id).items()
            }
            labels = inputs.pop("labels")[:, 1:]
            is_target = labels != IGNORED
            hidden = final_hidden(model, model, inputs)[:, :-1][is_target]
            rows = measure(hidden, labels[is_target]).cpu().split(is_target.sum(1).tolist())
            measured |= zip(places, rows, strict=True)
            report(empty + len(measured), len(sequences))
    return measured


def _modes(scores: Iterable[Sequence[SequenceScore]]) -> list[SequenceScore]:
    """The most probable output of each source that has one."""
    scored = ([score for score in own if score.tokens] for own in scores)
    return [max(own, key=lambda score: score.log_probability) for own in scored if own]


def _facts(references: Sequence[SequenceScore], modes: Sequence[SequenceScore]) -> dict[str, Any]:
    masses = [mode.probability for mode in modes]

    def share(count: int) -> float | None:
        return count / len(modes) if modes else None

    return {
        "perplexity": perplexity(references),
        "reference_tokens": sum(score.tokens for score in references),
        "sentences": len(modes),
        "mode_mass": 100 * fmean(masses) if masses else None,
        "mode_mass_median": 100 * median(masses) if masses else None,
        "peaked": share(sum(mass > PEAKED for mass in masses)),
        "mode_is_greedy": share(sum(mode.greedy for mode in modes)),
        "not_scored": sum(not score.tokens for score in references),
    }


def _encoded(translator: Translator, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """Prompt, translation and end token as in training; nothing for what can't be scored."""
    limit = max_positions(translator.model)
    pairs = [replace(p, source=p.source.strip(), target=p.target.strip()) for p in pairs]
    data, _ = encode_corpus(pairs, translator.tokenizer, translator.prompt, sys.maxsize)
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
    return sequences


def _token_scores(hidden: Tensor, labels: Tensor, head: Head) -> Tensor:
    """(N, 2) float64: ln q of each label, and 1 where no other token is more probable."""
    size = head.weight.shape[0]
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    memory = LOGIT_BYTES["cpu" if hidden.device.type == "cpu" else "cuda"]
    rows = max(16, min(len(labels), memory // (size * dtype.itemsize)))
    buffer = torch.empty(rows, size, dtype=dtype, device=hidden.device)
    parts = []
    for chunk, targets in zip(hidden.split(rows), labels.split(rows), strict=True):
        logits = head.logits(chunk, size, out=buffer[: len(chunk)])
        target, best = logits.gather(1, targets[:, None]), logits.amax(1, keepdim=True)
        # log-softmax in place: q = exp(l − max) / Σ exp(l − max)
        total = logits.sub_(best).exp_().sum(1, keepdim=True)
        parts.append(torch.cat([target - best - total.log(), (target >= best).to(dtype)], dim=1))
    return torch.cat(parts).double()
