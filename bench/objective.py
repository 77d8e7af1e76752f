"""Speed and memory of the token loss: from hidden states to loss, grad hidden and grad head.

    python bench/objective.py --shapes small S L --dtype float32 bfloat16 --json FILE

Every variant runs in a process of its own, one at a time, where it alternates with the floor: the
four matrix products that nobody can do without (teacher logits, student logits, grad hidden, grad
head), with torch.mm on full shapes into tensors that exist already. "× floor" is the median of the
ratios of neighbours (10th–90th percentile beside it). On a CPU the floor of bfloat16 is the faster
of bfloat16 and float32 products, for there are CPUs whose bfloat16 products are the slower ones.

"peak" is what one call holds beyond its inputs at the worst moment, loss and gradients included;
"kept" is what a first call left behind (buffers for reuse, but also compilers and code).

"error" is the largest of grad hidden's and grad head's ‖g − g64‖ / ‖g64‖, g64 by autograd in
float64 from the same inputs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measuring
import torch
from peers import VARIANTS, Loss, Variant, naive
from torch import Tensor

from evokd.distil.objectives import (
    LOSSES,
    RANKS_TOKENS,
    difficulty,
    token_loss,
)


@dataclass(frozen=True)
class Shape:
    tokens: int
    vocabulary: int
    student_width: int
    teacher_width: int

    @property
    def operations(self) -> int:
        """Of the four matrix products; a multiplication and an addition are two."""
        return 2 * self.tokens * self.vocabulary * (3 * self.student_width + self.teacher_width)

    @property
    def logits(self) -> tuple[int, int]:
        return self.tokens, self.vocabulary


SHAPES = {
    "small": Shape(512, 4096, 128, 256),  # recipes/multi30k.yaml
    "S": Shape(2048, 32000, 512, 1024),
    "L": Shape(1024, 151936, 896, 1536),
    "gpu-S": Shape(8192, 32000, 2048, 4096),
    "gpu-L": Shape(8192, 151936, 1536, 3584),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Problem:
    student_hidden: Tensor
    student_head: Tensor
    teacher_hidden: Tensor
    teacher_head: Tensor
    labels: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (
            self.student_hidden,
            self.student_head,
            self.teacher_hidden,
            self.teacher_head,
            self.labels,
        )


def make_problem(shape: Shape, dtype: torch.dtype, device: str, seed: int = 0) -> Problem:
    """Hidden states and heads whose logits look trained, about half the tokens hard at Γ = 0.4.

    Random logits alone would make every token hard. So each hidden state leans towards the head's
    row of its label, by as much as gives the label the log-odds drawn for it: a teacher that is
    sure most of the time, and a student whose odds are spread so that the difficulties lie around
    Γ. What was reached is in the results as hard_share.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(shape.vocabulary, (shape.tokens,), generator=generator)
    sides = []
    for width, mean, deviation in [
        (shape.student_width, 0.6, 2.0),
        (shape.teacher_width, 2.0, 1.0),
    ]:
        log_odds = mean + deviation * torch.randn(shape.tokens, generator=generator)
        hidden, head = _leaning(labels, shape.vocabulary, width, log_odds, generator)
        sides += [hidden.to(device, dtype), head.to(device, dtype)]
    sides[0].requires_grad_()
    sides[1].requires_grad_()
    return Problem(*sides, labels.to(device))


def _leaning(
    labels: Tensor, vocabulary: int, width: int, log_odds: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Hidden states (N, width) and head (V, width) that give labels about these log-odds."""
    head = torch.randn(vocabulary, width, generator=generator) / math.sqrt(width)
    own = head[labels]
    own = own / own.square().sum(dim=1, keepdim=True)  # times the label's row: 1
    logit = torch.full_like(log_odds, math.log(vocabulary))
    for _ in range(3):  # leaning stirs the others' logits as well, and with them the normalizer
        logit = math.log(vocabulary) + (1 + logit.square() / width) / 2 + log_odds
        logit = logit.clamp(max=width)
    noise = torch.randn(len(labels), width, generator=generator)
    return noise + logit[:, None] * own, head


def gradients(loss: Loss, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, grad hidden, grad head: what every variant is asked for."""
    value = loss(*problem.inputs)
    return value.detach(), *torch.autograd.grad(
        value, (problem.student_hidden, problem.student_head)
    )


def floor_of(problem: Problem, dtype: torch.dtype) -> Callable[[], None]:
    """The four matrix products, into tensors that exist already."""
    student, head, teacher, teacher_head = (x.detach().to(dtype) for x in problem.inputs[:4])
    logits = student.new_zeros(len(student), len(head))
    teacher_logits = torch.zeros_like(logits)
    grad_hidden, grad_head = torch.zeros_like(student), torch.zeros_like(head)

    def products() -> None:
        torch.mm(teacher, teacher_head.t(), out=teacher_logits)
        torch.mm(student, head.t(), out=logits)
        torch.mm(logits, head, out=grad_hidden)
        torch.mm(logits.t(), student, out=grad_head)

    return products


def fastest_floor(problem: Problem) -> tuple[str, Callable[[], None]]:
    """The dtype that it multiplies in, and the floor."""
    own = problem.student_head.dtype
    dtypes = {own, torch.float32} if problem.labels.device.type == "cpu" else {own}
    floors = {str(dtype).removeprefix("torch."): floor_of(problem, dtype) for dtype in dtypes}
    if len(floors) == 1:
        return floors.popitem()
    seconds = measuring.alternate(floors, 1)
    name = min(floors, key=lambda name: seconds[name])
    return name, floors[name]


def reference(
    shape: Shape, dtype: torch.dtype, device: str, objective: str, file: str | None
) -> dict[str, Any]:
    """Share of hard tokens, and gradients by autograd in float64, a few rows at a time."""
    problem = make_problem(shape, dtype, device)
    wide = [x.detach().double() for x in problem.inputs[:4]] if file else None
    whole = shape.tokens if objective in RANKS_TOKENS else 128
    hard, grad_hidden, grad_head = 0.0, [], None
    for start in range(0, shape.tokens, whole):
        rows = slice(start, start + whole)
        labels = problem.labels[rows]
        with torch.no_grad():
            student = problem.student_hidden[rows].float() @ problem.student_head.float().t()
            teacher = problem.teacher_hidden[rows].float() @ problem.teacher_head.float().t()
            hard += (difficulty(student, teacher, labels) > 0.4).sum().item()
        if wide is None:
            continue
        hidden, head = wide[0][rows].requires_grad_(), wide[1].requires_grad_()
        loss = token_loss(objective, hidden @ head.t(), wide[2][rows] @ wide[3].t(), labels)
        of_hidden, of_head = torch.autograd.grad(loss.sum() / shape.tokens, (hidden, head))
        grad_hidden.append(of_hidden)
        grad_head = of_head if grad_head is None else grad_head.add_(of_head)
    if file:
        torch.save((torch.cat(grad_hidden).cpu(), grad_head.cpu()), file)
    return {"hard_share": hard / shape.tokens}


def measure(
    variant: Variant,
    shape: Shape,
    dtype: torch.dtype,
    device: str,
    objective: str,
    repeats: int,
    reference_file: str | None,
) -> dict[str, Any]:
    """Peak memory, error and paired times of one variant, in this process."""
    loss = variant.build(objective)
    gradients(naive(objective), make_problem(Shape(8, 16, 8, 8), dtype, device))  # loads libraries
    problem = make_problem(shape, dtype, device)
    before = measuring.held_mib(device)
    start = time.perf_counter()
    gradients(loss, problem)
    measuring.synchronize()
    first = time.perf_counter() - start
    with measuring.PeakMemory(device) as memory:
        results = gradients(loss, problem)
    kept = None if before is None or memory.held_mib is None else memory.held_mib - before
    error = _error(results[1:], reference_file) if reference_file else None
    value = results[0].item()
    del results
    floor_dtype, products = fastest_floor(problem)
    calls = {"floor": products, "variant": lambda: gradients(loss, problem)}
    seconds = measuring.alternate(calls, repeats)
    floor = measuring.spread(seconds["floor"])
    return {
        "loss": value,
        "ratio": measuring.ratios(seconds["variant"], seconds["floor"]),
        "seconds": measuring.spread(seconds["variant"]),
        "floor_dtype": floor_dtype,
        "floor_seconds": floor,
        "floor_gflops": shape.operations / floor.median / 1e9,
        "first_call_s": first,
        "peak_mib": memory.mib,
        "kept_mib": kept,
        "gradient_error": error,
    }


def _error(found: tuple[Tensor, ...], file: str) -> float:
    return max(
        ((mine.cpu().double() - true).norm() / true.norm()).item()
        for mine, true in zip(found, torch.load(file), strict=True)
    )


def compare(
    name: str, dtype: str, options: argparse.Namespace, reference_folder: str
) -> dict[str, Any]:
    """All variants at one shape and dtype, each alone."""
    shape = shape_named(name)
    common = {
        "shape": asdict(shape),
        "dtype": dtype,
        "device": options.device,
        "objective": options.objective,
        "repeats": options.repeats,
    }
    file = str(Path(reference_folder) / f"{name}-{dtype}.pt") if name in options.errors else None
    said = _alone({**common, "reference": file}, options)
    width = torch.finfo(DTYPES[dtype]).bits // 8
    outputs = (shape.tokens + shape.vocabulary) * shape.student_width * width / measuring.MIB
    found: dict[str, Any] = {
        **common,
        "name": name,
        "outputs_mib": outputs,
        "hard_share": said.get("hard_share"),
        "variants": {},
    }
    if said["status"] != "ok":
        print(f"no reference gradients at {name}: {said['status']}", file=sys.stderr)
        file = None
    for variant_name in options.variants:
        variant = VARIANTS[variant_name]
        if variant.package and measuring.version(variant.package) is None:
            result: dict[str, Any] = {"status": measuring.NOT_INSTALLED}
        else:
            compared = file if variant.computes == "ours" else None
            job = {**common, "reference": compared, "variant": variant_name}
            result = _alone(job, options, variant.environment)
        print(f"{name} {dtype} {variant_name}: {result['status']}", file=sys.stderr)
        found["variants"][variant_name] = {"computes": variant.computes, **result}
    return found


def _alone(
    job: dict[str, Any], options: argparse.Namespace, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    return measuring.run_alone(
        [__file__, "--job", json.dumps(job)], seconds=options.time_limit, environment=environment
    )


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own does: the reference, or a variant."""
    shape, dtype = Shape(**job["shape"]), DTYPES[job["dtype"]]
    if "variant" not in job:
        return reference(shape, dtype, job["device"], job["objective"], job["reference"])
    return measure(
        VARIANTS[job["variant"]],
        shape,
        dtype,
        job["device"],
        job["objective"],
        job["repeats"],
        job["reference"],
    )


def show(found: dict[str, Any], peak_tflops: float | None) -> str:
    """One shape's table."""
    shape = Shape(**found["shape"])
    done = {name: v for name, v in found["variants"].items() if v["status"] == "ok"}
    rows = [
        [
            *(name, v["computes"], v["ratio"], f"{v['seconds'].median:.4g}"),
            *(_rounded(v["peak_mib"]), _rounded(v["kept_mib"])),
            None if v["gradient_error"] is None else f"{v['gradient_error']:.1e}",
        ]
        for name, v in done.items()
    ]
    headers = ["variant", "loss", "× floor", "s", "peak MiB", "kept MiB", "error"]
    if peak_tflops:
        headers.insert(3, "× floor at peak rate")
        at_peak = shape.operations / peak_tflops / 1e12
        for row, v in zip(rows, done.values(), strict=True):
            row.insert(3, f"{v['seconds'].median / at_peak:.2f}")
    floor = measuring.spread([v["floor_gflops"] for v in done.values()]) if done else "?"
    floor_dtypes = "/".join(sorted({v["floor_dtype"] for v in done.values()}))
    share = "?" if found["hard_share"] is None else f"{found['hard_share']:.0%}"
    lines = [
        f"{found['name']}, {found['dtype']}, {found['device']}, {found['objective']}: "
        f"{shape.tokens} tokens, vocabulary {shape.vocabulary}, "
        f"widths {shape.student_width} and {shape.teacher_width}; {share} of the tokens hard; "
        f"outputs {found['outputs_mib']:.0f} MiB; {floor_dtypes} floor {floor} GFLOP/s",
        "",
        measuring.table(headers, rows),
    ]
    missing = [(n, v["status"]) for n, v in found["variants"].items() if v["status"] != "ok"]
    return "\n".join(lines + [f"- {name}: {status}" for name, status in missing])


def _rounded(mib: float | None) -> str | None:
    return None if mib is None else f"{mib:.0f}"


def shape_named(name: str) -> Shape:
    if name in SHAPES:
        return SHAPES[name]
    try:
        return Shape(*(int(part) for part in name.split("x")))
    except (TypeError, ValueError):
        raise SystemExit(
            f"unknown shape {name!r}; known: {', '.join(SHAPES)}, or TOKENSxVOCABULARYxSTUDENT"
            "xTEACHER such as 512x4096x128x256"
        ) from None


def options_from(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["small", "S", "L"], metavar="SHAPE")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--objective", choices=LOSSES, default="self_evolution")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of floor and variant")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--errors",
        nargs="*",
        default=["small", "S"],
        metavar="SHAPE",
        help="shapes at which gradients are compared with float64",
    )
    parser.add_argument("--peak-tflops", type=float, help="what the device promises, of this dtype")
    parser.add_argument("--time-limit", type=float, default=1800, help="seconds for one variant")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = options_from(arguments)
    if options.job:
        measuring.give_way()
        measuring.report(work(json.loads(options.job)))
        return
    found = measuring.machine()
    print(measuring.describe(found))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.shapes:
            for dtype in options.dtype:
                results.append(compare(name, dtype, options, folder))
                print(f"\n{show(results[-1], options.peak_tflops)}", flush=True)
    if options.json:
        content = {"benchmark": "objective", "machine": found, "results": results}
        measuring.write_json(options.json, content)


if __name__ == "__main__":
    main()
