"""What `evokd plan` says of memory, beside the peak of real steps on this machine.

    python bench/plan_check.py
    python bench/plan_check.py --only live --json plan.json

Each row is a process of its own that trains a fresh Llama for some steps on sequences of one length
through `DistillationTrainer`, after a toy training, so that libraries are loaded. Measured is the
most that the process held beyond what it held before the models were made; predicted are the parts
of `evokd.plan.memory`, without the one for the process itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import measuring
import torch

from evokd.plan.activations import Tokens
from evokd.plan.memory import Training, training_memory
from evokd.plan.placement import Formats, Placement
from evokd.plan.shapes import Shape
from evokd.recipe.models import FreshModel

MIB = 2**20
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Has glibc hand freed tensors back at once. By itself it keeps those below 32 MiB on its heap."""


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    hidden: int = 512
    layers: int = 8
    vocabulary: int = 8192
    kv_heads: int = 8
    tied: bool = True
    teacher: tuple[int, int] | None = None
    """Width and layers."""
    signal: str = "live"
    rows: int = 16
    length: int = 128
    responses: int = 64
    """Of a sequence's tokens."""
    accumulation: int = 1
    checkpointing: bool = False
    family: str = "llama"

    @property
    def student(self) -> Shape:
        return self._shape(self.hidden, self.layers)

    def _shape(self, width: int, layers: int) -> Shape:
        inner, heads = FreshModel(hidden_size=width).inner_width, max(8, width // 128)
        rest = (self.kv_heads, width // heads, self.vocabulary, self.tied)
        return Shape(self.family, layers, width, inner, heads, *rest)

    def training(self) -> Training:
        """As the plan sees it."""
        device = "gpu" if torch.cuda.is_available() else "cpu"
        return Training(
            student=self.student,
            formats=Formats(teacher=4.0 if device == "cpu" else 2.0, half=device == "gpu"),
            placement=Placement(),
            tokens=Tokens(self.rows, self.length),
            responses=self.rows * self.responses,
            accumulates=self.accumulation > 1,
            checkpointing=self.checkpointing,
            teacher=None if self.teacher is None else self._shape(*self.teacher),
            signal=self.signal,
            device=device,
        )


BASE = Case()
CASES = {
    "sft": BASE,
    "checkpointing": replace(BASE, checkpointing=True),
    "accumulation": replace(BASE, accumulation=2),
    "accumulation, checkpointing": replace(BASE, accumulation=2, checkpointing=True),
    "live": replace(BASE, teacher=(768, 8)),
    "live, checkpointing": replace(BASE, teacher=(768, 8), checkpointing=True),
    "hidden": replace(BASE, teacher=(768, 8), signal="hidden"),
    "topk": replace(BASE, teacher=(768, 8), signal="topk"),
    "long": replace(BASE, rows=4, length=512, responses=256),
    "large vocabulary": replace(BASE, vocabulary=64000, tied=False, layers=4),
    "large vocabulary, tied": replace(BASE, vocabulary=64000, layers=2, rows=2),
    "wide": replace(BASE, hidden=1024, layers=6, rows=8),
    "shared keys": replace(BASE, kv_heads=2),
    "qwen3": replace(BASE, family="qwen3"),
    "gemma2": replace(BASE, family="gemma2"),
}
REAL = replace(
    BASE, hidden=2048, layers=22, vocabulary=32_000, tied=False, rows=16, length=256, responses=128
)
GPU_CASES = {
    "1.1B": REAL,
    "1.1B, checkpointing": replace(REAL, checkpointing=True),
    "7B to 1.1B, live": replace(REAL, teacher=(4096, 32)),
    "7B to 1.1B, live, checkpointing": replace(REAL, teacher=(4096, 32), checkpointing=True),
    "7B to 1.1B, hidden": replace(REAL, teacher=(4096, 32), signal="hidden"),
}
"""Of sizes that a GPU is for."""
EVERY = CASES | GPU_CASES


def config_of(shape: Shape, **more: Any) -> Any:
    """transformers' config of a shape."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        shape.family,
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
        pad_token_id=0,
        **more,
    )


def model_of(shape: Shape, dtype: torch.dtype = torch.float32) -> Any:
    """A model of this shape with random weights, drawn where it will be: on a CPU billions take
    minutes, and a copy in another format would be held beside it."""
    from transformers import AutoModelForCausalLM

    config = config_of(shape, max_position_embeddings=2048)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def examples(case: Case, count: int) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, case.vocabulary, (count, case.length), generator=generator).tolist()
    given = case.length - case.responses
    rows = [{"input_ids": one, "labels": [-100] * given + one[given:]} for one in ids]
    for number in range(0, count, case.rows):  # so that there is padding
        rows[number] = {key: part[2:] for key, part in rows[number].items()}
    return rows


def train(case: Case, folder: Path, steps: int = 2) -> None:
    """Some optimizer steps."""
    from transformers import TrainingArguments

    from evokd import DistillationTrainer
    from evokd.distil.teacher.precompute import cache_spec, write_cache
    from evokd.distil.teacher.signal import CachedTeacher

    plan, data = case.training(), examples(case, case.rows * case.accumulation * steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = torch.bfloat16 if device == "cuda" else torch.float32
    teacher: Any = None
    if plan.teacher is not None:
        teacher = model_of(plan.teacher, half).eval()
        if case.signal != "live":
            spec = cache_spec(teacher, "topk" if case.signal == "topk" else "hidden")
            write_cache(folder / "cache", teacher, [data], spec, log=lambda text: None)
            teacher = CachedTeacher(folder / "cache")
    switch = "activation_checkpointing"  # since transformers 5.23
    if switch not in {field.name for field in fields(TrainingArguments)}:
        switch = "gradient_checkpointing"
    arguments = TrainingArguments(
        str(folder / "out"),
        max_steps=steps,
        per_device_train_batch_size=case.rows,
        gradient_accumulation_steps=case.accumulation,
        **{switch: case.checkpointing},
        bf16=device == "cuda",
        use_cpu=device == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1000,
    )
    DistillationTrainer(
        model=model_of(plan.student),
        teacher=teacher,
        objective="sft" if teacher is None else "self_evolution",
        args=arguments,
        train_dataset=data,
    ).train()


def measure(case: Case) -> dict[str, Any]:
    """The peak of a case, in a process of its own."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        toy = replace(case, hidden=64, layers=1, vocabulary=512, rows=2, length=16, responses=8)
        toy = replace(toy, teacher=None if case.teacher is None else (64, 1))
        train(toy, Path(folder) / "toy", steps=1)
        with measuring.PeakMemory(device) as memory:
            train(case, Path(folder) / "case")
    return {"mib": memory.mib, "held_mib": memory.held_mib}


def compare(names: list[str], usual_heap: bool = False) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        arguments = [__file__, "--alone", json.dumps(asdict(EVERY[name]))]
        said = measuring.run_alone(arguments, environment={} if usual_heap else GIVES_BACK)
        parts = training_memory(EVERY[name].training())
        predicted = (parts.total - parts.runtime) / MIB
        row = {"case": name, "predicted": round(predicted), "status": said["status"]}
        measured = said.get("mib")
        if measured:
            row |= {"measured": round(measured), "held": round(said["held_mib"])}
            row |= {"off": f"{predicted / measured - 1:+.1%}"}
        rows.append(row | {name: round(gib * 1024) for name, gib in parts.in_gib().items()})
        print(rows[-1], flush=True)
    return rows


def read_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(EVERY))
    parser.add_argument(
        "--usual-heap", action="store_true", help="let the C library keep what is freed, as it does"
    )
    parser.add_argument("--json", help="write the rows there, too")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    args = read_arguments()
    if args.alone:
        case = json.loads(args.alone)
        case["teacher"] = None if case["teacher"] is None else tuple(case["teacher"])
        measuring.give_way()
        measuring.report(measure(Case(**case)))
        return
    rows = compare(args.only, args.usual_heap)
    print(measuring.describe(measuring.machine()))
    columns = ("case", "predicted", "measured", "off", "weights", "optimizer", "gradients")
    columns += ("teacher", "activations", "head", "loss")
    print(measuring.table(columns, [[row.get(name) for name in columns] for row in rows]))
    if args.json:
        measuring.write_json(args.json, {"machine": measuring.machine(), "rows": rows})


if __name__ == "__main__":
    main()
