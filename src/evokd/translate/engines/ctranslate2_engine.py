"""CTranslate2: compiled decoding on CPUs and NVIDIA GPUs, greedy and by beam search.

A model is converted when the engine is started, from memory, into a temporary folder; it takes as
much of the disk as its weights do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from evokd.errors import InputError
from evokd.models.batching import Budget, Request
from evokd.models.loading import Translator, rebuilt
from evokd.recipe.judging import DecodingSettings
from evokd.rundir.files import read_json, write_json
from evokd.translate.engines.engine import Answers


class CTranslate2:
    """A converted model at work."""

    name = "ctranslate2"

    def __init__(self, folder: Path, device: torch.device, precision: str):
        """Load what `convert` wrote.

        Args:
            precision: a compute type of CTranslate2's; default is that of the file. On a CPU
                batches go side by side, a thread each: several at one product are slower than one
                in integers, and no faster in floats (docs/results.md).
        """
        import ctranslate2

        threads = torch.get_num_threads()
        self.workers = threads if device.type == "cpu" else 1
        self.version = ctranslate2.__version__
        vocabulary = (folder / "vocabulary.json").read_text(encoding="utf-8")
        self.tokens: list[str] = json.loads(vocabulary)
        self.generator = ctranslate2.Generator(
            str(folder),
            device=device.type,
            device_index=device.index or 0,
            compute_type=precision,
            intra_threads=threads // self.workers,
            inter_threads=self.workers,
        )
        self.precision = self.generator.compute_type

    def budget(self, settings: DecodingSettings) -> Budget:
        most = settings.batch_tokens // settings.beam
        return Budget(self.workers * settings.batch_size, self.workers * most)

    def ask(
        self,
        requests: Sequence[Request],
        stops: Sequence[int],
        settings: DecodingSettings,
        best: int,
    ) -> Answers:
        made = self.generator.generate_batch(
            [[self.tokens[token] for token in request.prompt_ids] for request in requests],
            max_length=max(request.cap for request in requests),
            end_token=list(stops),
            return_end_token=True,
            include_prompt_in_result=False,
            beam_size=settings.beam,
            max_batch_size=-(-len(requests) // self.workers),
            num_hypotheses=best,
            length_penalty=settings.length_penalty,
        )
        return [list(one.sequences_ids) for one in made]

    def close(self) -> None:
        self.generator.unload_model()


def start(translator: Translator, settings: DecodingSettings) -> CTranslate2:
    """The engine with a translator's weights, in its own number format or in int8.

    Raises:
        InputError: a model or a device that CTranslate2 doesn't know.
    """
    device = translator.model.device
    dtype = str(translator.model.dtype).removeprefix("torch.")
    precision = f"int8_{dtype}" if settings.precision == "int8" else dtype
    check_can(device, precision)
    with TemporaryDirectory(prefix="evokd-ctranslate2-") as folder:
        converted = Path(folder) / "model"
        # Not to int8 here, which would be done in place; it is when the model is loaded.
        convert(translator, converted, dtype)
        return CTranslate2(converted, device, precision)


def check_can(device: torch.device, precision: str = "default") -> None:
    """Raises InputError: a device, or a number format on it, that CTranslate2 doesn't know."""
    import ctranslate2

    if device.type not in ("cpu", "cuda"):
        raise InputError(f"ctranslate2 works on cpu and cuda, not on {device}; type device=cpu")
    possible = ctranslate2.get_supported_compute_types(device.type, device.index or 0)
    if precision not in (*possible, "default"):
        raise InputError(
            f"ctranslate2 can't compute in {precision} on {device}; it can in "
            f"{', '.join(sorted(possible))}: choose another dtype, or decoding.engine=evokd"
        )


def convert(translator: Translator, folder: Path, dtype: str) -> None:
    """A translator as CTranslate2 reads it, in a new folder. Its converter reads models from
    folders, and takes them apart on the way; it is given another shell around the same weights.

    Args:
        dtype: of the file; int8 and the like spoil the translator's own weights.

    Raises:
        InputError: a model that its converter doesn't know.
    """
    from ctranslate2.converters import TransformersConverter

    model, config = translator.model, folder.with_name("config")

    class FromMemory(TransformersConverter):
        def load_model(self, *_: Any, **__: Any) -> Any:
            weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
            return rebuilt(model, model.config, weights).cpu()

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return translator.tokenizer

    model.config.save_pretrained(config)
    try:
        FromMemory(str(config)).convert(str(folder), quantization=dtype)
        shutil.rmtree(config)
    except Exception as error:  # it raises many kinds; all mean: not this model
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"ctranslate2 can't take a model of the kind {model.config.model_type}: "
            f"{reason[:500]}; docs/engines.md lists those that it was tried with. "
            "Type decoding.engine=evokd"
        ) from error
    # A special token that the tokenizer doesn't have is null there, and that can't be loaded.
    written = read_json(folder / "config.json")
    absent = {key: "" for key in written if key.endswith("_token") and written[key] is None}
    write_json(folder / "config.json", written | absent)
