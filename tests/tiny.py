"""Small models and data sets that tests make on the spot."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evokd.models.encoded import encode_corpus
from evokd.models.encoding import encode_prompts

VOCABULARY = 40


def tiny_llama(seed: int = 0, hidden_size: int = 16, vocab_size: int = VOCABULARY, **config):
    """A Llama of a few thousand weights."""
    settings = {
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        **config,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocab_size,
                hidden_size=hidden_size,
                intermediate_size=2 * hidden_size,
                **settings,
            )
        )


def copy_task(count: int, seed: int = 0, longest: int = 6) -> list[dict[str, list[int]]]:
    """Sequences `words 2 words 1`: the second half, end token 1 included, is to be learned."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(count):
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        words = torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
        examples.append(
            {
                "input_ids": [*words, 2, *words, 1],
                "labels": [-100] * (length + 1) + [*words, 1],
            }
        )
    return examples


def encode_pair(tokenizer, prompt, pair) -> dict[str, list[int]]:
    """One pair as a training sequence."""
    return encode_corpus([pair], tokenizer, prompt)[0][0]


def encode_prompt(tokenizer, prompt, source: str, source_code: str, target_code: str) -> list[int]:
    """Ids of everything that stands before the response to one sentence."""
    return encode_prompts(tokenizer, prompt, [source], source_code, target_code)[0]
