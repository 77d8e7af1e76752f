"""The translators of a study, loaded for what is done with them: decoding, training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evokd import processes
from evokd.recipe.models import LoraSettings
from evokd.recipe.training import TrainingSettings
from evokd.study.context import Study
from evokd.study.places import System
from evokd.study.spreading import IN_PARTS, sharding


def decoder(study: Study, system: System) -> Any:
    """A system as it is used to translate; it stays until another is asked for, or a training
    begins."""
    if system.system == "teacher":
        return study.teacher
    if study.decoder is None or study.decoder[0] != system.fingerprint:
        study.decoder = None
        translator = load_for_training(study, system, study.recipe.student.dtype)
        study.decoder = system.fingerprint, translator
    return study.decoder[1]


def load_for_training(
    study: Study,
    system: System,
    dtype: str = "float32",
    lora: LoraSettings | None = None,
    device: Any = None,
) -> Any:
    """A stage's model, whole, and quantized where adapters are to be trained on it so.

    Args:
        device: another one than the study's.
    """
    from evokd.models.loading import load_translator, pick_dtype

    number_format, _ = pick_dtype(dtype, study.device)
    place = study.device if device is None else device
    bits = "none" if lora is None else lora.quantize
    return load_translator(system.folder / "model", place, number_format, study.prompt, bits)


def spread(study: Study, training: TrainingSettings, load: Callable[[Any], Any]) -> Any:
    """A translator as a training gets it: whole in each process, or a part of it in each.

    Args:
        load: the whole one, on a device; asked in the first process only where it is spread.
    """
    study.decoder = None
    if processes.by_first(lambda: sharding(study.recipe, training)) not in IN_PARTS:
        return load(study.device)
    import torch

    from evokd.distil.train.run import in_bfloat16
    from evokd.models.loading import Translator
    from evokd.models.sharding import load_sharded

    whole: Any = None

    def read() -> Any:
        nonlocal whole
        whole = load(torch.device("cpu"))
        return whole.tokenizer

    tokenizer = processes.by_first(read)
    compute = torch.bfloat16 if in_bfloat16(training, study.device) else None
    model = load_sharded(lambda: whole.model, study.device, compute)
    return Translator(model, tokenizer, study.prompt)
