"""Speed of a teacher with its student as a draft, beside the teacher alone, greedy.

    python bench/speculative.py TEACHER STUDENT [STUDENT …] --source test.en -l en-de --json FILE

A model is a folder that evokd wrote. "batches" is the teacher alone as `evokd translate` runs it,
"alone" is the teacher alone, one line at a time, as drafts have it. All take turns in one process
(A B A B …); ratios are medians of the ratios of neighbours (10th–90th
percentile). "identical" counts the lines that are those of the teacher in batches.

Without a model, teacher and drafts have random weights; one draft is a copy of the teacher, whose
every token is accepted.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import decode
import measuring

from evokd.models.loading import Translator, describe, load_translator, pick_device, pick_dtype
from evokd.translate.acceptance import acceptance, greedy_answers
from evokd.translate.decoding import translate
from evokd.translate.speculative import translate_with_draft


def main() -> None:
    arguments = read_arguments()
    device, _ = pick_device(arguments.device)
    dtype, _ = pick_dtype(arguments.dtype, device)
    task = decode.make_task(arguments)
    if arguments.models:
        teacher, *students = [load_translator(path, device, dtype) for path in arguments.models]
        drafts = dict(zip(map(decode.label, arguments.models[1:]), students, strict=True))
    else:
        teacher, student = decode.fresh_translators(decode.FRESH, device, dtype).values()
        same = Translator(copy.deepcopy(teacher.model), teacher.tokenizer, teacher.prompt)
        drafts = {"a copy of the teacher": same, "fresh student": student}
    machine = measuring.machine()
    print(measuring.describe(machine))
    print(
        f"{len(task.lines)} lines, {task.words} words, {'-'.join(task.direction)}; "
        f"{arguments.dtype} on {device}; {arguments.repeats} rounds\n"
    )
    found = measure(teacher, drafts, task, arguments.draft_tokens, arguments.repeats)
    print(table(found))
    if arguments.json:
        content = {
            "benchmark": "speculative",
            "machine": machine,
            "fresh": not arguments.models,
            "lines": len(task.lines),
            "words": task.words,
            "direction": "-".join(task.direction),
            "dtype": arguments.dtype,
            "device": str(device),
            "repeats": arguments.repeats,
            "settings": task.settings.model_dump(),
            "teacher_parameters": describe(teacher.model)["parameters"],
            "variants": found,
        }
        measuring.write_json(arguments.json, content)


def read_arguments() -> argparse.Namespace:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="teacher, then its drafts")
    parser.add_argument("--source", metavar="FILE", help="lines to translate")
    parser.add_argument("-l", "--direction", default="en-de")
    parser.add_argument("--limit", type=int, default=50, help="take the first so many lines")
    parser.add_argument("--draft-tokens", type=int, nargs="+", default=[5])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def measure(
    teacher: Translator,
    drafts: dict[str, Translator],
    task: decode.Task,
    numbers: Sequence[int],
    repeats: int,
) -> list[dict[str, Any]]:
    """A row for the teacher in batches, one for it alone, and one for each draft and number of
    drafted tokens."""
    single = task.settings.model_copy(update={"batch_size": 1})
    inputs = task.lines, *task.direction
    expected = translate(teacher, *inputs, task.settings).lines
    answers = greedy_answers(teacher, *inputs, task.settings)
    calls: dict[str, Callable[[], object]] = {
        "batches": lambda: translate(teacher, *inputs, task.settings),
        "alone": lambda: translate(teacher, *inputs, single),
    }
    rows = [
        {"variant": name, "identical_lines": same(expected, translate(teacher, *inputs, how).lines)}
        for name, how in (("batches", task.settings), ("alone", single))
    ]
    for name, student in drafts.items():
        for number in numbers:
            variant = f"{name}, {number} drafted"
            made, _ = translate_with_draft(
                teacher, student, *inputs, task.settings, draft_tokens=number
            )
            rows.append(
                {
                    "variant": variant,
                    "parameters": describe(student.model)["parameters"],
                    "identical_lines": same(expected, made.lines),
                    **acceptance(teacher, student, answers, task.settings, number),
                }
            )
            calls[variant] = lambda s=student, n=number: translate_with_draft(
                teacher, s, *inputs, task.settings, draft_tokens=n
            )
    seconds = measuring.alternate(calls, repeats, warm_up=0)
    for row in rows:
        own = seconds[row["variant"]]
        row["words_per_s"] = measuring.spread([task.words / each for each in own])
        row["times_alone"] = measuring.ratios(seconds["alone"], own)
    return rows


def same(expected: Sequence[str], lines: Sequence[str]) -> int:
    return sum(a == b for a, b in zip(expected, lines, strict=True))


def table(found: Sequence[dict[str, Any]]) -> str:
    headers = ["teacher", "words/s", "× alone", "tokens/pass", "accepted", "agreement", "identical"]
    rows = [
        [
            row["variant"],
            decode.whole(row["words_per_s"]),
            row["times_alone"],
            *(
                None if row.get(name) is None else form.format(row[name])
                for name, form in (
                    ("tokens_per_pass", "{:.2f}"),
                    ("acceptance", "{:.1%}"),
                    ("agreement", "{:.1%}"),
                )
            ),
            row["identical_lines"],
        ]
        for row in found
    ]
    return measuring.table(headers, rows)


if __name__ == "__main__":
    main()
