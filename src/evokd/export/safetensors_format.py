"""FOLDER/model.safetensors: what transformers and vLLM read, in another number format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evokd.models.loading import Translator, load_model
from evokd.models.saving import save_with_weights
from evokd.recipe.models import ModelSettings

CARD = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer
import torch

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
for ids in {prompts}:
    answer = model.generate(torch.tensor([ids]), max_new_tokens=100)[0, len(ids) :]
    print(tokenizer.decode(answer, skip_special_tokens=True))
```
"""


def write(translator: Translator, folder: Path, quantization: str) -> str:
    """Write it, and say with what."""
    from importlib.metadata import version

    model: Any = translator.model
    if quantization != "none":
        model.to(dtype=getattr(torch, quantization))
    save_with_weights(model, translator.tokenizer, translator.prompt, folder)
    return f"safetensors {version('safetensors')}"


def opened(folder: Path, device: torch.device) -> tuple[Any, None]:
    """It, in the number format of its files, for evokd's own decoder."""
    dtype: Any = "auto"
    return load_model(ModelSettings(model=str(folder)), device, dtype), None
