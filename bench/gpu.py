"""All that needs a GPU, in parts that fit into a few minutes each; `make gpu` runs them.

    python bench/gpu.py                      as much as fits into nine minutes; again: goes on
    python bench/gpu.py --limit 540 --results runs/gpu
    python bench/gpu.py --again decode       that part anew
    python bench/gpu.py --only tests plan    these kinds of parts alone: tests loss step decode plan
    python bench/gpu.py --device cpu --smaller     the script itself tried, without a GPU

Parts are calls of the other scripts, each in a process of its own: the tests that need a GPU; the
loss against the four matrix products; whole steps with students of 1 to 3 billion weights and
teachers of 7, in bfloat16, beside fine-tuning by transformers.Trainer and TRL's GKDTrainer;
decoding; memory that evokd plan foretells. What a part found stands in the results' folder as
PART.json, what it printed as PART.log, and a part that is there isn't run again. The exit code is
75 while parts are left, 1 where one failed. The end is one table, for docs/performance.md.

It needs no network and no installation: PYTHONPATH=src:extras and the packages that it names where
they are missing. A peer that isn't installed is told as such.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
NEEDED = (
    *("torch", "transformers", "accelerate", "tokenizers", "pydantic", "yaml", "sacrebleu"),
    *("tabulate", "psutil", "ftfy", "py3langid", "jinja2", "matplotlib", "tqdm", "tensorboardX"),
    *("zstandard", "polib", "lxml", "sentencex", "shtab", "pytest"),
)
"""Modules that the scripts and tests import."""
KINDS = ("tests", "loss", "step", "decode", "plan")
"""Of parts; a part's name begins with one."""
UNFINISHED = 75
TRIES = 2
"""So often may a part be stopped by the limit of a call before it counts as failed."""
RESERVE = 20
"""Seconds of a call that are kept for the end."""
Found = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A call of a script, which writes its result as JSON where that is asked for."""

    command: tuple[str, ...]
    seconds: float
    """What it may take; a part isn't begun in a call that has less left."""
    writes_json: bool = True


@dataclass(frozen=True)
class Row:
    """Of the last table."""

    what: str
    measured: Any
    aim: str = ""
    met: bool | None = None


# --- what is run ----------------------------------------------------------------------------------

TOGETHER = (("live", "trl_gkd"), ("evokd_sft", "cached_hidden", "cached_topk"))
APART = (("live",), ("trl_gkd",), ("cached_hidden",), ("cached_topk",))
"""Variants that one call races beside fine-tuning; each has a student, and TRL a teacher, of its
own in memory, 16 bytes a weight."""
STEPS = {
    # vocabulary; width and layers of teacher and student; pairs of a batch
    "7B to 1B, 32k": (32_000, (4096, 32), (2048, 22), 256, TOGETHER),
    "7B to 1.5B, 152k": (151_936, (4096, 32), (2048, 26), 128, APART),
    "7B to 3B, 152k": (151_936, (4096, 32), (2560, 36), 64, APART),
}
SMALL_STEPS = {"tiny": (600, (32, 1), (16, 1), 4, TOGETHER)}


def parts(device: str, smaller: bool) -> dict[str, Part]:
    """By name, in their order: what is quick and tells most comes first."""
    from plan_check import GPU_CASES

    steps = SMALL_STEPS if smaller else STEPS
    more = ("--repeats", "1") if smaller else ("--repeats", "5")
    losses = (
        {"loss, tiny": "32x64x16x24"} if smaller else {"loss, 32k": "gpu-S", "loss, 152k": "gpu-L"}
    )
    tests = ("-m", "pytest", "-p", "no:cacheprovider", "-m", "gpu")
    if find_spec("xdist") is not None and not smaller:
        tests += ("-n", "6")
    chosen = ("-k", "peak or objective and sft") if smaller else ()
    found = {"tests": Part((*tests, str(BENCH.parent / "tests/test_gpu.py"), *chosen), 240, False)}
    for name, shape in losses.items():
        asked = ("--device", device, "--shapes", shape, "--errors", "--variants", "evokd")
        peers = () if smaller else ("naive, compiled", "Liger base, our loss, compiled")
        dtype = "float32" if device == "cpu" else "bfloat16"
        command = ("objective.py", *asked, *peers, "--dtype", dtype, *more)
        found[name] = Part(command, 120)
    races = _steps(steps, device, smaller)
    found |= {name: race for name, race in races.items() if next(iter(steps)) in name}
    fresh = ["32,1"] if smaller else ["4096,32", "2048,22"]
    decode = ["decode.py", "--device", device, "--repeats", "1" if smaller else "3"]
    decode += ["--limit", "6" if smaller else "64"]
    decode += ["--dtype", "float32" if device == "cpu" else "bfloat16", "--fresh", *fresh]
    if find_spec("ctranslate2") is not None:
        decode += ["--engines", "ctranslate2", "--beams", "1", "5"]
    found["decode"] = Part(tuple(decode), 150)
    for case in ("sft",) if smaller else GPU_CASES:
        found[f"plan, {case}"] = Part(("plan_check.py", "--only", case), 100)
    return found | races


def _steps(steps: Mapping[str, Any], device: str, smaller: bool) -> dict[str, Part]:
    found = {}
    for name, (vocabulary, teacher, student, batch, races) in steps.items():
        size = {"vocab": vocabulary, "teacher": teacher, "student": student, "batch": batch}
        size |= {"steps": 2 if smaller else 6}
        size |= {"segments": 1 if smaller else 3, "warm-up": 1 if smaller else 2}
        size |= {"dtype": "float32" if device == "cpu" else "bfloat16", "device": device}
        flags = [part for key, value in size.items() for part in (f"--{key}", _typed(value))]
        for race in races:
            here = [one for one in race if not one.startswith("trl") or find_spec("trl")]
            if here:
                call = ("step.py", *flags, "--only", ",".join(here))
                found[f"step, {name}, {' and '.join(here)}"] = Part(call, 200)
    return found


def _kind(name: str) -> str:
    return name.partition(",")[0]


def _typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


# --- running --------------------------------------------------------------------------------------


def run_parts(
    wanted: Mapping[str, Part],
    folder: Path,
    limit: float,
    device: str,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Run what isn't there, as far as it fits; the names of what is left."""
    end = clock() + limit - RESERVE
    left, began = [], False
    for name, part in wanted.items():
        known = read(folder, name)
        if known and known["status"] != "interrupted":
            continue
        room = end - clock()
        if room < part.seconds and (began or room < RESERVE):
            left.append(name)
            continue
        began = True
        print(f"{name} …", file=sys.stderr, flush=True)
        found = run_part(name, part, folder, min(room, part.seconds), device)
        found["tries"] = (known or {}).get("tries", 0) + 1
        if found["status"] == "interrupted":
            if room >= part.seconds or found["tries"] >= TRIES:
                found["status"] = f"stopped after {found['seconds']:.0f} s"
            else:
                left.append(name)
        path = _path(folder, name)
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: {found['status']} ({found['seconds']:.0f} s)", file=sys.stderr, flush=True)
    return left


def run_part(name: str, part: Part, folder: Path, seconds: float, device: str) -> Found:
    """A part's result and how it ended; with its children it has so many seconds."""
    result, log = _path(folder, name).with_suffix(".found"), _path(folder, name).with_suffix(".log")
    script, *rest = part.command
    command = [sys.executable, *((script,) if script.startswith("-") else (str(BENCH / script),))]
    command += [*rest, *(("--json", str(result)) if part.writes_json else ())]
    own = {"EVOKD_TEST_DEVICE": device, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **own},
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except BaseException as stopped:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(stopped, subprocess.TimeoutExpired):
                raise
            return {"status": "interrupted", "seconds": time.monotonic() - start}
    found: Found = {"status": "ok", "seconds": time.monotonic() - start}
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if part.writes_json and result.exists():
        found["found"] = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
    elif part.writes_json or code:
        found["status"] = f"failed: {lines[-1][:200] if lines else f'exit code {code}'}"
    if not part.writes_json:
        found["said"] = lines[-1] if lines else ""
    return found


def read(folder: Path, name: str) -> Found | None:
    """What a part found, if it was run."""
    path = _path(folder, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(', ', '-').replace(' ', '_')}.json"


# --- the table ------------------------------------------------------------------------------------


def rows_of(wanted: Mapping[str, Part], folder: Path) -> list[Row]:
    """What was found, beside what was aimed at."""
    rows = [] if find_spec("trl") else [Row("TRL's GKDTrainer", "not installed")]
    peaks: dict[str, dict[str, float]] = {}
    for name in wanted:
        part = read(folder, name)
        if part is None or part["status"] != "ok":
            rows.append(Row(name, "not run yet" if part is None else part["status"]))
        elif name == "tests":
            rows.append(Row(name, part["said"] or "passed"))
        elif name.startswith("loss"):
            rows += _loss_rows(name, part["found"])
        elif name.startswith("step"):
            rows += _step_rows(name, part["found"], peaks)
        elif name.startswith("plan"):
            rows += _plan_rows(part["found"])
        else:
            rows += _decode_rows(part["found"])
    return rows + _memory_rows(peaks)


def _loss_rows(name: str, found: Found) -> list[Row]:
    (result,) = found["results"]
    rows = []
    for variant, one in result["variants"].items():
        if one["status"] != "ok":
            rows.append(Row(f"{name}: {variant}, × four GEMMs", one["status"]))
            continue
        ratio, ours = one["ratio"], variant == "evokd"
        measured = f"{shown(ratio)}, {one['peak_mib']:.0f} MiB"
        aim = ("≤ 1.3", ratio["median"] <= 1.3) if ours else ("", None)
        rows.append(Row(f"{name}: {variant}, × four GEMMs", measured, *aim))
    return rows


def _step_rows(name: str, found: Found, peaks: dict[str, dict[str, float]]) -> list[Row]:
    size = ", ".join(name.split(", ")[1:-1])
    own, rows = peaks.setdefault(size, {}), []
    for variant, one in found["variants"].items():
        what = f"step, {size}: {variant}"
        if one["peak_mib"]:
            own[variant] = one["peak_mib"]
        if one["response_tokens_per_s"] is None:
            rows.append(Row(what, one["reason"]))
            continue
        peak = one["peak_mib"]
        peak = "peak not measured" if peak is None else f"{peak / 1024:.1f} GiB"
        said = f"{one['response_tokens_per_s']:.0f} response tokens/s, {peak}"
        if variant == "sft":
            rows.append(Row(what, said))
            continue
        ratio = one["ratio_to_sft"]
        own[f"{variant} time"] = ratio["median"]
        cached = variant.startswith("cached")
        aim = ("≤ 1.05", ratio["median"] <= 1.05) if cached else ("", None)
        rows.append(Row(f"{what}, time ÷ sft", f"{shown(ratio)}, {said}", *aim))
    return rows


def _memory_rows(peaks: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """A live teacher's step beside TRL's, for each size at which both ran."""
    rows = []
    for size, own in peaks.items():
        if {"live time", "trl_gkd time"} <= own.keys():
            times = own["trl_gkd time"] / own["live time"]
            rows.append(Row(f"step, {size}: live, speed ÷ TRL", f"{times:.2f}", "≥ 2", times >= 2))
        if {"live", "trl_gkd"} <= own.keys():
            share = own["live"] / own["trl_gkd"]
            what = f"step, {size}: live, memory ÷ TRL"
            rows.append(Row(what, f"{share:.2f}", "≤ 0.5", share <= 0.5))
    return rows


def _decode_rows(found: Found) -> list[Row]:
    rows = [
        Row(
            f"decode, {one['model']}: speed ÷ generate",
            f"{shown(one['speedup'])}, {one['words_per_s']['median']:.0f} words/s, "
            f"{one['identical_lines']} of {one['lines']} lines the same",
        )
        for one in found["models"]
    ]
    for one in found["engines"]:
        what = f"decode, {one['model']}: {one['engine']} ÷ ours, beam {one['beam']}"
        same = f"{one['identical_lines']} of {one['lines']} lines the same"
        rows.append(Row(what, f"{shown(one['speedup'])}, {same}"))
    return rows


def _plan_rows(found: Found) -> list[Row]:
    """Memory that `evokd.plan` foretells for some steps beside what they took."""
    rows = []
    for one in found["rows"]:
        what = f"planner ÷ measured memory, {one['case']}"
        if not one.get("measured"):
            rows.append(Row(what, one["status"]))
            continue
        share = one["predicted"] / one["measured"]
        met = 0.9 <= share <= 1.1
        rows.append(Row(what, f"{share:.2f} of {one['measured']} MiB", "0.9–1.1", met))
    return rows


def shown(spread: Mapping[str, float]) -> str:
    import measuring

    return str(measuring.Spread(**spread))


def table(rows: Sequence[Row]) -> str:
    import measuring

    verdicts = {True: "met", False: "**missed**", None: ""}
    cells = [[row.what, row.measured, row.aim, verdicts[row.met]] for row in rows]
    return measuring.table(["", "measured", "aim", ""], cells)


# --- the whole ------------------------------------------------------------------------------------


def arguments_of(argv: Sequence[str] | None = None) -> argparse.Namespace:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=float, default=540, help="seconds of this call")
    parser.add_argument("--results", type=Path, default=Path("runs/gpu"), metavar="DIR")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--smaller", action="store_true", help="sizes to try the script with")
    parser.add_argument("--only", nargs="+", default=KINDS, choices=KINDS, help="kinds of parts")
    parser.add_argument("--again", nargs="+", default=[], metavar="PART", help="run these anew")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = arguments_of(argv)
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"not installed here: {', '.join(missing)}; bring them as wheels", file=sys.stderr)
        return 2
    import measuring
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; --device cpu --smaller tries the script", file=sys.stderr)
        return 2
    wanted = parts(arguments.device, arguments.smaller)
    wanted = {name: one for name, one in wanted.items() if _kind(name) in arguments.only}
    arguments.results.mkdir(parents=True, exist_ok=True)
    for name in arguments.again:
        if name not in wanted:
            print(f"unknown part {name!r}; known: {'; '.join(wanted)}", file=sys.stderr)
            return 2
        _path(arguments.results, name).unlink(missing_ok=True)
    left = run_parts(wanted, arguments.results, arguments.limit, arguments.device)
    if left:
        done = len(wanted) - len(left)
        print(f"{done} of {len(wanted)} parts are done; the same command goes on", file=sys.stderr)
        return UNFINISHED
    print(measuring.describe(measuring.machine()) + "\n")
    print(table(rows_of(wanted, arguments.results)))
    statuses = [(read(arguments.results, name) or {}).get("status") for name in wanted]
    return 0 if all(status == "ok" for status in statuses) else 1


if __name__ == "__main__":
    sys.exit(main())
