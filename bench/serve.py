"""Speed of what is shipped: a run's teacher and student, and the student's exports.

    python bench/serve.py RUN --json FILE
    python bench/serve.py RUN --system seq_kd --cores 1 2 --beams 1 5 --limit 300

"plain" is the loop everybody writes: transformers' generate on batches of 8, in the order of the
file; "ours" is evokd's decoder; then the exports, translated by the tools of their formats. All of
one beam take turns in one process that may use so many cores and no more (its affinity is set);
"÷ teacher" is the median of the ratios of neighbours to the teacher's plain greedy loop, with the
10th and 90th percentile. Latencies are of lines translated one at a time. BLEU is of the lines that
were translated, p of a paired bootstrap against the float student ("ours") with the same beam.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measuring
import torch
from decode import Task, plain_loop, whole

from evokd.errors import InputError
from evokd.evaluate.significance import paired_bootstrap
from evokd.export.exported import export, load_export
from evokd.export.parity import TestText, texts_of_run
from evokd.models.loading import Translator, load_translator
from evokd.models.saving import trained_directions
from evokd.recipe.exports import check_format
from evokd.recipe.judging import DecodingSettings
from evokd.report.results import Results
from evokd.translate.decoding import translate
from evokd.translate.engines.engine import generate_by

EXPORTS = (
    *(("ctranslate2", "none"), ("ctranslate2", "int8")),
    *(("gguf", "q8_0"), ("onnx", "none"), ("onnx", "int8")),
)
"""Of those that are installed here; gguf where llama.cpp's binding is."""
CPU = torch.device("cpu")
TEACHER = "teacher, plain"
Way = Callable[[list[str]], list[str]]
"""Lines to lines."""


def main() -> None:
    arguments = read_arguments()
    if arguments.alone:
        measuring.report({"rows": measure(arguments)})
        return
    machine = measuring.machine()
    print(measuring.describe(machine))
    found: dict[str, Any] = {}
    for cores in arguments.cores:
        given = [str(Path(__file__)), *map(str, arguments.given), "--alone", str(cores)]
        threads = {"OMP_NUM_THREADS": str(cores)}
        result = measuring.run_alone(given, environment=threads)
        if result["status"] != "ok":
            raise SystemExit(f"{cores} cores: {result['status']}")
        found[str(cores)] = result["rows"]
        print(f"\n{cores} {'core' if cores == 1 else 'cores'}\n")
        print(table(result["rows"]))
    if arguments.json:
        content = {"benchmark": "serve", "machine": machine, "system": arguments.system}
        measuring.write_json(arguments.json, content | {"cores": found})


def read_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--system", help="the student; default: the one that the page is about")
    parser.add_argument("-l", "--direction", help="default: the first of the run")
    parser.add_argument("--limit", type=int, default=300, help="lines, evenly spread")
    parser.add_argument("--single", type=int, default=50, help="of them one at a time")
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    results = Results.read(arguments.run)
    arguments.system = arguments.system or results.focus or results.plain_student
    label = f"{arguments.system}.seed{results.seeds[0]}"
    arguments.student = arguments.run / f"students/{label}/model"
    arguments.direction = arguments.direction or results.directions[0]
    arguments.given = [arguments.run, "--system", arguments.system, "-l", arguments.direction]
    arguments.given += ["--limit", arguments.limit, "--single", arguments.single]
    arguments.given += ["--beams", *arguments.beams, "--repeats", arguments.repeats]
    return arguments


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a way and beam, with so many cores."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.alone]))
    torch.set_num_threads(arguments.alone)
    assert trained_directions(arguments.student), f"{arguments.student} isn't there"
    text = texts_of_run(arguments.student, [arguments.direction])[0].sample(arguments.limit)
    teacher = load_translator(arguments.run / "teacher/model", CPU, torch.float32)
    student = load_translator(arguments.student, CPU, torch.float32)
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as held:
        exported = _exported(arguments.student, held)
        base = partial(_plain, teacher, text.direction)
        plain = {TEACHER: base, "student, plain": partial(_plain, student, text.direction)}
        own = {"teacher, ours": (teacher, None), "student, ours": (student, None)}
        for beam in arguments.beams:
            settings = DecodingSettings(beam=beam)
            ways: dict[str, Way] = plain if beam == 1 else {}
            for name, (translator, engine) in (own | exported).items():
                if beam > 1 and "gguf" in name:  # llama.cpp is asked greedily
                    continue
                ways[name] = partial(_ours, translator, engine, text.direction, settings)
            rows += _measured(ways, base, text, beam, arguments)
    return rows


def _exported(folder: Path, held: contextlib.ExitStack) -> dict[str, Any]:
    """The student in each format that can be written and served here, at work."""
    place, found = Path(held.enter_context(tempfile.TemporaryDirectory())), {}
    for to, quantize in EXPORTS:
        if (to == "gguf" and not find_spec("llama_cpp")) or not _can_write(to, quantize):
            continue
        translator = load_translator(folder, CPU, torch.float32)  # quantizing spoils its weights
        export(translator, place / f"{to}-{quantize}", to, quantize, trained_directions(folder))
        one = load_export(place / f"{to}-{quantize}", CPU)
        engine = held.enter_context(one.at_work())
        name = f"student, {to} {'float32' if quantize == 'none' else quantize}"
        found[name] = (one.translator, engine)
    return found


def _can_write(to: str, quantize: str) -> bool:
    try:
        check_format(to, quantize)
    except InputError:
        return False
    return True


def _plain(translator: Translator, direction: str, lines: list[str]) -> list[str]:
    source, target = direction.split("-")
    return plain_loop(translator, Task(lines, (source, target), DecodingSettings()))


def _ours(
    translator: Translator,
    engine: Any,
    direction: str,
    settings: DecodingSettings,
    lines: list[str],
) -> list[str]:
    given = (lines, *direction.split("-"), settings)
    return translate(translator, *given, generate=generate_by(engine, settings)).lines


def _measured(
    ways: dict[str, Way], base: Way, text: TestText, beam: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of ways with one beam; `base` is what speed is compared with."""
    lines = {name: way(text.sources) for name, way in ways.items()}  # these warm up, too
    calls = {name: partial(way, text.sources) for name, way in ({TEACHER: base} | ways).items()}
    seconds = measuring.alternate(calls, arguments.repeats, warm_up=0)
    words = sum(len(line.split()) for line in text.sources)
    single = text.sample(arguments.single).sources
    systems = [lines["student, ours"], *lines.values()]
    tested = paired_bootstrap(systems, [text.references], text.direction.split("-")[1], ["bleu"])
    rows = []
    for (name, way), (bleu,) in zip(ways.items(), tested, strict=True):
        alone = [_seconds(way, line) for line in single]
        rows.append(
            {
                "way": name,
                "beam": beam,
                "words_per_s": measuring.spread([words / each for each in seconds[name]]),
                "speedup": measuring.ratios(seconds[TEACHER], seconds[name]),
                "ms_p50": 1000 * statistics.median(alone),
                "ms_p95": 1000 * statistics.quantiles(alone, n=20)[-1],
                "bleu": bleu["score"],
                "delta": bleu["delta"],
                "p": bleu["p_value"],
            }
        )
    return rows


def _seconds(way: Way, line: str) -> float:
    start = time.perf_counter()
    way([line])
    return time.perf_counter() - start


def table(rows: Sequence[dict[str, Any]]) -> str:
    headers = ["way", "beam", "words/s", "÷ teacher", "a line, ms: 50 %", "95 %", "BLEU", "Δ", "p"]
    cells = [
        [
            row["way"],
            row["beam"],
            whole(row["words_per_s"]),
            row["speedup"],
            *(f"{row[key]:.1f}" for key in ("ms_p50", "ms_p95")),
            *(f"{row[key]:.2f}" for key in ("bleu", "delta", "p")),
        ]
        for row in rows
    ]
    return measuring.table(headers, cells)


if __name__ == "__main__":
    main()
