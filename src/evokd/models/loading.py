"""Models and tokenizers from wherever they are.

A model comes from the hub, a folder or a GGUF file (a fresh one from `fresh.py`). What comes out is
always a plain causal language model with all its weights, to be trained and saved like any other.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from evokd.data.prompts import PROMPTS, Prompt
from evokd.data.textfiles import path_in
from evokd.errors import InputError, require
from evokd.models.encoding import end_token_id
from evokd.models.quantized import ADVICE, keep_layout, quantization
from evokd.recipe.models import ModelSettings

FEWEST_TOKENS = 16
ACCEPTED = "a hub id (org/name), a folder, a .gguf file, gguf:PACKAGE or fresh"


@dataclass(frozen=True)
class Translator:
    """Everything that turns a sentence into a translation."""

    model: PreTrainedModel
    tokenizer: Any
    prompt: Prompt


def pick_device(name: str = "auto") -> tuple[torch.device, str]:
    """The device to work on, and why it is that one.

    Raises:
        InputError: not a device, or not one of this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            without_cudnn_attention()
            return torch.device("cuda"), torch.cuda.get_device_name()
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Apple GPU found"
        return torch.device("cpu"), f"no GPU found; {torch.get_num_threads()} threads"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"device {name!r} is unknown; auto, cpu, cuda, cuda:1 and mps are accepted"
        ) from None
    missing = {
        "cuda": (device.index or 0) >= torch.cuda.device_count(),
        "mps": not torch.backends.mps.is_available(),
    }
    if missing.get(device.type, False):
        raise InputError(
            f"device {name} isn't there ({torch.cuda.device_count()} CUDA devices found); "
            "type device=auto or device=cpu"
        )
    if device.type == "cuda":
        without_cudnn_attention()
    return device, "as asked for"


def without_cudnn_attention() -> None:
    """Leave attention on a GPU to the other kernels of PyTorch, in this process.

    cuDNN's, the first choice since torch 2.11 where there is a mask, is planned anew for every
    shape, and text comes in many (docs/performance.md). Its backward pass gives NaN for 64 tokens
    more than a multiple of 128 (pytorch#196678).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def pick_dtype(name: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The number format of a model that isn't trained, and why it is that one."""
    if name == "auto":
        if device.type == "cpu":
            return torch.float32, "the exact one, on a CPU"
        return torch.bfloat16, "half the memory, on a GPU"
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise InputError(f"dtype {name!r} is unknown; auto, {', '.join(dtypes)} are accepted")
    return dtypes[name], "as asked for"


def load_config(settings: ModelSettings) -> Any:
    """The shape of a model that isn't fresh, without its weights.

    Raises:
        InputError: it isn't there or can't be read.
    """
    return _from_pretrained(AutoConfig, settings.model, settings)


def load_tokenizer(settings: ModelSettings) -> Any:
    """The tokenizer of a model, or the one that its section names.

    Raises:
        InputError: it isn't there or can't be read.
    """
    where = settings.tokenizer or settings.model
    if where == "fresh":
        raise InputError("a fresh model has no tokenizer of its own; train one (train_tokenizer)")
    return _from_pretrained(AutoTokenizer, where, settings)


def load_model(
    settings: ModelSettings, device: torch.device, dtype: torch.dtype, bits: str = "none"
) -> PreTrainedModel:
    """A causal language model with all its weights, in evaluation mode.

    Each tensor of a file goes straight to its device in its number format.

    Args:
        bits: 8bit or 4bit, what linear layers are quantized to (`quantized`).

    Raises:
        InputError: it isn't there, can't be read, isn't a causal language model, lacks weights, or
            can't be quantized here.
    """
    if settings.model == "fresh":
        raise InputError("model: fresh is built by fresh_model, from a tokenizer and a seed")
    is_gguf = settings.model.startswith("gguf:") or settings.model.lower().endswith(".gguf")
    how: dict[str, Any] = {"dtype": dtype, "output_loading_info": True}
    if bits != "none":
        if is_gguf:
            raise InputError(f"quantize: {bits} isn't for weights of a .gguf file; {ADVICE}")
        how["quantization_config"] = quantization(bits, dtype, device)
    if bits != "none" or (device.type != "cpu" and not is_gguf):
        how["device_map"] = {"": device}
    if settings.attention is not None:
        how["attn_implementation"] = settings.attention
    model, report = _from_pretrained(AutoModelForCausalLM, settings.model, settings, **how)
    check_kind(model.config, settings.model)
    _check_whole(settings.model, report)
    if bits != "none":
        keep_layout(model)
    if is_gguf:
        # transformers takes it for quantized, dense or not, and refuses to save or to train it.
        config = copy.deepcopy(model.config)
        vars(config).pop("quantization_config", None)
        model = rebuilt(model, config, model.state_dict())
    return (model if "device_map" in how else model.to(device)).eval()


def rebuilt(
    model: PreTrainedModel,
    config: Any,
    weights: dict[str, Tensor],
    origin: Callable[[str], str] = lambda name: name,
) -> PreTrainedModel:
    """A model of the same class with another config and these weights; nothing is drawn at random.

    Args:
        weights: its whole state dict; taken as it is, not copied.
        origin: the name of a module of the new model → that of the old one, from which tensors come
            that aren't in a state dict (rotary frequencies).

    Raises:
        InputError: these weights aren't those of such a model.
    """
    with torch.device("meta"):
        made = type(model)(config)
    for name, module in made.named_modules():
        for key in list(module._non_persistent_buffers_set):
            buffer = getattr(model.get_submodule(origin(name)), key)
            module.register_buffer(key, buffer.clone(), persistent=False)
    try:
        made.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"{type(model).__name__} can't be cut: its weights don't fit the smaller config "
            f"({' '.join(str(error).split())[:300]}); take model: fresh or another teacher"
        ) from None
    made.tie_weights()
    made.generation_config = copy.deepcopy(model.generation_config)
    return made.eval()


@contextmanager
def generating_by(model: PreTrainedModel, settings: GenerationConfig) -> Iterator[None]:
    """Other generation settings than a model's own, for as long as it lasts."""
    own, model.generation_config = model.generation_config, settings
    try:
        yield
    finally:
        model.generation_config = own


def end_ids(model: PreTrainedModel, tokenizer: Any, prompt: Prompt) -> list[int]:
    """Every token that ends an answer: of the prompt, the tokenizer and the model's settings."""
    own = model.generation_config.eos_token_id if model.generation_config else None
    ids = [end_token_id(tokenizer, prompt), tokenizer.eos_token_id]
    ids += own if isinstance(own, list) else [own]
    return list(dict.fromkeys(int(i) for i in ids if i is not None))


def load_translator(
    folder_or_id: str | Path,
    device: torch.device,
    dtype: torch.dtype,
    prompt: Prompt | None = None,
    bits: str = "none",
) -> Translator:
    """What `saving.save_translator` wrote, or any model together with a prompt.

    Args:
        bits: as `load_model` takes them.

    Raises:
        InputError: it can't be loaded, or nothing says which prompt it was trained with.
    """
    settings = ModelSettings(model=str(folder_or_id))
    folder = Path(folder_or_id)
    if prompt is None and not (folder / "prompt.json").is_file():
        reason = "holds no prompt.json" if folder.is_dir() else "is no folder here"
        raise InputError(
            f"{folder_or_id} {reason}: name a folder that evokd saved, such as "
            "RUN/students/NAME.seed1/model, or say how another model wants to be asked, by "
            f"--prompt {'|'.join(PROMPTS)} or a template file"
        )
    prompt = prompt or Prompt.load(folder)
    return Translator(load_model(settings, device, dtype, bits), load_tokenizer(settings), prompt)


def describe(model: PreTrainedModel) -> dict[str, Any]:
    """Size and shape of a model; shared weights count once."""
    config = model.config.get_text_config()
    parameters = list(model.parameters())
    heads = [model.get_input_embeddings(), model.get_output_embeddings()]
    embeddings = {id(h.weight): h.weight.numel() for h in heads if h is not None}
    total = sum(p.numel() for p in parameters)
    return {
        "model_type": config.model_type,
        "parameters": total,
        "parameters_without_embeddings": total - sum(embeddings.values()),
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "vocabulary": config.vocab_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "mib": round(sum(p.numel() * p.element_size() for p in parameters) / 2**20, 1),
    }


def _from_pretrained(loader: Any, where: str, settings: ModelSettings, **more: Any) -> Any:
    """What one of transformers' loaders makes of a place, or an InputError."""
    what = "tokenizer" if loader is AutoTokenizer else "model"
    revision = settings.revision if where == settings.model else None
    name, place = _locate(where, revision)
    if "gguf_file" in place and loader is AutoModelForCausalLM:
        print(f"loading {place['gguf_file']} (about half a minute) …", file=sys.stderr, flush=True)
        # Dense weights; older versions know no other ones.
        if hasattr(transformers, "GgufConfig"):
            more["quantization_config"] = transformers.GgufConfig(dequantize=True)
    unset_hf_deepspeed_config()  # of an earlier training: it would spread what is to be whole
    try:
        made = loader.from_pretrained(
            name, trust_remote_code=settings.trust_remote_code, **place, **more
        )
        if what == "tokenizer" and len(made) < FEWEST_TOKENS:
            # Some versions make an empty one up if files are absent.
            raise ValueError(f"it has {len(made)} tokens; its files aren't there")
    except Exception as error:  # transformers raises many kinds; all mean: not here, or not this
        raise _not_loaded(what, where, revision, error) from error
    return made


def _locate(where: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """What from_pretrained wants to know: a name, and where inside it."""
    if where.startswith("gguf:"):
        where = str(file_in_package(where.removeprefix("gguf:")))
    path = path_in(Path(), where)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise InputError(f"model file {path} not found; accepted: {ACCEPTED}")
        require("gguf", "gguf", str(path))
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        return str(path), {}
    # A hub id is NAME or ORG/NAME.
    is_path = where.startswith((".", "/", "~")) or where.count("/") > 1 or where.endswith("/")
    if path.is_file() or is_path:
        reason = "is no folder and no .gguf file" if path.exists() else "not found"
        raise InputError(f"model {where} {reason}; accepted: {ACCEPTED}")
    return where, {} if revision is None else {"revision": revision}


def file_in_package(package: str) -> Path:
    """The one .gguf file inside an installed Python package, which isn't imported for it."""
    module = package.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"no installed package {package!r}; type pip install {package}")
    roots = [Path(root) for root in spec.submodule_search_locations]
    files = sorted(file for root in roots for file in root.rglob("*.gguf"))
    if len(files) != 1:
        listing = "".join(f"\n  model: {file}" for file in files)
        raise InputError(
            f"the package {package} holds {len(files)} .gguf files; one is needed"
            + (f". Name one of them:{listing}" if files else "")
        )
    return files[0]


def check_kind(config: Any, where: str) -> None:
    """Raises InputError: a model that isn't a causal language model, by its config."""
    made_for = getattr(config, "architectures", None) or []
    kinds = ("CausalLM", "LMHead", "ForConditionalGeneration")
    if config.is_encoder_decoder or (
        made_for and not any(kind in name for name in made_for for kind in kinds)
    ):
        raise InputError(
            f"{where} is no causal language model ({', '.join(made_for) or config.model_type}); "
            "accepted: decoder-only models such as Llama, Qwen, Gemma or Mistral"
        )


def _check_whole(where: str, report: dict[str, Any]) -> None:
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"{where} lacks {len(missing)} of its weights ({', '.join(missing[:3])}, …); "
            "it was saved as another kind of model or not in full"
        )


def _not_loaded(what: str, where: str, revision: str | None, error: Exception) -> InputError:
    """What was tried, what came back in one line, and what may help."""
    logging.getLogger(__name__).debug("%s %s", what, where, exc_info=error)
    reason = " ".join(str(error).split()) or type(error).__name__
    at = f" at revision {revision}" if revision else ""
    if "trust_remote_code" in reason:
        hint = "it comes with code of its own; read it, then type trust_remote_code: true"
    elif "gated" in reason or "401" in reason or "403" in reason:
        hint = "accept its licence on the hub, then type hf auth login"
    elif Path(where).exists() or where.startswith("gguf:"):
        hint = f"the {what} must be one that transformers can read"
    else:
        hint = (
            f"there is no folder or file {where} here, so it was taken for a hub id: check the "
            "name, the network and HF_HUB_OFFLINE; a model from the cache or a folder works "
            f"offline. Accepted: {ACCEPTED}"
        )
    return InputError(f"{what} {where}{at} can't be loaded: {reason[:400]}\n{hint}")
