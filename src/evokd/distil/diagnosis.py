"""Difficulty looked at token by token: which words are hard for a student, and how hard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evokd.data.pairs import Pair
from evokd.distil.teacher.signal import LiveTeacher, TeacherSignal
from evokd.distil.tokens import Tokens
from evokd.models.encoding import IGNORED, collate, encode_corpus, target_mask
from evokd.models.lm_head import final_hidden, head_of
from evokd.models.loading import Translator
from evokd.recipe.methods import MethodSettings

EDGES = [round(0.1 * step, 1) for step in range(51)]
"""Bins of the difficulty histogram, in nats; a last one takes all above."""
SHOWN = 12
"""Sentences of which each token is kept, for the report."""


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
    device = next(student.model.parameters()).device
    student.model.eval()
    columns: list[Tensor] = []
    lost = torch.zeros(2, dtype=torch.float64)
    sentences: list[dict[str, Any]] = []
    spread = {round(i * (len(pairs) - 1) / max(1, SHOWN - 1)) for i in range(SHOWN)}
    for start in range(0, len(pairs), batch_size):
        chosen = pairs[start : start + batch_size]
        data, _ = encode_corpus(chosen, student.tokenizer, student.prompt)
        examples = [data[i] for i in range(len(data))]
        batch = collate(examples)
        labels = batch["labels"].to(device)
        read = {k: batch[k].to(device) for k in ("input_ids", "attention_mask")}
        predicts = target_mask(labels)
        targets = labels.roll(-1, dims=1)[predicts]
        hidden = final_hidden(student.model, student.model, read)[predicts]
        teacher_logits = signal.forward(read, predicts)
        logits = [
            head_of(student.model).logits(hidden),
            teacher_logits.logits(slice(None), signal.width),
        ]
        lost += torch.stack([_mass_beyond(one, vocabulary_size) for one in reversed(logits)])
        tokens = Tokens(
            logits[0][:, :vocabulary_size], logits[1][:, :vocabulary_size], targets, settings
        )
        values = torch.stack([tokens.difficulty, tokens.nll, tokens.teacher_nll], dim=1).cpu()
        columns.append(values)
        for row, own in enumerate(values.split(predicts.sum(1).tolist())):
            if start + row in spread:
                ids = [i for i in examples[row]["labels"] if i != IGNORED]
                sentences.append(
                    _sentence(student.tokenizer, chosen[row], ids, own, settings.gamma)
                )
    d, nll, teacher_nll = torch.cat(columns).double().T.contiguous()
    edges = torch.tensor(EDGES, dtype=torch.float64)
    counts = torch.bincount(torch.bucketize(d, edges[1:], right=True), minlength=len(EDGES))
    return {
        "gamma": settings.gamma,
        "tokens": len(d),
        "hard_share": float((d > settings.gamma).double().mean()),
        "mean_difficulty": float(d.mean()),
        "student_nll": float(nll.mean()),
        "teacher_nll": float(teacher_nll.mean()),
        "lost_mass": dict(zip(("teacher", "student"), (lost / len(d)).tolist(), strict=True)),
        "histogram": {"edges": [*EDGES, None], "counts": counts.tolist()},
        "sentences": sentences,
    }


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
            }
            for text, (d, nll, teacher) in zip(texts, values, strict=True)
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
