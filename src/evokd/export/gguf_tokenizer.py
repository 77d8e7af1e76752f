"""A tokenizer in a GGUF file, as llama.cpp reads it: tokens, their kinds, and how text is cut.

Two sorts are written. A byte-level BPE (Llama 3, Qwen, GPT-2) has merges and the name of a pattern
that text is cut by first. A SentencePiece BPE (Llama 2, Mistral, Gemma) has a score for each token,
and llama.cpp joins any two neighbours that make a token, the best score first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from evokd.errors import InputError
from evokd.models.loading import Translator, end_ids

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of tokens."""
_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERNS = {
    _CUT % r"\p{N}{1,3}": "llama-bpe",
    _CUT % r"\p{N}": "qwen2",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}
"""What text is cut by before BPE, and llama.cpp's names for it."""


def write_tokenizer(writer: Any, translator: Translator) -> None:
    """Raises InputError: a tokenizer of another sort, or one that llama.cpp reads otherwise."""
    tokenizer = translator.tokenizer
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    pieces = model["type"] == "BPE" and model.get("byte_fallback")
    width = translator.model.config.get_text_config().vocab_size
    by_number = {n: token for token, n in tokenizer.get_vocab().items() if n < width}
    tokens = [by_number.get(n, f"[PAD{n}]") for n in range(width)]
    kinds = _kinds(tokenizer, tokens, by_number.keys())
    merges = [m.split(" ") if isinstance(m, str) else m for m in model.get("merges", [])]
    if pieces:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(tokens, merges))
        writer.add_add_space_prefix(_begins_with_space(state))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pre_tokenizer(state))
        writer.add_token_merges([" ".join(merge) for merge in merges])
    spaced = zip(tokens, kinds, strict=True)  # what users add is looked for in text as it comes
    writer.add_token_list([t.replace("▁", " ") if k == USER_DEFINED else t for t, k in spaced])
    writer.add_token_types(kinds)
    for name in ("bos", "unk", "pad"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_eos_token_id(end_ids(translator.model, tokenizer, translator.prompt)[0])
    writer.add_add_bos_token(False)  # our prompts have it themselves
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _kinds(tokenizer: Any, tokens: Sequence[str], taken: Collection[int]) -> list[int]:
    added = {n: one.special for n, one in tokenizer.added_tokens_decoder.items()}

    def kind(number: int, token: str) -> int:
        if number not in taken:
            return UNUSED
        if number == tokenizer.unk_token_id:
            return UNKNOWN
        if number in added:
            return CONTROL if added[number] else USER_DEFINED
        return BYTE if re.fullmatch("<0x[0-9A-F]{2}>", token) else NORMAL

    return [kind(number, token) for number, token in enumerate(tokens)]


def _scores(tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> list[float]:
    """The earlier a token is made, the higher; those that no merge makes are last.

    Raises:
        InputError: merges that leave a way to make a token out, or come back to one, as
            SentencePiece's don't: llama.cpp would make it in that way, too.
    """
    known, made = set(tokens), ["".join(merge) for merge in merges]
    ranks = {token: -float(place) for place, token in enumerate(dict.fromkeys(made))}
    ways = sum(t[:i] in known and t[i:] in known for t in ranks for i in range(1, len(t)))
    changes = sum(one != other for one, other in pairwise(made)) + bool(made)
    if ways != len(merges) or changes != len(ranks):
        raise InputError(
            "--to gguf: found a BPE with byte fallback whose merges aren't those of SentencePiece; "
            "llama.cpp would cut text otherwise"
        )
    return [ranks.get(token, -float(len(ranks))) for token in tokens]


def _begins_with_space(state: dict[str, Any]) -> bool:
    """Whether text gets a space in front. Raises InputError: other changes are made to it."""
    steps = [
        *_steps(state["normalizer"], "normalizers"),
        *_steps(state["pre_tokenizer"], "pretokenizers"),
    ]
    for step in steps:
        spaces = step["type"] == "Replace" and (step["pattern"], step["content"]) == (
            {"String": " "},
            "▁",
        )
        idle = step["type"] == "Split" and step["pattern"] == {"String": " "}  # none are left
        if not (spaces or idle or step["type"] in ("Prepend", "Metaspace")):
            raise _unknown(step)
    return any(
        step["type"] == "Prepend" or step.get("prepend_scheme") in ("first", "always")
        for step in steps
    )


def _pre_tokenizer(state: dict[str, Any]) -> str:
    """llama.cpp's name for how text is cut before BPE. Raises InputError: it has none."""
    steps = _steps(state["pre_tokenizer"], "pretokenizers")
    kinds = [step["type"] for step in steps]
    if (
        state["model"]["type"] == "BPE"
        and kinds[-1:] == ["ByteLevel"]
        and not steps[-1]["add_prefix_space"]
    ):
        own = steps[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and own:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and own and steps[0]["individual_digits"]:
            return "smollm"
        pattern = steps[0].get("pattern", {}).get("Regex")
        if kinds == ["Split", "ByteLevel"] and not own and pattern in PATTERNS:
            return PATTERNS[pattern]
    raise _unknown(steps[0] if steps else state["model"]["type"])


def _steps(state: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    return [] if state is None else state.get(inner, [state])


def _unknown(what: Any) -> InputError:
    return InputError(
        f"--to gguf: found a tokenizer that isn't written here ({str(what)[:200]}); byte-level BPE "
        "as of GPT-2, SmolLM, Llama 3, Qwen and Mistral Nemo, and SentencePiece's BPE are; others "
        "by llama.cpp's own converter"
    )
