"""vLLM, in an environment of its own: it pins torch. Token ids go to its process and come back.

    EVOKD_VLLM_PYTHON   the Python of that environment
    EVOKD_VLLM_OPTIONS  further arguments of vllm.LLM, as JSON: {"tensor_parallel_size": 2}

`vllm_worker.py` is what runs there. The model is saved into a temporary folder, from where vLLM
loads it; on a GPU it takes nine tenths of the memory that is free when it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import torch

from evokd.errors import InputError
from evokd.models.batching import Budget, Request, max_positions
from evokd.models.loading import Translator
from evokd.models.saving import save_translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.engines.engine import Answers

ROWS = 1024
"""Requests that it is asked at once; it batches them itself."""
SHARE = 0.9
"""Of the GPU's free memory."""
PATIENCE = 60
"""Seconds in which its process may end by itself."""
LONGEST = 8192
"""Tokens of prompt and answer that it makes room for, at most."""


class Vllm:
    """vLLM's process at work."""

    name = "vllm"

    def __init__(self, translator: Translator) -> None:
        """Start it.

        Raises:
            InputError: it fails; with the last lines that it printed.
        """
        self.files = TemporaryDirectory(prefix="evokd-vllm-")
        self.said = TemporaryFile(mode="w+")  # noqa: SIM115  (closed by `close`)
        self.process = subprocess.Popen(
            [os.environ["EVOKD_VLLM_PYTHON"], str(Path(__file__).with_name("vllm_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env=_environment(translator.model.device),
            text=True,
            start_new_session=True,  # with processes of its own, which are to end with it
        )
        self.at_work = False
        try:
            model = Path(self.files.name) / "model"
            save_translator(translator.model, translator.tokenizer, translator.prompt, model)
            self.version = str(self._tell(_options(translator, model))["version"])
        except BaseException:
            self.close()
            raise

    def budget(self, settings: DecodingSettings) -> Budget:
        return Budget(ROWS, sys.maxsize)

    def ask(
        self,
        requests: Sequence[Request],
        stops: Sequence[int],
        settings: DecodingSettings,
        best: int,
    ) -> Answers:
        assert settings.beam == best == 1, "vLLM translates greedily"
        told = self._tell(
            {
                "prompts": [list(request.prompt_ids) for request in requests],
                "caps": [request.cap for request in requests],
                "stops": list(stops),
            }
        )
        return [[ids] for ids in told["answers"]]

    def close(self) -> None:
        """End the process, which ends by itself when there is nothing more to read; one that is at
        work is told to."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        if self.at_work:
            self._signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()
        self.said.close()
        self.files.cleanup()

    def _signal(self, number: int) -> None:
        """To the process and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _tell(self, message: dict[str, Any]) -> dict[str, Any]:
        """One line there and one back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.at_work = True
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        told: dict[str, Any] = json.loads(answer or "{}")
        if "error" in told or not told:
            self.said.seek(0)
            last = [line for line in self.said.read().splitlines() if line.strip()][-3:]
            reason = told.get("error") or " / ".join(last) or "it ended without a word"
            raise InputError(
                f"vllm ({os.environ['EVOKD_VLLM_PYTHON']}): {reason[:600]}. docs/engines.md says "
                "how it is set up; or type decoding.engine=evokd"
            )
        self.at_work = False
        return told


def start(translator: Translator, settings: DecodingSettings) -> Vllm:
    """The engine with a translator's weights."""
    return Vllm(translator)


def _options(translator: Translator, model: Path) -> dict[str, Any]:
    """Arguments of vllm.LLM. It needs no tokenizer, and none of the model's own settings for
    generation: all that ends an answer is told with each request."""
    device = translator.model.device
    options: dict[str, Any] = {
        "model": str(model),
        "dtype": str(translator.model.dtype).removeprefix("torch."),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "max_model_len": min(max_positions(translator.model), LONGEST),
        "seed": 0,
    }
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        options["gpu_memory_utilization"] = round(SHARE * free / total, 3)
    more = os.environ.get("EVOKD_VLLM_OPTIONS", "{}")
    try:
        return options | json.loads(more)
    except (ValueError, TypeError):
        raise InputError(
            f"EVOKD_VLLM_OPTIONS: found {more!r}; a mapping in JSON is accepted, such as "
            '{"tensor_parallel_size": 2}'
        ) from None


def _environment(device: torch.device) -> dict[str, str]:
    """That of this process; only the model's GPU is seen, unless options name several."""
    own = dict(os.environ)
    own.pop("PYTHONPATH", None)  # of this environment, which is another one
    own["PYTHONSAFEPATH"] = "1"  # the worker's neighbours are no modules of vLLM's
    if device.type == "cuda" and device.index and "EVOKD_VLLM_OPTIONS" not in own:
        visible = own.get("CUDA_VISIBLE_DEVICES", "")
        each = visible.split(",") if visible else [str(i) for i in range(device.index + 1)]
        own["CUDA_VISIBLE_DEVICES"] = each[device.index]
    return own
