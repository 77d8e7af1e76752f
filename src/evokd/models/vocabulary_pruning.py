"""A smaller vocabulary: only the tokens that some text uses, under new ids, and a tokenizer to it.

The smaller tokenizer cuts that text as the larger one does, token by token, and can still cut
every other text, into smaller tokens:

- A BPE joins, again and again, the neighbours whose merge stands highest in its list. What it does
  inside of a token doesn't depend on what is around, so a token is made by the same merges wherever
  it occurs. With the tokens used, all in between are kept, and with them every merge of kept
  tokens into a kept one, in the same order: each step of the larger one is then the smaller one's.
- A unigram model takes the best of all cuts into pieces. With fewer pieces the best one stays the
  best, as long as single characters and the worst score (which unknown ones go by) stay.

Distributions are compared over the same tokens, so the teacher of such a student must be sliced
alike: `distil.sliced_teacher`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from evokd.errors import InputError
from evokd.models import vocabulary
from evokd.models.encoding import token_ids
from evokd.models.loading import rebuilt
from evokd.rundir.files import read_json, write_json

KEPT_IDS = "kept_ids.json"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SETTINGS = (
    *("chat_template", "model_max_length", "padding_side", "truncation_side"),
    *("clean_up_tokenization_spaces", "split_special_tokens", "model_input_names"),
)
_CHUNK = 1000


def used_ids(
    tokenizer: Any,
    texts: Iterable[str],
    encoded: Iterable[Sequence[int]] = (),
    width: int | None = None,
) -> list[int]:
    """The ids that a smaller vocabulary needs, in ascending order.

    Args:
        texts: sentences as plain text; each counts at the start of a line and after a space.
        encoded: token ids that must stay, such as training pairs with their prompts.
        width: entries of the model's vocabulary; added tokens beyond it have no weights and go.

    Returns:
        The tokens of these texts, what is needed to cut the texts alike, all special and added
        tokens, all bytes or single characters.

    Raises:
        InputError: a tokenizer of another kind than BPE and unigram.
    """
    tree = _tree_of(tokenizer)
    used = set(chain.from_iterable(encoded))
    remaining = iter(texts)
    while chunk := list(islice(remaining, _CHUNK)):
        both = [*chunk, *(f" {text}" for text in chunk)]
        used.update(chain.from_iterable(token_ids(tokenizer, both, literal=True)))
    used |= {token["id"] for token in tree["added_tokens"]}
    kept = _closed(tree, used)
    return sorted(i for i in kept if width is None or i < width)


def slice_vocabulary(
    model: PreTrainedModel, tokenizer: Any, ids: Sequence[int]
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A copy of a model that knows these tokens only, and its tokenizer.

    Token `ids[i]` becomes token i, in the embeddings, the head, the tokenizer and the special ids
    of the configs; what is tied stays tied, everything else is the same.

    Args:
        ids: what `used_ids` gave.

    Raises:
        InputError: a tokenizer or a model that can't be rebuilt.
        ValueError: ids that aren't in order, or don't suffice for a tokenizer.
    """
    smaller = _sliced_tokenizer(tokenizer, ids)
    embeddings: Any = model.get_input_embeddings()
    width = embeddings.weight.shape[0]
    if ids[-1] >= width:
        raise ValueError(f"id {ids[-1]} has no weights, the model has {width}: name its width")
    place = {old: new for new, old in enumerate(ids)}
    config = copy.deepcopy(model.config)
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        _rename_special_ids(part, place)
    config.get_text_config().vocab_size = len(ids)
    rows = torch.as_tensor(ids)
    per_token = (embeddings, model.get_output_embeddings())
    sliced = {
        f"{name}.{kind}"
        for name, module in model.named_modules()
        if any(module is layer for layer in per_token)
        for kind in ("weight", "bias")
    }
    weights = {
        name: weight.index_select(0, rows.to(weight.device)) if name in sliced else weight.clone()
        for name, weight in model.state_dict().items()
    }
    made = rebuilt(model, config, weights)
    if made.generation_config is not None:
        _rename_special_ids(made.generation_config, place)
    return made, smaller


def save_kept_ids(folder: str | Path, ids: Sequence[int], tokenizer: Any) -> None:
    """Write down which ids of a tokenizer (the larger one) a model kept, beside that model."""
    mark = vocabulary.fingerprint(tokenizer)
    write_json(Path(folder) / KEPT_IDS, {"of_tokenizer": mark, "ids": list(ids)})


def load_kept_ids(folder: str | Path, tokenizer: Any) -> list[int]:
    """What `save_kept_ids` wrote.

    Raises:
        InputError: there is no such file, it is damaged, or of another tokenizer than this one.
    """
    path, mark = Path(folder) / KEPT_IDS, vocabulary.fingerprint(tokenizer)
    try:
        saved = read_json(path)
        ids = [int(i) for i in saved["ids"]]
        if (own := saved["of_tokenizer"]) != mark:
            raise ValueError(f"it speaks of the tokenizer {own}, the teacher has {mark}")
        return ids
    except FileNotFoundError:
        raise InputError(
            f"{path} not found, so nothing says which tokens of the teacher this student has; "
            "make it anew with student.cut.vocabulary=corpus"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or of another study ({error}); delete its folder and run again"
        ) from None


def _tree_of(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer as `tokenizers` writes it down.

    Raises:
        InputError: it is of a kind that can't be sliced.
    """
    tree = vocabulary.tokenizer_tree(tokenizer)
    model = tree.get("model", {})
    kind = model.get("type", type(tokenizer).__name__)
    affixes = [model.get(n) for n in ("continuing_subword_prefix", "end_of_word_suffix")]
    if kind not in ("BPE", "Unigram") or any(affixes):
        marked = " with marked word parts" if any(affixes) else ""
        raise InputError(
            f"the vocabulary of a {kind} tokenizer{marked} can't be cut; plain BPE and Unigram are "
            "accepted: take student.cut.vocabulary=all"
        )
    return tree


def _closed(tree: dict[str, Any], used: set[int]) -> set[int]:
    """Ids in use, and all others that a tokenizer needs to come to the same result."""
    model, added = tree["model"], {token["id"] for token in tree["added_tokens"]}
    unigram = model["type"] == "Unigram"
    number = {p: i for i, (p, _) in enumerate(model["vocab"])} if unigram else model["vocab"]
    text = {i: piece for piece, i in number.items() if i not in added}
    spelled = [text[i] for i in used if i in text]
    # The pieces that every text can be spelled with, if the tokenizer can spell every text.
    is_spare = _BYTE.fullmatch if model.get("byte_fallback") else lambda piece: len(piece) == 1
    needed = {piece for piece in text.values() if is_spare(piece)}
    if unigram:
        needed.update(chain.from_iterable(spelled))
        needed.add(min(model["vocab"], key=lambda entry: entry[1])[0])
        if model["unk_id"] is not None:
            needed.add(model["vocab"][model["unk_id"]][0])
    else:
        ranks = {(left, right): i for i, (left, right) in enumerate(model["merges"])}
        for token in spelled:
            needed.update(_steps(token, ranks))
        needed.add(model["unk_token"])
    return used | {number[piece] for piece in needed if piece in number}


def _steps(token: str, ranks: dict[tuple[str, str], int]) -> Iterator[str]:
    """All that stands between a token's characters and the token, in a BPE."""
    parts = list(token)
    seen = list(parts)
    while len(parts) > 1:
        rank, place = min(
            (ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(parts))
        )
        if rank == len(ranks):
            return  # a word that is taken whole (ignore_merges), never merged
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        seen.append(parts[place])
    yield from seen


def _sliced_tokenizer(tokenizer: Any, ids: Sequence[int]) -> PreTrainedTokenizerFast:
    tree = _tree_of(tokenizer)
    token_of = {i: token for token, i in tokenizer.get_vocab().items()}
    if list(ids) != sorted(set(ids)) or not ids or any(i not in token_of for i in ids):
        raise ValueError("distinct ids of the tokenizer are accepted, in ascending order: used_ids")
    absent = _closed(tree, set(ids)) - set(ids)
    if absent:
        raise ValueError(f"{len(absent)} ids that these are made of are missing: take used_ids")
    place = {old: new for new, old in enumerate(ids)}
    model = tree["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in place]
        model["unk_id"] = place.get(model["unk_id"])
    else:
        model["vocab"] = {t: place[i] for t, i in model["vocab"].items() if i in place}
        known = model["vocab"].keys()
        model["merges"] = [[a, b] for a, b in model["merges"] if {a, b, a + b} <= known]
    tree["added_tokens"] = [
        {**token, "id": place[token["id"]]}
        for token in tree["added_tokens"]
        if token["id"] in place
    ]
    tree["post_processor"] = _renamed(tree["post_processor"], place)
    tree["padding"] = tree["truncation"] = None
    expected = {token_of[old]: new for old, new in place.items()}
    named = {n: token for n, token in tokenizer.special_tokens_map.items() if token in expected}
    extra = [str(token) for token in getattr(tokenizer, "extra_special_tokens", None) or ()]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tree)),
        extra_special_tokens=[token for token in extra if token in expected],
        **{name: getattr(tokenizer, name) for name in _SETTINGS if hasattr(tokenizer, name)},
        **named,
    )
    if made.get_vocab() != expected:
        raise InputError(
            "this tokenizer gives other ids to its tokens when it is rebuilt, so its vocabulary "
            "can't be cut; take student.cut.vocabulary=all"
        )
    return made


def _renamed(processor: Any, place: dict[int, int]) -> Any:
    """What a tokenizer puts around a text, with new ids."""
    kind = processor and processor["type"]
    if kind == "Sequence":
        return {**processor, "processors": [_renamed(p, place) for p in processor["processors"]]}
    if kind == "TemplateProcessing":
        tokens = {
            name: {**token, "ids": [place[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
        return {**processor, "special_tokens": tokens}
    if kind in ("BertProcessing", "RobertaProcessing"):
        return processor | {n: [processor[n][0], place[processor[n][1]]] for n in ("sep", "cls")}
    return processor


def _rename_special_ids(config: Any, place: dict[int, int]) -> None:
    """New ids for the special tokens of a config; those that aren't kept are left out."""
    for name, value in list(vars(config).items()):
        if not name.endswith(("_token_id", "_token_ids")) or value is None:
            continue
        if isinstance(value, int):
            setattr(config, name, place.get(value))
        elif isinstance(value, (list, tuple)):
            setattr(config, name, [place[i] for i in value if i in place] or None)
