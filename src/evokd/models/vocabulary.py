"""Whether a teacher and a student speak of the same tokens.

Token-level distillation compares two distributions entry by entry, so entry i must be the same
token on both sides. Equal sizes don't prove that, and unequal sizes don't disprove it: models of
one family pad their embeddings to different widths (Qwen2.5: 151936 and 152064 for 151665 tokens).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from evokd.errors import InputError

# Scripts, digits, spaces and signs on which tokenizers of different families part ways.
PROBE = (
    "The quick brown fox can't jump over 3,141.59 lazy dogs (1999–2024)!",
    "Größenwahn und Übermut: „Straße“ heißt's, nicht „Strasse“.",
    "L'été dernier, à Noël… ça coûtait 12 € ; où est-ce qu'on va ?",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. Łódź, Ærø, Győr, İstanbul",
    "В чащах юга жил бы цитрус? Да, но фальшивый экземпляр!",
    "我们在北京大学学习机器翻译，共有１２３４个句子。",
    "これは日本語のテストです。カタカナ、ひらがな、漢字！",
    "한국어 문장도 토큰으로 나뉩니다.",
    "هذا نص عربي للاختبار، والأرقام ٠١٢٣",
    "यह हिन्दी का एक वाक्य है। ไม่มีช่องว่างในภาษาไทย Þetta er íslenska",
    " leading and trailing spaces  \n\n\ttabs\t\tand  runs   of    spaces \r\n",
    "emoji 🙂👩‍👩‍👧🇩🇪 and symbols ½ ² ™ → ∑ \u200b\u00a0 <html> {json: 'x'} https://a.b/c?d=1#e",
    "1234567890 007 1e-9 0x1F a1b2 ABCdefGHI snake_case camelCase -- ***",
)


@dataclass(frozen=True)
class SharedVocabulary:
    """The entries that both models have, from 0 to `size`, and what is left out, if anything is."""

    size: int
    note: str


def fingerprint(tokenizer: Any) -> str:
    """A short hash of what a tokenizer does: the same after saving, loading or padding a batch.

    It covers the vocabulary, the merges, the added tokens, all steps before and after, and which
    tokens begin and end a text; it leaves out the padding token, truncation and the chat template.
    """
    tree = tokenizer_tree(tokenizer)
    if tree:
        for state in ("padding", "truncation", "version"):
            tree.pop(state, None)
    else:
        tree = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    tree["ends"] = [tokenizer.bos_token, tokenizer.eos_token]
    text = json.dumps(tree, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def tokenizer_tree(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer as `tokenizers` writes it, merges as pairs; empty for one of another kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        return {}
    tree: dict[str, Any] = json.loads(backend.to_str())
    merges = tree["model"].get("merges") or []
    tree["model"]["merges"] = [m.split(" ") if isinstance(m, str) else m for m in merges]
    return tree


def shared_vocabulary(
    teacher_tokenizer: Any,
    teacher_vocab_size: int,
    student_tokenizer: Any,
    student_vocab_size: int,
    texts: Sequence[str] = (),
) -> SharedVocabulary:
    """The longest common start of two vocabularies, if both tokenizers are the same on it.

    Args:
        teacher_vocab_size, student_vocab_size: widths of the two models' outputs.
        texts: more texts that both must tokenize alike, such as the prompt.

    Raises:
        InputError: different tokens under one id, different tokens for one text, a text or the end
            token that needs an id outside of the common start.
    """
    teacher = _tokens(teacher_tokenizer, teacher_vocab_size)
    student = _tokens(student_tokenizer, student_vocab_size)
    ids = sorted(teacher.keys() | student.keys())
    differing = [i for i in ids if teacher.get(i) != student.get(i)]
    width = min(teacher_vocab_size, student_vocab_size)
    size = min([width, *differing[:1]])
    refusal = partial(_refusal, teacher_tokenizer, student_tokenizer)
    # A difference at the tail is harmless where one side simply ends earlier.
    if size < width and all(i < size for i in teacher) == all(i < size for i in student):
        examples = [f"{i}: {teacher.get(i)!r} and {student.get(i)!r}" for i in differing[:3]]
        raise refusal(
            f"{len(differing)} ids stand for different tokens (teacher's and student's): "
            + "; ".join(examples)
        )
    for text in (*PROBE, *texts):
        both = [list(t(text)["input_ids"]) for t in (teacher_tokenizer, student_tokenizer)]
        if both[0] != both[1]:
            raise refusal(_encodings(text, both, teacher))
        if both[0] and max(both[0]) >= size:
            raise refusal(
                f"{text!r} needs the id {max(both[0])}; only the first {size} ids are shared"
            )
    ends = (teacher_tokenizer.eos_token_id, student_tokenizer.eos_token_id)
    if ends[0] != ends[1] or (ends[0] is not None and ends[0] >= size):
        raise refusal(
            f"the teacher ends a text with {teacher_tokenizer.eos_token!r} ({ends[0]}), "
            f"the student with {student_tokenizer.eos_token!r} ({ends[1]})"
        )
    note = ""
    sides = ("teacher", teacher_vocab_size, teacher), ("student", student_vocab_size, student)
    left_out = [_left_out(*side, size) for side in sides if side[1] > size]
    if left_out:
        note = f"both vocabularies are cut to the {size} entries they share; left out: "
        note += ", ".join(left_out)
    return SharedVocabulary(size, note)


def _tokens(tokenizer: Any, width: int) -> dict[int, str]:
    """id → token, for the ids that the model has."""
    return {i: token for token, i in tokenizer.get_vocab().items() if i < width}


def _left_out(who: str, width: int, tokens: dict[int, str], size: int) -> str:
    extra = [token for i, token in sorted(tokens.items()) if i >= size]
    what = "no tokens"
    if extra:
        named = ", ".join(extra[:3]) + (", …" if len(extra) > 3 else "")
        what = f"{len(extra)} of them added tokens that ordinary text never needs: {named}"
    return f"{width - size} of the {who}'s {width} ({what})"


def _encodings(text: str, ids: list[list[int]], tokens: dict[int, str]) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), min(map(len, ids))
    )
    shown = [[tokens.get(i, i) for i in row[place : place + 4]] for row in ids]
    return f"{text!r} gives {shown[0]} in the teacher's, {shown[1]} in the student's"


def _refusal(teacher_tokenizer: Any, student_tokenizer: Any, difference: str) -> InputError:
    return InputError(
        "teacher and student have different tokenizers "
        f"({fingerprint(teacher_tokenizer)} and {fingerprint(student_tokenizer)}): {difference}.\n"
        "Token-level distillation needs one tokenizer: take two models of one family, name the "
        "teacher's with student.tokenizer if only the end or begin token differs, or model: fresh"
    )
