"""Sentences to token ids.

Three promises hold for every tokenizer:

- a response ends with exactly one end token, and that token is a target, even where the padding
  token is the same one: padding is masked by position, never by id;
- a prompt has the same ids in training and in translation, since the response is tokenized apart;
- a sentence is text: `</s>` or `<de>` inside it never becomes a special token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from evokd.data.prompts import Prompt
from evokd.errors import InputError

# Private-use characters: no template and no tokenizer knows them, no template trims them.
_SOURCE, _ANSWER = "\ue0f1source\ue0f1", "\ue0f1answer\ue0f1"
# Some chat templates print today's date or open a chain of thought; prompts must not depend on it.
_CHAT_VARIABLES = {"date_string": "26 Jul 2024", "enable_thinking": False}


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt with its languages filled in: the text around the source, and what follows.

    `parts` are joined by the source; `response_prefix` goes before a response: a space where the
    prompt ends in a word or a colon, so that the first word of a response is the token it is
    elsewhere.
    """

    parts: tuple[str, ...]
    response_prefix: str
    first_ids: tuple[int, ...]
    end_id: int
    special_tokens: int
    """How many there are in the parts."""


def pad_id_of(tokenizer: Any) -> int:
    """What a model's config names as padding; batches are filled up with any id.

    No padding token is ever added: that would widen a pretrained vocabulary.
    """
    ids = tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id
    return next((int(token_id) for token_id in ids if token_id is not None), 0)


def end_token_id(tokenizer: Any, prompt: Prompt | None = None) -> int:
    """The token that ends a response.

    In a chat it is what the chat template puts after the assistant's words (for most models the
    tokenizer's own end token; Gemma's `<end_of_turn>` is another), else the end of the sentence.

    Raises:
        InputError: the tokenizer has neither.
    """
    if prompt is not None and prompt.chat:
        after = _chat_text(tokenizer, _SOURCE, answer=_ANSWER).partition(_ANSWER)[2]
        special = _specials(tokenizer).search(after)
        if special:
            return int(tokenizer.convert_tokens_to_ids(special[0]))
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer {_name(tokenizer)} has no end token (eos_token), so a model can't "
            "learn to stop; name another with tokenizer: in the model's section"
        )
    return int(tokenizer.eos_token_id)


def encode_prompts(
    tokenizer: Any, prompt: Prompt, sources: Sequence[str], source_code: str, target_code: str
) -> list[list[int]]:
    """Ids of everything that stands before a response, for sentences of one direction.

    Raises:
        InputError: a chat prompt and a tokenizer without a chat template, an unknown language.
    """
    rendered = rendered_prompt(tokenizer, prompt, source_code, target_code)
    return prompt_ids(tokenizer, [rendered] * len(sources), sources)


def rendered_prompt(
    tokenizer: Any, prompt: Prompt, source_code: str, target_code: str
) -> RenderedPrompt:
    text = prompt.render(_SOURCE, source_code, target_code)
    if prompt.chat:
        text = _chat_text(tokenizer, text)
    parts = tuple(text.split(_SOURCE))
    if len(parts) < 2:
        raise InputError(
            f"the chat template of {_name(tokenizer)} drops the user's message; "
            "take another prompt, e.g. prompt: parrot"
        )
    first_ids = () if prompt.chat else _added_in_front(tokenizer)
    if tokenizer.bos_token and parts[0].startswith(tokenizer.bos_token):
        first_ids = ()  # the template writes it itself
    prefix = _response_prefix(tokenizer, parts[-1])
    specials = _specials(tokenizer)
    count = sum(len(specials.findall(part)) for part in parts)
    return RenderedPrompt(parts, prefix, first_ids, end_token_id(tokenizer, prompt), count)


def ids_around(tokenizer: Any, prompt: RenderedPrompt) -> tuple[list[int], list[int]] | None:
    """Ids before and behind a source that is cut into tokens as if it stood alone; None: it isn't
    sure to be. That is between special tokens, where nothing else looks beyond them."""
    parts = prompt.parts
    if len(parts) != 2 or not _is_plain(tokenizer):
        return None
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    cuts = state["pre_tokenizer"] or {}
    if state["normalizer"] or cuts.get("type") != "ByteLevel" or cuts.get("add_prefix_space"):
        return None
    strips = ("lstrip", "rstrip", "single_word")
    if any(token[strip] for token in state["added_tokens"] for strip in strips):
        return None
    specials, (before, behind) = _specials(tokenizer), parts
    ends = [match.end() for match in specials.finditer(before)]
    if (before and len(before) not in ends) or (behind and not specials.match(behind)):
        return None
    one, other = token_ids(tokenizer, [before, behind], literal=False)
    return [*prompt.first_ids, *one], other


def prompt_ids(
    tokenizer: Any, prompts: Sequence[RenderedPrompt], sources: Sequence[str]
) -> list[list[int]]:
    specials = _specials(tokenizer)
    texts = [source.join(p.parts) for p, source in zip(prompts, sources, strict=True)]
    encoded = token_ids(tokenizer, texts, literal=False)
    for i, (prompt, source) in enumerate(zip(prompts, sources, strict=True)):
        if len(specials.findall(texts[i])) != prompt.special_tokens:
            encoded[i] = _guarded_ids(tokenizer, prompt.parts, source, specials)
    return [[*p.first_ids, *ids] for p, ids in zip(prompts, encoded, strict=True)]


def _guarded_ids(
    tokenizer: Any, parts: Sequence[str], source: str, specials: re.Pattern[str]
) -> list[int]:
    """A prompt whose source looks like special tokens: only the template's own ones are parsed."""
    pieces = [""]  # text and a special token of the template, in turn
    for number, part in enumerate(parts):
        first, *others = specials.split(part)
        pieces[-1] += (source if number else "") + first
        pieces += others
    ids: list[int] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            ids.append(tokenizer.convert_tokens_to_ids(piece))
        elif piece:
            ids += token_ids(tokenizer, [piece], literal=True)[0]
    return ids


def token_ids(tokenizer: Any, texts: Sequence[str], literal: bool) -> list[list[int]]:
    """Ids of texts, nothing added in front or behind; `literal` reads no special token in them."""
    if not texts:
        return []
    if _is_plain(tokenizer):
        # What transformers calls in the end, without the objects that it makes of each text.
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = literal
        found = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [one.ids for one in found]
    encoding = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=literal,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return [list(ids) for ids in encoding["input_ids"]]


def _is_plain(tokenizer: Any) -> bool:
    """Whether a tokenizer is one of the library tokenizers and nothing else."""
    own, given = type(tokenizer), PreTrainedTokenizerFast
    return isinstance(tokenizer, given) and all(
        getattr(own, name, None) is getattr(given, name, None)
        for name in ("__call__", "_encode_plus", "backend_tokenizer")
    )


def _added_in_front(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer itself puts before a text; what it puts behind (an end token) is left."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start])
    return ()


def _response_prefix(tokenizer: Any, last_part: str) -> str:
    """A space, if the prompt ends in text and the tokenizer doesn't add one by itself."""
    if not last_part or last_part[-1].isspace():
        return ""
    specials = _specials(tokenizer).finditer(last_part)
    ends_in_special = any(special.end() == len(last_part) for special in specials)
    first = tokenizer.convert_ids_to_tokens(token_ids(tokenizer, ["a"], literal=True)[0])[0]
    return "" if ends_in_special or first.startswith("▁") else " "


def _chat_text(tokenizer: Any, content: str, answer: str | None = None) -> str:
    """A user's message, up to where the assistant begins or through its answer."""
    if not tokenizer.chat_template:
        raise InputError(
            f"the tokenizer {_name(tokenizer)} has no chat template, so prompt: chat doesn't fit; "
            "take prompt: parrot or prompt: alma, or an instruction-tuned model"
        )
    messages = [{"role": "user", "content": content}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer is None, **_CHAT_VARIABLES
        )
    except Exception as error:  # templates are programs: they raise what they like
        raise InputError(
            f"the chat template of {_name(tokenizer)} fails on a user's message ({error}); "
            "take another prompt, e.g. prompt: parrot"
        ) from None
    return str(text)


def _specials(tokenizer: Any) -> re.Pattern[str]:
    """Matches the special tokens that the tokenizer would find in a text; one group, for split."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    contents = {token.content for token in added if token.special}
    contents.update(tokenizer.all_special_tokens)
    longest_first = sorted((c for c in contents if c), key=lambda c: (-len(c), c))
    return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")


def _name(tokenizer: Any) -> str:
    return str(tokenizer.name_or_path or type(tokenizer).__name__)
