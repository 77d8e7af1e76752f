"""Lines in, lines out: one translation for each line, in the order they came.

Greedy in float32 gives the same lines for every batch size. In half precision the batch shifts
roundings and, now and then, a word; so batch size and tokens, dtype and device stand beside the
result.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from evokd.data.prompts import answer_line
from evokd.errors import InputError
from evokd.models.batching import Groups, Progress, Request, longest_first, max_positions
from evokd.models.encoding import encode_prompts, token_ids
from evokd.models.loading import Translator
from evokd.models.quantized import format_of
from evokd.processes import in_order
from evokd.progress import say
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.objectives import IGNORED
from evokd.translate.generation import plain_settings, search
from evokd.translate.stopping import Ends

DEFAULTS = DecodingSettings()
Generate = Callable[[Any, Sequence[Request], Ends], Groups]
"""What answers requests: of a model, its requests and where an answer ends."""


@dataclass(frozen=True)
class Translations:
    """Translated lines and how they came about.

    Attributes:
        lines: one line for each input line, in its order.
        cut_off: whether a line hit its cap of tokens before it ended by itself.
        stopped_by: how many lines ended by "eos", by "newline" and by "cap"; empty lines are none
            of these.
        output_tokens: tokens generated, end tokens included, padding not.
        source_words: words of the input, split at spaces.
        seconds: wall time, tokenization included.
        shortened: inputs that were cut because they exceed the model's positions.
    """

    lines: list[str]
    cut_off: list[bool]
    stopped_by: dict[str, int]
    output_tokens: int
    source_words: int
    seconds: float
    batch_size: int
    batch_tokens: int
    beam: int
    dtype: str
    device: str
    shortened: int = 0

    @property
    def words_per_s(self) -> float:
        """Source words translated in a second."""
        return self.source_words / self.seconds if self.seconds else 0.0

    def facts(self) -> dict[str, Any]:
        """All but the lines, for the JSON file beside them; `cut_off` as line numbers from 1."""
        facts = asdict(self) | {
            "seconds": round(self.seconds, 3),
            "words_per_s": round(self.words_per_s, 2),
            "cut_off": [number for number, cut in enumerate(self.cut_off, start=1) if cut],
        }
        del facts["lines"]
        return facts


@dataclass(frozen=True)
class Job(Request):
    """A line for the model."""

    line: int
    shortened: bool
    """Whether it is translated in part."""


@dataclass(frozen=True)
class Answer:
    """What the model made of a line.

    Attributes:
        ids: its tokens, the one that ended it among them.
        text: exactly one line, perhaps empty.
        stopped_by: "eos", "newline" or "cap".
    """

    job: Job
    ids: list[int]
    text: str
    stopped_by: str

    @property
    def sequence(self) -> dict[str, list[int]]:
        """Prompt and answer as {"input_ids", "labels"}."""
        prompt_ids = list(self.job.prompt_ids)
        labels = [IGNORED] * len(prompt_ids) + self.ids
        return {"input_ids": prompt_ids + self.ids, "labels": labels}


def translate(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings = DEFAULTS,
    progress: Progress | None = None,
    generate: Generate | None = None,
) -> Translations:
    """Translate lines of one direction, longest first, as many at once as the settings allow.

    A line ends at an end token or at the first newline after some text; it is cut at
    extra_tokens + tokens_per_source_token × (tokens of its source). A blank line stays blank and
    never reaches the model.

    Args:
        generate: another way to the tokens than greedy or beam search.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
    """
    start = time.perf_counter()
    answers = list(
        answer_lines(translator, lines, source_code, target_code, settings, progress, generate)
    )
    stops = Counter(answer.stopped_by for answer in answers)
    translated, cut_off = [""] * len(lines), [False] * len(lines)
    for answer in answers:
        text = answer.text
        assert len((text + "x").splitlines()) == 1, f"more than one line: {text!r}"
        translated[answer.job.line] = text
        cut_off[answer.job.line] = answer.stopped_by == "cap"
    return Translations(
        lines=translated,
        cut_off=cut_off,
        stopped_by={reason: stops[reason] for reason in ("eos", "newline", "cap")},
        output_tokens=sum(len(answer.ids) for answer in answers),
        source_words=sum(len(line.split()) for line in lines),
        seconds=time.perf_counter() - start,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        beam=settings.beam,
        dtype=format_of(translator.model),
        device=str(translator.model.device),
        shortened=sum(answer.job.shortened for answer in answers),
    )


def joined(parts: Sequence[Translations], seconds: float) -> Translations:
    """Lines that were shared out (`processes.shared`), put together; seconds: of all."""
    reasons = parts[0].stopped_by
    return replace(
        parts[0],
        lines=in_order([part.lines for part in parts]),
        cut_off=in_order([part.cut_off for part in parts]),
        stopped_by={one: sum(part.stopped_by[one] for part in parts) for one in reasons},
        output_tokens=sum(part.output_tokens for part in parts),
        source_words=sum(part.source_words for part in parts),
        seconds=seconds,
        shortened=sum(part.shortened for part in parts),
    )


def answer_lines(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings,
    progress: Progress | None = None,
    generate: Generate | None = None,
) -> Iterator[Answer]:
    """What a model answers to the lines that aren't blank, in the order in which `generate` gives
    it; the model is in `plain_settings` until the last. Raises what `translate` raises."""
    model, tokenizer = translator.model, translator.tokenizer
    jobs = _jobs_of(translator, lines, source_code, target_code, settings)
    ends = Ends.of(translator)
    generate = generate or partial(search, settings=settings)
    done = len(lines) - len(jobs)
    report = progress or (lambda done, total: None)
    report(done, len(lines))
    with plain_settings(model):
        for group in generate(model, jobs, ends):
            for place, ids in group:
                job = jobs[place]
                stopped_by, tokens = ends.end_of(ids, job.cap)
                text = answer_line(text_of(tokenizer, ids[: tokens - (stopped_by == "eos")]))
                yield Answer(job, ids[:tokens], text, stopped_by)
            done += len({place for place, _ in group})
            report(done, len(lines))


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ids, special tokens left out and spaces left alone.

    Many tokenizers come with a clean-up for English that turns "Salut !" into "Salut!".
    """
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _jobs_of(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings,
) -> list[Job]:
    """The lines that aren't blank, longest prompt first."""
    tokenizer, prompt = translator.tokenizer, translator.prompt
    places = [i for i, line in enumerate(lines) if line.strip()]
    sources = [lines[i].strip() for i in places]
    prompts = encode_prompts(tokenizer, prompt, sources, source_code, target_code)
    limit = max_positions(translator.model)
    jobs = []
    tokens = token_ids(tokenizer, sources, literal=True)
    for place, words, ids in zip(places, tokens, prompts, strict=True):
        cap = settings.extra_tokens + math.ceil(settings.tokens_per_source_token * len(words))
        room = limit - min(cap, limit // 2)
        shortened = len(ids) > room
        while len(ids) > room and words:
            words = words[: len(words) - max(1, len(ids) - room)]
            shorter = text_of(tokenizer, words)
            ids = encode_prompts(tokenizer, prompt, [shorter], source_code, target_code)[0]
        if len(ids) >= limit:
            raise InputError(
                f"the prompt alone has {len(ids)} tokens, the model {limit} positions; "
                "take a shorter prompt, e.g. prompt: compact"
            )
        jobs.append(Job(ids, min(cap, limit - len(ids)), place, shortened))
    cut = sum(job.shortened for job in jobs)
    if cut:
        say(
            f"warning: {cut} of {len(lines)} lines are longer than the model's {limit} positions "
            "and are translated in part"
        )
    return [jobs[i] for i in longest_first([len(job.prompt_ids) for job in jobs])]
