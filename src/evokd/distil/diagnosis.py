"""Difficulty looked at token by token: which words are hard for a student, and how hard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evokd.data.pairs import Pair
from evokd.distil.teacher.signal import LiveTeacher, TeacherSignal
from evokd.distil.token_batch import TeacherLogits
from evokd.distil.tokens import Tokens, disbelieves
from evokd.models.encoded import collate, encode_corpus, target_mask
from evokd.models.lm_head import final_hidden, head_of
from evokd.models.loading import Translator
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import IGNORED, ObjectiveSettings

EDGES = [round(0.1 * step, 1) for step in range(51)]
"""Bins of the difficulty histogram, in nats; a last one takes all above."""
SHOWN = 12
"""Sentences of which each token is kept, for the report."""
GATES = [(0.4, None), (1.5, None), (3.0, None), (0.4, 1.0), (0.4, 2.0), (0.4, 4.0)]
"""Γ and δ of gates that are compared; without δ they are the paper's."""
_CHUNK = 256
"""Tokens whose logits stand in memory at once."""


@torch.no_grad()
def diagnose(
    student: Translator,
    teacher: nn.Module | TeacherSignal,
    pairs: Sequence[Pair],
    method: MethodSettings,
    vocabulary_size: int,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Difficulty of every response token of some pairs, as histogram, means and sentences.

    d is Eq. 5 with the method's λ; a token is hard where d > the method's Γ.
    """
    signal = LiveTeacher(teacher) if isinstance(teacher, nn.Module) else teacher
    _, settings = method.in_force()
    responses, of_pairs, lost = _token_values(
        student, signal, pairs, settings, vocabulary_size, batch_size
    )
    shown = sorted({round(i * (len(pairs) - 1) / max(1, SHOWN - 1)) for i in range(SHOWN)})
    d, nll, teacher_nll, entropy = torch.cat(of_pairs).double().T.contiguous()
    edges = torch.tensor(EDGES, dtype=torch.float64)
    counts = torch.bincount(torch.bucketize(d, edges[1:], right=True), minlength=len(EDGES))
    return {
        "gamma": settings.gamma,
        "tokens": len(d),
        "hard_share": float((d > settings.gamma).double().mean()),
        "mean_difficulty": float(d.mean()),
        "student_nll": float(nll.mean()),
        "teacher_nll": float(teacher_nll.mean()),
        "teacher_entropy": float(entropy.mean()),
        "lost_mass": dict(zip(("teacher", "student"), (lost / len(d)).tolist(), strict=True)),
        "histogram": {"edges": [*EDGES, None], "counts": counts.tolist()},
        "sentences": [
            _sentence(student.tokenizer, pairs[i], responses[i], of_pairs[i], settings.gamma)
            for i in shown
        ],
    }


@torch.no_grad()
def gate_quality(
    student: Translator,
    signal: TeacherSignal,
    pairs: Sequence[Pair],
    wrong_words: Sequence[Collection[int]],
    vocabulary_size: int,
    batch_size: int = 32,
) -> list[dict[str, Any]]:
    """How well gates find the tokens that are wrong, where these are known.

    Args:
        wrong_words: of each pair's target, words by number; one more than the last is its end.

    Returns:
        A row for each of GATES: gamma, doubt (None: the paper's gate), the share of tokens that it
        damps, of these the share that is wrong (precision; None without any), of the wrong ones the
        share that it damps (recall).
    """
    settings = ObjectiveSettings()
    responses, of_pairs, _ = _token_values(
        student, signal, pairs, settings, vocabulary_size, batch_size
    )
    flags = [
        torch.tensor([word in wrong for word in _words_of(student.tokenizer, ids)])
        for ids, wrong in zip(responses, wrong_words, strict=True)
    ]
    is_wrong = torch.cat(flags)
    d, _, teacher_nll, entropy = torch.cat(of_pairs).T
    rows = []
    for gamma, doubt in GATES:
        damped = d > gamma
        if doubt is not None:
            damped &= disbelieves(teacher_nll, entropy, doubt)
        hits, count = int((damped & is_wrong).sum()), int(damped.sum())
        rows.append(
            {
                "gamma": gamma,
                "doubt": doubt,
                "damped": count / len(damped),
                "precision": hits / count if count else None,
                "recall": hits / max(1, int(is_wrong.sum())),
            }
        )
    return rows


def _token_values(
    student: Translator,
    signal: TeacherSignal,
    pairs: Sequence[Pair],
    settings: ObjectiveSettings,
    vocabulary_size: int,
    batch_size: int,
) -> tuple[list[list[int]], tuple[Tensor, ...], Tensor]:
    """Of each pair its response tokens, and (n, 4) d, −ln q(y), −ln p(y) and H(p) of these; in all
    the mass that teacher and student lose where their vocabularies are cut."""
    model = student.model.eval()
    device = next(model.parameters()).device
    data, _ = encode_corpus(pairs, student.tokenizer, student.prompt)
    examples = [data[i] for i in range(len(data))]
    columns: list[Tensor] = []
    lost = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(pairs), batch_size):
        batch = collate(examples[start : start + batch_size])
        batch = {name: one.to(device) for name, one in batch.items()}
        for rows, labels, ours, (teacher_logits,) in response_chunks(model, [signal], batch):
            theirs = teacher_logits.logits(rows, signal.width)
            lost += torch.stack([_mass_beyond(one, vocabulary_size) for one in (theirs, ours)])
            ours, theirs = ours[:, :vocabulary_size], theirs[:, :vocabulary_size]
            tokens = Tokens(ours, theirs, labels, settings)
            values = (tokens.difficulty, tokens.nll, tokens.teacher_nll, tokens.p.entropy)
            columns.append(torch.stack(values, dim=1).cpu())
    responses = [[i for i in example["labels"] if i != IGNORED] for example in examples]
    return responses, torch.cat(columns).split([len(ids) for ids in responses]), lost


def _words_of(tokenizer: Any, ids: list[int]) -> list[int]:
    """The number of the word that each response token ends in; the end token's is one more."""
    words, text = [], ""
    for piece in _pieces(tokenizer, ids[:-1]):
        text += piece
        words.append(max(0, len(text.split()) - 1))
    return [*words, len(text.split())]


def response_chunks(
    student: nn.Module, signals: Sequence[TeacherSignal], batch: dict[str, Tensor]
) -> Iterator[tuple[slice, Tensor, Tensor, list[TeacherLogits]]]:
    """The response tokens of a batch, some at a time: which they are, their labels (n,), the
    student's logits (n, V), and of each teacher those of the whole batch.

    Args:
        batch: input_ids, attention_mask, labels, each (B, T), on the models' device.
    """
    predicts = target_mask(batch["labels"])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    teachers = [signal.forward(inputs, predicts) for signal in signals]
    hidden = final_hidden(student, student, inputs)[predicts]
    labels = batch["labels"].roll(-1, dims=1)[predicts]
    for start in range(0, len(labels), _CHUNK):
        rows = slice(start, start + _CHUNK)
        yield rows, labels[rows], head_of(student).logits(hidden[rows]), teachers


def _mass_beyond(logits: Tensor, size: int) -> Tensor:
    """Summed probability of the vocabulary entries that are cut off."""
    if logits.shape[1] == size:
        return torch.zeros((), dtype=torch.float64)
    return logits.float().softmax(-1)[:, size:].sum().double().cpu()


def _sentence(
    tokenizer: Any, pair: Pair, ids: list[int], values: Tensor, gamma: float
) -> dict[str, Any]:
    """One pair with its response tokens, the end token last."""
    texts = [*_pieces(tokenizer, ids[:-1]), "⏎"]
    return {
        "direction": pair.direction,
        "source": pair.source,
        "reference": pair.target,
        "tokens": [
            {
                "text": text,
                "difficulty": round(float(d), 4),
                "hard": bool(d > gamma),
                "student_nll": round(float(nll), 4),
                "teacher_nll": round(float(teacher), 4),
                "teacher_entropy": round(float(entropy), 4),
            }
            for text, (d, nll, teacher, entropy) in zip(texts, values, strict=True)
        ],
    }


def _pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text that each token adds; a byte of an unfinished character adds nothing yet."""
    pieces, before = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(
            ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        whole = text if not text.endswith("\ufffd") else before
        pieces.append(whole[len(before) :])
        before = whole
    return pieces
