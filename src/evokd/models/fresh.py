"""Models and tokenizers made on the spot: a small Llama, a byte-level BPE."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evokd.errors import InputError
from evokd.models.encoding import end_token_id, pad_id_of
from evokd.recipe.models import FreshModel

PAD, BEGIN, END = "<pad>", "<s>", "</s>"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, tags: Sequence[str]
) -> PreTrainedTokenizerFast:
    """A byte-level BPE: every text comes back from its ids exactly as it went in.

    Ids begin with padding, `<s>`, `</s>`, the tags and the 256 bytes. Tags (`<de>`) are special
    tokens; a text gets `<s>` in front and nothing behind.
    """
    specials = [PAD, BEGIN, END, *dict.fromkeys(tags)]
    # The trainer sets room aside for all that is asked for; each merge joins bytes of the text, of
    # which a few are read ahead to see whether there are that many.
    texts, first, most = iter(texts), [], len(specials) + 256
    for text in texts:
        first.append(text)
        most += len(text.encode())
        if most >= vocab_size:
            break
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, most),
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(chain(first, texts), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, specials.index(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def fresh_model(settings: FreshModel, tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """A Llama in float32 with random weights that depend on the seed alone.

    Raises:
        InputError: it is larger than all memory of this machine.
    """
    _check_size(settings, len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return LlamaForCausalLM(fresh_config(settings, tokenizer))


def _check_size(settings: FreshModel, vocabulary: int) -> None:
    """Before it is made: something absurd would take the machine down, or be made for ever."""
    width, inner = settings.hidden_size, settings.inner_width
    layer = width * (2 * width + 3 * inner)
    gib = 4 * (vocabulary * width + settings.layers * layer) / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if gib > memory:
        raise InputError(
            f"a fresh model of hidden_size {width}, intermediate_size {inner} and {settings.layers}"
            f" layers takes {gib:,.0f} GiB, and this machine has {memory:,.0f}; make it smaller"
        )


def fresh_config(settings: FreshModel, tokenizer: Any) -> LlamaConfig:
    """The shape of a fresh model."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.inner_width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads or settings.heads,
        max_position_embeddings=settings.max_positions,
        tie_word_embeddings=settings.tie_embeddings,
        pad_token_id=pad_id_of(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_token_id(tokenizer),
    )
