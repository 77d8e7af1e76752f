"""FOLDER/ctranslate2: what ctranslate2.Generator reads."""

from __future__ import annotations

from pathlib import Path

import torch

from evokd.models.loading import Translator
from evokd.translate.engines.ctranslate2_engine import CTranslate2, check_can, convert

FILES = "ctranslate2"
CARD = """\
```python
import ctranslate2
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
generator = ctranslate2.Generator("FOLDER/ctranslate2", intra_threads=1, inter_threads=2)
prompts = {prompts}
tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in prompts]
answers = generator.generate_batch(
    tokens, max_length=100, include_prompt_in_result=False, end_token={ends}
)
for answer in answers:
    print(tokenizer.decode(answer.sequences_ids[0], skip_special_tokens=True))
```
"""


def write(translator: Translator, folder: Path, quantization: str) -> str:
    """Convert it, and say with what; its weights are spoilt where they are quantized."""
    import ctranslate2

    dtype = str(translator.model.dtype).removeprefix("torch.")
    convert(translator, folder / FILES, dtype if quantization == "none" else quantization)
    return f"ctranslate2 {ctranslate2.__version__}"


def opened(folder: Path, device: torch.device) -> tuple[None, CTranslate2]:
    """It, at work in the file's number format.

    Raises:
        InputError: a device that CTranslate2 doesn't know.
    """
    check_can(device)
    return None, CTranslate2(folder / FILES, device, "default")
