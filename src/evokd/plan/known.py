"""Shapes of models that many know, so that they are planned without a network."""

from __future__ import annotations

import re

from evokd.plan.shapes import Shape

_LLAMA2 = ("llama", 32, 4096, 11008, 32, 32, 128, 32000, False)
_LLAMA2_13B = ("llama", 40, 5120, 13824, 40, 40, 128, 32000, False)
_TOWER = (*_LLAMA2[:7], 32007, False)
_TOWER_13B = (*_LLAMA2_13B[:7], 32007, False)
_LLAMA3 = ("llama", 32, 4096, 14336, 32, 8, 128, 128256, False)
_LLAMA3_70B = ("llama", 80, 8192, 28672, 64, 8, 128, 128256, False)
_ROWS: dict[str, tuple[str, int, int, int, int, int, int, int, bool]] = {
    # family, layers, hidden, intermediate, heads, kv heads, head_dim, vocabulary, tied
    "llama-7b": _LLAMA2,
    "llama-13b": _LLAMA2_13B,
    "llama-30b": ("llama", 60, 6656, 17920, 52, 52, 128, 32000, False),
    "llama-65b": ("llama", 80, 8192, 22016, 64, 64, 128, 32000, False),
    "llama-2-7b": _LLAMA2,
    "llama-2-13b": _LLAMA2_13B,
    "llama-2-70b": ("llama", 80, 8192, 28672, 64, 8, 128, 32000, False),
    "alma-7b": _LLAMA2,
    "alma-13b": _LLAMA2_13B,
    "towerbase-7b": _LLAMA2,
    "towerbase-13b": _LLAMA2_13B,
    "towerinstruct-7b": _TOWER,
    "towerinstruct-13b": _TOWER_13B,
    "llama-3-8b": _LLAMA3,
    "llama-3-70b": _LLAMA3_70B,
    "llama-3.1-8b": _LLAMA3,
    "llama-3.1-70b": _LLAMA3_70B,
    "llama-3.1-405b": ("llama", 126, 16384, 53248, 128, 8, 128, 128256, False),
    "llama-3.2-1b": ("llama", 16, 2048, 8192, 32, 8, 64, 128256, True),
    "llama-3.2-3b": ("llama", 28, 3072, 8192, 24, 8, 128, 128256, True),
    "llama-3.3-70b": _LLAMA3_70B,
    "tinyllama-1.1b": ("llama", 22, 2048, 5632, 32, 4, 64, 32000, False),
    "smollm2-135m": ("llama", 30, 576, 1536, 9, 3, 64, 49152, True),
    "smollm2-360m": ("llama", 32, 960, 2560, 15, 5, 64, 49152, True),
    "smollm2-1.7b": ("llama", 24, 2048, 8192, 32, 32, 64, 49152, True),
    "mistral-7b": ("mistral", 32, 4096, 14336, 32, 8, 128, 32000, False),
    "mistral-7b-v0.3": ("mistral", 32, 4096, 14336, 32, 8, 128, 32768, False),
    "mistral-7b-instruct-v0.3": ("mistral", 32, 4096, 14336, 32, 8, 128, 32768, False),
    "mistral-nemo": ("mistral", 40, 5120, 14336, 32, 8, 128, 131072, False),
    "qwen2.5-0.5b": ("qwen2", 24, 896, 4864, 14, 2, 64, 151936, True),
    "qwen2.5-1.5b": ("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, True),
    "qwen2.5-3b": ("qwen2", 36, 2048, 11008, 16, 2, 128, 151936, True),
    "qwen2.5-7b": ("qwen2", 28, 3584, 18944, 28, 4, 128, 152064, False),
    "qwen2.5-14b": ("qwen2", 48, 5120, 13824, 40, 8, 128, 152064, False),
    "qwen2.5-32b": ("qwen2", 64, 5120, 27648, 40, 8, 128, 152064, False),
    "qwen2.5-72b": ("qwen2", 80, 8192, 29568, 64, 8, 128, 152064, False),
    "qwen3-0.6b": ("qwen3", 28, 1024, 3072, 16, 8, 128, 151936, True),
    "qwen3-1.7b": ("qwen3", 28, 2048, 6144, 16, 8, 128, 151936, True),
    "qwen3-4b": ("qwen3", 36, 2560, 9728, 32, 8, 128, 151936, True),
    "qwen3-8b": ("qwen3", 36, 4096, 12288, 32, 8, 128, 151936, False),
    "qwen3-14b": ("qwen3", 40, 5120, 17408, 40, 8, 128, 151936, False),
    "qwen3-32b": ("qwen3", 64, 5120, 25600, 64, 8, 128, 151936, False),
    "gemma-2-2b": ("gemma2", 26, 2304, 9216, 8, 4, 256, 256000, True),
    "gemma-2-9b": ("gemma2", 42, 3584, 14336, 16, 8, 256, 256000, True),
    "gemma-2-27b": ("gemma2", 46, 4608, 36864, 32, 16, 128, 256000, True),
    "gemma-3-270m": ("gemma3_text", 18, 640, 2048, 4, 1, 256, 262144, True),
    "gemma-3-1b": ("gemma3_text", 26, 1152, 6912, 4, 1, 256, 262144, True),
    "gemma-3-4b": ("gemma3_text", 34, 2560, 10240, 8, 4, 256, 262208, True),  # text part
    "gemma-3-12b": ("gemma3_text", 48, 3840, 15360, 16, 8, 256, 262208, True),  # text part
    "gemma-3-27b": ("gemma3_text", 62, 5376, 21504, 32, 16, 128, 262208, True),  # text part
}
KNOWN = {name: Shape(*row) for name, row in _ROWS.items()}
"""By a plain name: no owner, no word for how it was tuned."""
_TUNED = re.compile(
    r"-(hf|chat|instruct|it|base|pretrain|pt|r|ift|sft|distil|v\d\.\d|\d{4}|[a-z]+only|lora)$"
)
_MADE_BY = re.compile(r"^(meta|nous|unsloth)-")


def known_shape(model: str) -> Shape | None:
    """The shape of a hub id, if it is one of those: `meta-llama/Llama-2-7b-chat-hf`."""
    name = _MADE_BY.sub("", model.rpartition("/")[2].lower())
    while name not in KNOWN:
        shorter = _TUNED.sub("", name)
        if shorter == name:
            return None
        name = shorter
    return KNOWN[name]
