"""Speed of translation: greedy, a test set from lines to lines, beside the loop everybody writes.

    python bench/decode.py TEACHER STUDENT --source test.en -l en-de --json FILE
    python bench/decode.py TEACHER STUDENT --source test.en -l en-de --engines ctranslate2

A model is a folder that evokd wrote (run/teacher/model, run/students/NAME/model). "plain" is that
loop: batches of 8 lines in the order of the file, transformers' generate, with our rules for the
end of an answer. "floor" is the matrix products of the tokens that were needed, prompts included,
in batches that are always full: no attention, no Python to speak of. All variants of all models
take turns in one process; ratios are medians of the ratios of neighbours (10th–90th percentile).

With `--engines` each of them, at each beam size, takes turns with our own decoder: "÷ ours" is the
median of the ratios of neighbours. ctranslate2:int8 is that engine with weights in 8 bits. Starting
an engine (conversion, loading) isn't timed with it but stands beside it.

Without a model, two with random weights take the places of teacher and student, and lines are
sentences of the phrasebook. Such models never come to an end by themselves, so each answer is cut
at 2 tokens and 1.2 for each token of its source: about the lengths that a trained model gives.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import measuring
import torch
from torch import nn
from transformers import GenerationConfig, StoppingCriteriaList

from evokd.data.phrasebook import phrasebook
from evokd.data.prompts import answer_line, load_prompt, prompt_tags
from evokd.models.encoding import encode_prompts, pad_id_of
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import (
    Translator,
    describe,
    load_translator,
    pick_device,
    pick_dtype,
)
from evokd.recipe.engines import ENGINES
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.models import FreshModel
from evokd.translate.decoding import text_of, translate
from evokd.translate.engines.engine import generate_by, started
from evokd.translate.stopping import EndOfAnswer, Ends

PLAIN_BATCH = 8
FRESH = ((256, 4), (128, 2))
"""Width and layers of the fresh models."""
SIMULATED = {"extra_tokens": 2, "tokens_per_source_token": 1.2}


@dataclass(frozen=True)
class Task:
    """Lines to translate, and how."""

    lines: list[str]
    direction: tuple[str, str]
    settings: DecodingSettings

    @property
    def words(self) -> int:
        return sum(len(line.split()) for line in self.lines)


def main() -> None:
    arguments = read_arguments()
    device, _ = pick_device(arguments.device)
    dtype, _ = pick_dtype(arguments.dtype, device)
    task = make_task(arguments)
    if arguments.models:
        models = {label(path): load_translator(path, device, dtype) for path in arguments.models}
    else:
        models = fresh_translators(arguments.fresh, device, dtype)
    machine = measuring.machine()
    print(measuring.describe(machine))
    print(
        f"{len(task.lines)} lines, {task.words} words, {'-'.join(task.direction)}; "
        f"{arguments.dtype} on {device}; ours: at most {task.settings.batch_size} lines and "
        f"{task.settings.batch_tokens} tokens at once; {arguments.repeats} rounds\n"
    )
    found = measure(models, task, arguments.repeats)
    print(table(found))
    print("\n" + pace(found))
    by_engines = measure_engines(
        models, task, arguments.engines, arguments.beams, arguments.repeats
    )
    if by_engines:
        print("\n" + engines_table(by_engines))
    if arguments.json:
        content = {
            "benchmark": "decode",
            "machine": machine,
            "simulated_lengths": not arguments.models,
            "lines": len(task.lines),
            "words": task.words,
            "direction": "-".join(task.direction),
            "dtype": arguments.dtype,
            "device": str(device),
            "plain_batch_size": PLAIN_BATCH,
            "repeats": arguments.repeats,
            "settings": task.settings.model_dump(),
            "models": found,
            "engines": by_engines,
        }
        measuring.write_json(arguments.json, content)


def read_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = DecodingSettings()
    parser.add_argument("models", nargs="*", metavar="MODEL", help="folders; the slowest first")
    parser.add_argument("--source", metavar="FILE", help="lines to translate")
    parser.add_argument(
        "--fresh",
        nargs="+",
        type=size,
        default=FRESH,
        metavar="WIDTH,LAYERS",
        help="models with random weights, where none is named",
    )
    parser.add_argument("-l", "--direction", default="en-de")
    parser.add_argument("--limit", type=int, help="take the first so many lines")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--batch-tokens", type=int, default=defaults.batch_tokens)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engines", nargs="*", default=[], metavar="NAME[:int8]")
    parser.add_argument("--beams", nargs="*", type=int, default=[1, 5], help="of engines")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args(argv)


def make_task(arguments: argparse.Namespace) -> Task:
    if arguments.source:
        text = Path(arguments.source).read_text(encoding="utf-8")
        lines = [line for line in text.split("\n") if line.strip()]
    else:
        lines = [sentence["en"] for sentence in phrasebook("test", 400)]
    source, target = arguments.direction.split("-")
    settings = DecodingSettings(
        batch_size=arguments.batch_size,
        batch_tokens=arguments.batch_tokens,
        **({} if arguments.models else SIMULATED),
    )
    return Task(lines[: arguments.limit], (source, target), settings)


def label(path: str) -> str:
    """teacher of run/teacher/model."""
    parts = [part for part in Path(path).parts if part != "model"]
    return parts[-1]


def fresh_translators(
    sizes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype
) -> dict[str, Translator]:
    """Random weights, drawn where they will be, behind a tokenizer of the phrasebook's English and
    German."""
    sentences = phrasebook("train", 5000)
    texts = [sentence[code] for sentence in sentences for code in ("en", "de")]
    tokenizer = train_tokenizer(texts, 4000, prompt_tags(["en", "de"]))
    made = {}
    for width, layers in sizes:
        shape = FreshModel(hidden_size=width, layers=layers, heads=max(4, width // 64))
        with device:
            model = fresh_model(shape, tokenizer, seed=1).to(dtype).eval()
        name = f"fresh, {width} × {layers}"
        made[name] = Translator(model, tokenizer, load_prompt("compact"))
    return made


def size(text: str) -> tuple[int, int]:
    """WIDTH,LAYERS"""
    width, layers = text.split(",")
    return int(width), int(layers)


def measure(models: dict[str, Translator], task: Task, repeats: int) -> list[dict[str, Any]]:
    """One row a model: words per second of each variant, ratios, and how many lines agree."""
    calls: dict[str, Callable[[], object]] = {}
    rows: list[dict[str, Any]] = []
    for name, translator in models.items():  # these calls warm up, too
        ours = translate(translator, task.lines, *task.direction, task.settings)
        plain = plain_loop(translator, task)
        calls[f"{name} plain"] = lambda t=translator: plain_loop(t, task)
        calls[f"{name} ours"] = lambda t=translator: translate(
            t, task.lines, *task.direction, task.settings
        )
        calls[f"{name} floor"] = products(translator, task, ours.output_tokens)
        rows.append(
            {
                "model": name,
                "parameters": describe(translator.model)["parameters"],
                "output_tokens": ours.output_tokens,
                "stopped_by": ours.stopped_by,
                "identical_lines": sum(a == b for a, b in zip(ours.lines, plain, strict=True)),
                "lines": len(task.lines),
            }
        )
    seconds = measuring.alternate(calls, repeats, warm_up=0)
    slowest = f"{rows[0]['model']} ours"
    for row in rows:
        plain_s, ours_s, floor_s = (
            seconds[f"{row['model']} {variant}"] for variant in ("plain", "ours", "floor")
        )
        row["plain_words_per_s"] = measuring.spread([task.words / each for each in plain_s])
        row["words_per_s"] = measuring.spread([task.words / each for each in ours_s])
        row["speedup"] = measuring.ratios(plain_s, ours_s)
        row["times_floor"] = measuring.ratios(ours_s, floor_s)
        row["times_first_model"] = measuring.ratios(seconds[slowest], ours_s)
    return rows


def measure_engines(
    models: dict[str, Translator],
    task: Task,
    engines: Sequence[str],
    beams: Sequence[int],
    repeats: int,
) -> list[dict[str, Any]]:
    """One row a model, engine and beam size that the engine has."""
    rows = []
    for (name, translator), beam, asked in product(models.items(), beams, engines):
        engine_name, _, precision = asked.partition(":")
        if beam > 1 and not ENGINES[engine_name].beams:
            continue
        own = task.settings.model_copy(update={"beam": beam})
        settings = own.model_copy(update={"engine": engine_name, "precision": precision or "auto"})
        start = time.perf_counter()
        with started(translator, settings) as engine:
            assert engine is not None
            started_s = time.perf_counter() - start
            given = (translator, task.lines, *task.direction)
            generate = generate_by(engine, settings)
            calls = {
                "ours": lambda given=given, own=own: translate(*given, own),
                "engine": lambda given=given, own=own, generate=generate: translate(
                    *given, own, generate=generate
                ),
            }
            ours, theirs = (call().lines for call in calls.values())  # these warm up, too
            seconds = measuring.alternate(calls, repeats, warm_up=0)
            version = engine.version
        rows.append(
            {
                "model": name,
                "engine": asked,
                "version": version,
                "beam": beam,
                "start_s": round(started_s, 2),
                "words_per_s": {
                    way: measuring.spread([task.words / each for each in taken])
                    for way, taken in seconds.items()
                },
                "speedup": measuring.ratios(seconds["ours"], seconds["engine"]),
                "identical_lines": sum(a == b for a, b in zip(theirs, ours, strict=True)),
                "lines": len(task.lines),
            }
        )
    return rows


def plain_loop(translator: Translator, task: Task) -> list[str]:
    """Batches of 8 in input order through generate, each as slow as its longest answer."""
    model, tokenizer, settings = translator.model, translator.tokenizer, task.settings
    ends, filler = Ends.of(translator), pad_id_of(tokenizer)
    lines = []
    for at in range(0, len(task.lines), PLAIN_BATCH):
        sources = [line.strip() for line in task.lines[at : at + PLAIN_BATCH]]
        prompts = encode_prompts(tokenizer, translator.prompt, sources, *task.direction)
        sizes = [len(ids) for ids in tokenizer(sources, add_special_tokens=False)["input_ids"]]
        caps = [
            settings.extra_tokens + math.ceil(settings.tokens_per_source_token * size)
            for size in sizes
        ]
        width = max(len(ids) for ids in prompts)
        ids = [[filler] * (width - len(prompt)) + prompt for prompt in prompts]
        seen = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        criterion = EndOfAnswer(ends, width, torch.tensor(caps, device=model.device))
        generate: Any = model.generate
        generated = generate(
            torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(seen, device=model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(caps),
                eos_token_id=list(ends.ids),
                pad_token_id=filler,
            ),
            stopping_criteria=StoppingCriteriaList([criterion]),
        )[:, width:].tolist()
        for answer, cap in zip(generated, caps, strict=True):
            length = next((i for i, token in enumerate(answer) if token in ends.ids), cap)
            lines.append(answer_line(text_of(tokenizer, answer[: min(length, cap)])))
    return lines


def products(translator: Translator, task: Task, output_tokens: int) -> Callable[[], None]:
    """The model's matrix products: its layers for each token that is read, prompts and answers,
    the head for each that is written."""
    model = translator.model
    prompts = encode_prompts(translator.tokenizer, translator.prompt, task.lines, *task.direction)
    # The last token of an answer is never read; the first is written by its prompt.
    read = sum(len(ids) for ids in prompts) + output_tokens - len(prompts)
    rows = min(task.settings.batch_size, len(prompts))
    head = model.get_output_embeddings()
    layers = [part for part in model.modules() if isinstance(part, nn.Linear) and part is not head]
    inputs = {
        size: torch.randn(rows, size, device=model.device, dtype=model.dtype)
        for size in {part.in_features for part in [*layers, head]}
    }

    @torch.inference_mode()
    def run() -> None:
        for _ in range(math.ceil(read / rows)):
            for part in layers:
                nn.functional.linear(inputs[part.in_features], part.weight)
        for _ in range(math.ceil(output_tokens / rows)):
            nn.functional.linear(inputs[head.in_features], head.weight)

    return run


def table(found: Sequence[dict[str, Any]]) -> str:
    headers = ["model", "parameters", "plain words/s", "words/s", "÷ plain", "× floor", "identical"]
    rows = [
        [
            row["model"],
            f"{row['parameters'] / 1e6:.1f}M",
            whole(row["plain_words_per_s"]),
            whole(row["words_per_s"]),
            row["speedup"],
            row["times_floor"],
            f"{row['identical_lines']} of {row['lines']}",
        ]
        for row in found
    ]
    return measuring.table(headers, rows)


def engines_table(found: Sequence[dict[str, Any]]) -> str:
    headers = ["model", "engine", "beam", "ours, words/s", "engine, words/s", "÷ ours"]
    rows = [
        [
            row["model"],
            f"{row['engine']} {row['version']}",
            row["beam"],
            *(whole(row["words_per_s"][way]) for way in ("ours", "engine")),
            row["speedup"],
            f"{row['start_s']:.1f}",
            f"{row['identical_lines']} of {row['lines']}",
        ]
        for row in found
    ]
    return measuring.table([*headers, "start, s", "identical"], rows)


def pace(found: Sequence[dict[str, Any]]) -> str:
    """Words/s of all models on one line."""
    told = [f"{row['model']} {row['words_per_s'].median:.0f}" for row in found]
    told = [
        text if row is found[0] else f"{text} ({row['times_first_model'].median:.1f}×)"
        for text, row in zip(told, found, strict=True)
    ]
    return f"words/s: {', '.join(told)}"


def whole(rate: measuring.Spread) -> str:
    return f"{rate.median:.0f} ({rate.low:.0f}–{rate.high:.0f})"


if __name__ == "__main__":
    main()
