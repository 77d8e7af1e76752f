"""FOLDER/model.gguf: what llama.cpp and those that build on it read.

Written by the gguf package, by the conventions of llama.cpp's converter: its names of tensors,
query and key rows of Llama in its order of rotary pairs, Gemma's norms with their 1. Answers end at
the model's end token there; a newline, which ends them here, is for its caller to look for.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from evokd.errors import InputError
from evokd.export.gguf_tokenizer import write_tokenizer
from evokd.models.batching import Budget, Request
from evokd.models.loading import Translator
from evokd.recipe.exports import K_QUANTS
from evokd.recipe.judging import DecodingSettings
from evokd.translate.engines.engine import Answers

FILE = "model.gguf"
CARD = """\
```python
from llama_cpp import Llama

model = Llama("FOLDER/model.gguf", n_ctx=0)
for ids in {prompts}:
    answer = model.create_completion(ids, max_tokens=100, temperature=0, stop=["\\n"])
    print(answer["choices"][0]["text"])
```
"""
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
"""transformers' kinds of models, and llama.cpp's names for them."""
LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of the models of 27B, by which llama.cpp knows that their queries have another scale."""
TYPES = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "f32": "F32",
    "f16": "F16",
    "bf16": "BF16",
    "q8_0": "Q8_0",
    "q5_1": "Q5_1",
    "q5_0": "Q5_0",
    "q4_1": "Q4_1",
    "q4_0": "Q4_0",
}


def write(translator: Translator, folder: Path, quantization: str) -> str:
    """Write it, and say with what.

    Raises:
        InputError: a kind of model, tokenizer or rotary scaling that isn't written here.
    """
    import gguf

    model = translator.model
    config: Any = model.config.get_text_config()
    if config.model_type not in ARCHITECTURES:
        raise InputError(
            f"--to gguf: found a model of the kind {config.model_type}; "
            f"{', '.join(ARCHITECTURES)} are written here, others by llama.cpp's own converter"
        )
    name = ARCHITECTURES[config.model_type]
    dtype = str(model.dtype).removeprefix("torch.")
    asked = "f32" if quantization in K_QUANTS else quantization
    kind = gguf.GGMLQuantizationType[TYPES[dtype if asked == "none" else asked]]
    block, plain = gguf.GGML_QUANT_SIZES[kind][0], gguf.GGMLQuantizationType.F32
    writer = gguf.GGUFWriter(folder / FILE, name)
    try:
        _write_shape(writer, config, name)
        write_tokenizer(writer, translator)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_file_type(gguf.LlamaFileType[_file_type(kind.name)])
        for tensor_name, values in _tensors(model, name):
            # Vectors stay as they are, and rows that don't come out even: llama.cpp has it so.
            own = kind if values.ndim > 1 and values.shape[-1] % block == 0 else plain
            writer.add_tensor(tensor_name, gguf.quants.quantize(values, own), raw_dtype=own)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    made = f"gguf {version('gguf')}"
    if quantization not in K_QUANTS:
        return made
    _quantize(folder / FILE, quantization)
    return f"{made}, llama-cpp-python {version('llama-cpp-python')}"


def opened(folder: Path, device: torch.device) -> tuple[Any, LlamaCpp | None]:
    """llama.cpp at work, where it is installed; else its weights for evokd's own decoder."""
    if find_spec("llama_cpp") is None:
        return dense(folder, device), None
    return None, LlamaCpp(folder / FILE, device)


def dense(folder: Path, device: torch.device) -> Any:
    """A model with weights in float32 again."""
    # Not all of a shape stands in the file, or is read from it: Gemma's scale of queries isn't.
    config: Any = AutoConfig.from_pretrained(folder)
    if config.model_type == "mistral":  # a Llama there, as its file says
        config = LlamaConfig.from_dict(config.to_dict() | {"model_type": "llama"})
    read: Any = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=FILE, config=config, dtype=torch.float32
    )
    return read.to(device).eval()


class LlamaCpp:
    """llama.cpp, one request after the other, greedily."""

    name = "llama.cpp"

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.layers_there = path, 0 if device.type == "cpu" else -1
        self.version = f"(llama-cpp-python {version('llama-cpp-python')})"
        self._open(512)

    def _open(self, room: int) -> None:
        import llama_cpp

        self.model = llama_cpp.Llama(
            str(self.path),
            n_ctx=room,
            n_threads=torch.get_num_threads(),
            n_threads_batch=torch.get_num_threads(),
            n_gpu_layers=self.layers_there,
            verbose=False,
        )

    def budget(self, settings: DecodingSettings) -> Budget:
        return Budget(settings.batch_size, settings.batch_tokens)

    def ask(
        self,
        requests: Sequence[Request],
        stops: Sequence[int],
        settings: DecodingSettings,
        best: int,
    ) -> Answers:
        """Raises InputError: a beam."""
        if settings.beam > 1:
            raise InputError(f"found a beam of {settings.beam}; llama.cpp is asked greedily, so 1")
        longest = max(request.size for request in requests)
        if longest > self.model.n_ctx():
            self.close()
            self._open(2 * longest)
        return [[self._answer(request, stops)] for request in requests]

    def _answer(self, request: Request, stops: Sequence[int]) -> list[int]:
        answer: list[int] = []
        for token in self.model.generate(list(request.prompt_ids), temp=0.0):
            answer.append(token)
            if token in stops or len(answer) >= request.cap:
                break
        return answer

    def close(self) -> None:
        self.model.close()


def _quantize(path: Path, quantization: str) -> None:
    """Let llama.cpp do what the gguf package doesn't, in place of a file in float32."""
    import llama_cpp

    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    how = llama_cpp.llama_model_quantize_default_params()
    how.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quantization.upper()}")
    how.nthread = torch.get_num_threads()
    whole = path.rename(path.with_suffix(".whole"))
    failed = llama_cpp.llama_model_quantize(bytes(whole), bytes(path), ctypes.byref(how))
    whole.unlink()
    if failed:
        raise InputError(f"--quantize {quantization}: llama.cpp can't quantize this model")


def _file_type(kind: str) -> str:
    return "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"


def _write_shape(writer: Any, config: Any, name: str) -> None:
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", heads))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_vocab_size(config.vocab_size)
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        if config.model_type not in ("gemma2", "gemma3_text"):
            raise InputError(
                f"--to gguf: found a sliding window in a {config.model_type}, which llama.cpp has "
                "in none of this kind"
            )
        writer.add_sliding_window(window)
        writer.add_sliding_window_pattern(
            [kind == "sliding_attention" for kind in config.layer_types]
        )
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, key, None):
            getattr(writer, f"add_{key}")(getattr(config, key))
    scale = getattr(config, "query_pre_attn_scalar", size)
    if scale != (
        config.hidden_size // heads if config.num_hidden_layers == LARGEST.get(name) else size
    ):
        raise InputError(
            f"--to gguf: found query_pre_attn_scalar {scale}, where llama.cpp takes a head's size"
        )
    _write_rope(writer, config)


def _write_rope(writer: Any, config: Any) -> None:
    import gguf

    rope = dict(config.rope_parameters or {})
    if "sliding_attention" in rope:
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    scaling = rope.get("rope_type", "default")
    more = rope.keys() - {"rope_theta", "rope_type", "factor", "original_max_position_embeddings"}
    if scaling == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif scaling == "yarn" and not more:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif scaling != "default" and (scaling, config.model_type) != ("llama3", "llama"):
        raise InputError(
            f"--to gguf: found rotary scaling of the kind {scaling} in a {config.model_type}; "
            "none, linear, Llama 3's in a Llama, and yarn with its defaults are written here"
        )


def _tensors(model: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Under llama.cpp's names, laid out as it reads them, float32."""
    import gguf

    config = model.config.get_text_config()
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    heads, tied = config.num_attention_heads, config.tie_word_embeddings
    if (config.rope_parameters or {}).get("rope_type") == "llama3":
        rotary = model.get_decoder().rotary_emb
        plain, _ = rotary.compute_default_rope_parameters(config)
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, plain.device)
        yield "rope_freqs.weight", (plain / scaled).numpy()  # what each frequency is divided by
    for ours, weight in model.state_dict().items():
        if ours == "lm_head.weight" and tied:
            continue
        theirs = names.get_name(ours, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise InputError(f"--to gguf: llama.cpp's {name} has no tensor for {ours}")
        values = weight.detach().cpu().float().numpy()
        if name == "llama" and ".q_proj." in ours:
            values = _in_pairs(values, heads)
        elif name == "llama" and ".k_proj." in ours:
            values = _in_pairs(values, config.num_key_value_heads)
        elif name.startswith("gemma") and ours.endswith("norm.weight"):
            values = values + 1
        yield theirs, np.ascontiguousarray(values)


def _in_pairs(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows whose rotary pairs are half a head apart → neighbours."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
