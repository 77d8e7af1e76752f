"""What a model thinks of given translations: perplexity, and how much it is of one mind.

Kim and Rush (2016) explain why a student trained on its teacher's translations needs no beam: it
puts much of its probability on one translation of a sentence, 16.9 % on average against 0.9 %.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evokd.data.pairs import Pair
from evokd.models.encoding import (
    IGNORED,
    collate,
    encode_corpus,
    encode_prompts,
    end_token_id,
    pad_id_of,
)
from evokd.models.lm_head import Head, final_hidden, head_of
from evokd.models.loading import Translator

BATCH_TOKENS = 8192
BUFFER_BYTES = {"cpu": 60 * 2**20, "cuda": 2**30}
"""Size of the logits that stand in memory at once."""
PEAKED = 0.01
"""A translation more probable than this is one that the model has settled for."""


@dataclass(frozen=True)
class SequenceScore:
    """What a model thinks of one translation.

    Attributes:
        log_probability: Σ ln q(yₜ | y₍<ₜ₎, x) over its tokens, the end token among them, in nats.
        tokens: how many these are; 0 for what can't be asked: a blank source, or more tokens than
            the model has positions.
        greedy: whether each token is the model's first choice at its place.
    """

    log_probability: float
    tokens: int
    greedy: bool

    @property
    def probability(self) -> float:
        """q(y | x)."""
        return math.exp(self.log_probability)


NOT_ASKED = SequenceScore(0.0, 0, False)


@torch.no_grad()
def log_probabilities(
    translator: Translator,
    sources: Sequence[str],
    targets: Sequence[str],
    source_code: str,
    target_code: str,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> list[SequenceScore]:
    """Score translations of one direction, each with its source, in their order.

    A text is scored as the tokens that the tokenizer makes of it, and the end token of training. A
    model may have written the same text in other tokens, and a probability over all of them is
    larger than what is found here. A blank translation is the end token alone.

    Args:
        batch_tokens: most tokens at once, padding included; one sequence may exceed it.
        progress: called with translations done and in all.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
    """
    model = translator.model
    head = head_of(model)
    sequences = _encoded(translator, sources, targets, source_code, target_code)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    asked = [place for place, one in enumerate(sequences) if one and len(one["input_ids"]) <= limit]
    # Longest first: what doesn't fit into memory fails at once.
    asked.sort(key=lambda place: (-len(sequences[place]["input_ids"]), place))
    scores = [NOT_ASKED] * len(sequences)
    done = len(sequences) - len(asked)
    if progress is not None:
        progress(done, len(sequences))
    with _evaluating(model):
        for places in _batches([(p, len(sequences[p]["input_ids"])) for p in asked], batch_tokens):
            batch = collate([sequences[p] for p in places], pad_id_of(translator.tokenizer))
            for place, score in zip(places, batch_scores(model, head, batch), strict=True):
                scores[place] = score
            done += len(places)
            if progress is not None:
                progress(done, len(sequences))
    return scores


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
    probable one at hand of those that the model made, so what is found is at most the mode's share.
    Several are asked for: beam search may end on a less probable translation than greedy search
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
        sentences: with an output whose probability could be asked for.
        mode_mass: mean over these of 100 · q(ŷ | x), in percent; None without sentences.
        mode_mass_median: the median of the same.
        peaked: share of sentences where q(ŷ | x) > 0.01.
        mode_is_greedy: share of sentences where ŷ is the model's first choice token by token.
        not_asked: references that couldn't be (blank source, too long).
        directions: the same for each direction.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
        ValueError: outputs of a number other than that of the pairs.
    """
    asked = {
        direction: _candidates(direction, pairs, outputs_by_direction.get(direction, ()))
        for direction, pairs in pairs_by_direction.items()
    }
    total = sum(len(candidates) for candidates in asked.values())
    references: dict[str, list[SequenceScore]] = {}
    modes: dict[str, list[SequenceScore]] = {}
    done = 0
    for direction, pairs in pairs_by_direction.items():
        source_code, target_code = direction.split("-")
        scores = log_probabilities(
            translator,
            [pairs[i].source for i, _ in asked[direction]],
            [text for _, text in asked[direction]],
            source_code,
            target_code,
            batch_tokens,
            _counted_on(progress, done, total),
        )
        done += len(scores)
        score_of = dict(zip(asked[direction], scores, strict=True))
        outputs = outputs_by_direction.get(direction, ())
        references[direction] = [score_of[i, p.target.strip()] for i, p in enumerate(pairs)]
        modes[direction] = _modes(score_of, len(pairs), outputs)
    found = _facts(
        [score for scores in references.values() for score in scores],
        [score for scores in modes.values() for score in scores],
    )
    each = {name: _facts(references[name], modes[name]) for name in references}
    return found | {"directions": each}


def _candidates(
    direction: str, pairs: Sequence[Pair], outputs: Sequence[Sequence[str]]
) -> list[tuple[int, str]]:
    """(place of the source, translation), each distinct one once: decodings often agree."""
    for lines in outputs:
        if len(lines) != len(pairs):
            raise ValueError(f"{direction}: {len(lines)} outputs for {len(pairs)} sources")
    return [
        (i, text)
        for i, pair in enumerate(pairs)
        for text in dict.fromkeys([pair.target.strip(), *(lines[i].strip() for lines in outputs)])
    ]


def _counted_on(
    progress: Callable[[int, int], None] | None, before: int, total: int
) -> Callable[[int, int], None] | None:
    """Progress of a part as that of the whole."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _modes(
    score_of: Mapping[tuple[int, str], SequenceScore],
    sources: int,
    outputs: Sequence[Sequence[str]],
) -> list[SequenceScore]:
    """The most probable output of each source that has one."""
    modes = []
    for i in range(sources):
        own = [score_of[i, lines[i].strip()] for lines in outputs]
        own = [score for score in own if score.tokens]
        if own:
            modes.append(max(own, key=lambda score: score.log_probability))
    return modes


def _facts(references: Sequence[SequenceScore], modes: Sequence[SequenceScore]) -> dict[str, Any]:
    masses = sorted(mode.probability for mode in modes)
    middle = [masses[len(masses) // 2], masses[(len(masses) - 1) // 2]] if masses else []

    def share(count: int) -> float | None:
        return count / len(modes) if modes else None

    return {
        "perplexity": perplexity(references),
        "reference_tokens": sum(score.tokens for score in references),
        "sentences": len(modes),
        "mode_mass": 100 * math.fsum(masses) / len(masses) if masses else None,
        "mode_mass_median": 50 * sum(middle) if masses else None,
        "peaked": share(sum(mass > PEAKED for mass in masses)),
        "mode_is_greedy": share(sum(mode.greedy for mode in modes)),
        "not_asked": sum(not score.tokens for score in references),
    }


def _encoded(
    translator: Translator,
    sources: Sequence[str],
    targets: Sequence[str],
    source_code: str,
    target_code: str,
) -> list[dict[str, list[int]]]:
    """Prompt, translation and end token as in training; empty for a blank source, which never
    reaches a model."""
    tokenizer, prompt = translator.tokenizer, translator.prompt
    texts = [(s.strip(), t.strip()) for s, t in zip(sources, targets, strict=True)]
    full = [place for place, (source, target) in enumerate(texts) if source and target]
    silent = [place for place, (source, target) in enumerate(texts) if source and not target]
    pairs = [Pair(*texts[place], source_code, target_code, "") for place in full]
    data, _ = encode_corpus(pairs, tokenizer, prompt, sys.maxsize)
    sequences: list[dict[str, list[int]]] = [{} for _ in texts]
    for number, place in enumerate(full):
        sequences[place] = data[number]
    # Not even the space that a response may begin with: it isn't needed to say nothing.
    blank_to = [texts[place][0] for place in silent]
    prompts = encode_prompts(tokenizer, prompt, blank_to, source_code, target_code)
    end = end_token_id(tokenizer, prompt)
    for place, ids in zip(silent, prompts, strict=True):
        sequences[place] = {"input_ids": [*ids, end], "labels": [IGNORED] * len(ids) + [end]}
    return sequences


def _batches(lengths: Sequence[tuple[int, int]], batch_tokens: int) -> Iterator[list[int]]:
    """Places of (place, length), longest first, in groups of at most so many padded tokens."""
    group: list[int] = []
    longest = 0
    for place, length in lengths:
        if group and (len(group) + 1) * longest > batch_tokens:
            yield group
            group = []
        longest = longest if group else length
        group.append(place)
    if group:
        yield group


def batch_scores(model: Any, head: Head, batch: dict[str, Tensor]) -> list[SequenceScore]:
    """Scores of the labelled tokens of each sequence of a padded batch, without gradients."""
    labels = batch["labels"].to(model.device)
    read = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    predicts = torch.zeros_like(labels, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != IGNORED
    hidden = final_hidden(model, model, read)[predicts]
    found = _token_scores(hidden, head, labels.roll(-1, dims=1)[predicts])
    rows = found.cpu().split(predicts.sum(1).tolist())
    return [SequenceScore(float(row[:, 0].sum()), len(row), bool(row[:, 1].all())) for row in rows]


def _token_scores(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """(N, 2) float64: ln q of each target, and 1 where no other token is more probable."""
    size = head.weight.shape[0]
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    memory = BUFFER_BYTES["cpu" if hidden.device.type == "cpu" else "cuda"]
    rows = max(16, min(len(targets), memory // (size * dtype.itemsize)))
    buffer = torch.empty(rows, size, dtype=dtype, device=hidden.device)
    parts = []
    for start in range(0, len(targets), rows):
        chunk, wanted = hidden[start : start + rows], targets[start : start + rows, None]
        logits = head.logits(chunk, size, out=buffer[: len(chunk)])
        chosen, best = logits.gather(1, wanted), logits.amax(1, keepdim=True)
        # log-softmax in place: q = exp(l − max) / Σ exp(l − max)
        total = logits.sub_(best).exp_().sum(1, keepdim=True)
        parts.append(torch.cat([chosen - best - total.log(), (chosen >= best).to(dtype)], dim=1))
    return torch.cat(parts).double()


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
