"""FOLDER/model.onnx, its weights in model.onnx.data: what ONNX Runtime reads.

One graph, made by transformers' own exporter: from tokens, their mask and positions, and the keys
and values of what came before, to the logits of the last token and the keys and values of all.
Inputs and outputs have the names that Optimum gives them. Here transformers' generate drives it, so
beams and the ends of answers are what they are for any other model.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from evokd.errors import InputError
from evokd.models.loading import Translator
from evokd.progress import say

FILE = "model.onnx"
CARD = """\
```python
import numpy as np
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = onnxruntime.InferenceSession("FOLDER/model.onnx")
kinds = {{"tensor(float)": np.float32, "tensor(float16)": np.float16}}
past = {{
    one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), kinds[one.type])
    for one in model.get_inputs()[3:]
}}
for ids in {prompts}:
    new, held, answer = ids, past, []
    while len(answer) < 100 and not {{*answer}} & {{*{ends}}}:
        width = len(ids) + len(answer)
        given = {{
            "input_ids": np.array([new]),
            "attention_mask": np.ones((1, width), int),
            "position_ids": np.arange(width - len(new), width)[None],
        }}
        logits, *present = model.run(None, given | held)
        new, held = [int(logits[0, -1].argmax())], dict(zip(past, present))
        answer += new
    print(tokenizer.decode(answer, skip_special_tokens=True))
```
"""


class Onnx(PreTrainedModel, GenerationMixin):
    """A graph in a session of ONNX Runtime, called as a model is."""

    device = torch.device("cpu")
    main_input_name = "input_ids"

    def __init__(self, config: Any, session: Any, dtype: torch.dtype):
        config._attn_implementation = "eager"  # whatever it was; attention is in the graph
        super().__init__(config)
        self.session = session
        self.past: dict[str, Any] = {one.name: one.shape for one in session.get_inputs()[3:]}
        self.number_format = dtype

    @property
    def dtype(self) -> torch.dtype:
        return self.number_format

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        past_key_values: DynamicCache,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """The logits of the last column, (rows, 1, V), and the cache with all columns."""
        rows, columns = input_ids.shape
        before = past_key_values.get_seq_length()
        mask = torch.ones(rows, before + columns) if attention_mask is None else attention_mask
        layers: list[Any] = list(past_key_values.layers) if before else []
        states = [each for layer in layers for each in (layer.keys, layer.values)] or [
            torch.empty(rows, heads, 0, size, dtype=self.dtype)
            for _, heads, _, size in self.past.values()
        ]
        given = {
            "input_ids": input_ids,
            "attention_mask": mask.long(),
            "position_ids": position_ids,
        }
        given |= dict(zip(self.past, states, strict=True))
        made = self.session.run(None, {name: each.numpy() for name, each in given.items()})
        logits, *present = map(torch.from_numpy, made)
        # All columns in each layer, also where the model looks at a window: the graph masks it.
        cache = DynamicCache(list(zip(present[::2], present[1::2], strict=True)))
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)


def write(translator: Translator, folder: Path, quantization: str) -> str:
    """Write it, and say with what.

    Raises:
        InputError: a model in bfloat16, or of a kind that can't be traced.
    """
    import onnxscript
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from transformers.exporters import OnnxConfig, OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
    from transformers.exporters.exporter_onnx import OnnxExporter

    model: Any = translator.model
    if quantization == "float16":
        model.half()
    if model.dtype == torch.bfloat16:
        raise InputError(
            "--to onnx: found a model in bfloat16, which ONNX Runtime doesn't compute in; leave "
            "--dtype bfloat16 out"
        )
    quantizer = None
    if quantization == "int8":
        quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig(per_channel=True))
        # One matrix as table and head would be made dense again at each token.
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    inputs, shapes = _example(model)
    settings = OnnxConfig(dynamic_shapes=shapes, quantizer=quantizer)
    try:
        with _quiet():
            program = OnnxExporter().export(model, inputs, settings).program
    except Exception as error:  # it raises many kinds; all mean: not this model
        raise InputError(
            f"--to onnx: transformers' exporter can't take a model of the kind "
            f"{model.config.model_type}: {' '.join(str(error).split())[:500]}"
        ) from error
    ClearMetadataAndDocStringPass()(program)  # else each node says where it stood on this machine
    _name(program.graph.inputs[3:], "past_key_values")
    _name(program.graph.outputs[1:], "present")
    OnnxExporter.save_program(program, folder / FILE)
    return f"onnxscript {onnxscript.__version__}"


def opened(folder: Path, device: torch.device) -> tuple[Any, None]:
    """It, for transformers' generate."""
    import onnxruntime

    if device.type != "cpu":
        say(f"ONNX Runtime translates on the CPU here, not on {device}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        folder / FILE, options, providers=["CPUExecutionProvider"]
    )
    half = session.get_inputs()[3].type == "tensor(float16)"
    config: Any = AutoConfig.from_pretrained(folder)
    return Onnx(config, session, torch.float16 if half else torch.float32).eval(), None


def _example(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a graph is traced with, and which of its dimensions vary."""
    cache = DynamicCache()  # without the model's windows, which cut off columns
    with torch.no_grad():
        model(torch.ones(2, 3, dtype=torch.long), past_key_values=cache)
    mask = torch.ones(2, 5, dtype=torch.long)
    ids, positions = mask[:, 3:], mask.cumsum(-1)[:, 3:] - 1
    tensors = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    varies = torch.export.Dim.AUTO
    shapes: dict[str, Any] = {name: {0: varies, 1: varies} for name in tensors}
    shapes["past_key_values"] = [{0: varies, 2: varies}] * 2 * len(cache.layers)
    return (
        {**tensors, "past_key_values": cache, "use_cache": True, "logits_to_keep": 1},
        {**shapes, "logits_to_keep": None},
    )


def _name(values: Sequence[Any], prefix: str) -> None:
    """Keys and values of each layer by Optimum's names."""
    for place, value in enumerate(values):
        value.name = f"{prefix}.{place // 2}.{('key', 'value')[place % 2]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Its exporter tells how it gets on, on stdout, by warnings and in a log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
