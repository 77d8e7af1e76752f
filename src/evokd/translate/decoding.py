"""Lines in, lines out: one translation for each line, in the order they came.

Greedy in float32 gives the same lines for every batch size. In half precision the batch shifts
roundings and, now and then, a word; so batch size and tokens, dtype and device stand beside the
result.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import GenerationConfig, StoppingCriteriaList

from evokd.data.prompts import answer_line
from evokd.errors import InputError
from evokd.models.encoding import encode_prompts, pad_id_of
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.rundir import write_text
from evokd.translate.continuous_batching import (
    Budget,
    Request,
    decode_continuously,
    supports_continuous_batching,
)
from evokd.translate.stopping import EndOfAnswer, Ends

Progress = bool | Callable[[int, int], None]
Groups = Iterable[list[tuple[int, list[int]]]]
"""Groups of (place of the request, its tokens), as they are done."""
Generate = Callable[[Sequence[Request], Ends, int], Groups]
"""What answers requests, given where an answer ends and the token that padding is made of."""


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
        return {
            "seconds": round(self.seconds, 3),
            "source_words": self.source_words,
            "words_per_s": round(self.words_per_s, 2),
            "output_tokens": self.output_tokens,
            "batch_size": self.batch_size,
            "batch_tokens": self.batch_tokens,
            "beam": self.beam,
            "dtype": self.dtype,
            "device": self.device,
            "shortened": self.shortened,
            "cut_off": [number for number, cut in enumerate(self.cut_off, start=1) if cut],
            "stopped_by": self.stopped_by,
        }


def translate(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings | None = None,
    progress: Progress = False,
    generate: Generate | None = None,
) -> Translations:
    """Translate lines of one direction, longest first, as many at once as the settings allow.

    A line ends at an end token or at the first newline after some text; it is cut at
    extra_tokens + tokens_per_source_token × (tokens of its source). A blank line stays blank and
    never reaches the model.

    Args:
        progress: true draws a bar on stderr; a function is called with lines done and lines in all.
        generate: another way to the tokens than `by_model`.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
    """
    settings = settings or DecodingSettings()
    start = time.perf_counter()
    model = translator.model
    jobs = jobs_of(translator, lines, source_code, target_code, settings)
    ends = Ends.of(translator)
    done: dict[int, Answer] = {}
    blank = len(lines) - len(jobs)
    with plain_settings(model), reported(progress, len(lines)) as report:
        report(blank, len(lines))
        for group in _answers(translator, jobs, ends, settings, generate):
            done |= {job.line: answer for job, answer in group}
            report(blank + len(done), len(lines))
    translated = [done[i].text if i in done else "" for i in range(len(lines))]
    _check_lines(translated, len(lines))
    reasons = Counter(answer.stopped_by for answer in done.values())
    return Translations(
        lines=translated,
        cut_off=[i in done and done[i].stopped_by == "cap" for i in range(len(lines))],
        stopped_by={reason: reasons[reason] for reason in ("eos", "newline", "cap")},
        output_tokens=sum(answer.tokens for answer in done.values()),
        source_words=sum(len(line.split()) for line in lines),
        seconds=time.perf_counter() - start,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        beam=settings.beam,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        shortened=sum(job.shortened for job in jobs),
    )


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ids, special tokens left out and spaces left alone.

    Many tokenizers come with a clean-up for English that turns "Salut !" into "Salut!".
    """
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def write_lines(path: str | Path, lines: Sequence[str]) -> None:
    """Write lines, each of them exactly one line, all of the file or none."""
    _check_lines(lines, len(lines))
    write_text(Path(path), "".join(line + "\n" for line in lines))


@dataclass(frozen=True)
class Job:
    """One line for the model."""

    line: int
    prompt_ids: list[int]
    cap: int
    shortened: bool


@dataclass(frozen=True)
class Answer:
    """What the model made of a job."""

    text: str
    stopped_by: str
    tokens: int


def jobs_of(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings,
) -> list[Job]:
    """The lines that aren't blank, longest prompt first: what doesn't fit fails at once."""
    tokenizer, prompt = translator.tokenizer, translator.prompt
    places = [i for i, line in enumerate(lines) if line.strip()]
    sources = [lines[i].strip() for i in places]
    prompts = encode_prompts(tokenizer, prompt, sources, source_code, target_code)
    limit = getattr(translator.model.config.get_text_config(), "max_position_embeddings", None)
    jobs = []
    for place, source, ids in zip(places, sources, prompts, strict=True):
        words = _source_ids(tokenizer, source)
        cap = _cap(len(words), settings)
        room = limit - min(cap, limit // 2) if limit else math.inf
        shortened = len(ids) > room
        while len(ids) > room and words:
            words = words[: len(words) - max(1, len(ids) - int(room))]
            shorter = text_of(tokenizer, words)
            ids = encode_prompts(tokenizer, prompt, [shorter], source_code, target_code)[0]
        if limit and len(ids) >= limit:
            raise InputError(
                f"the prompt alone has {len(ids)} tokens, the model {limit} positions; "
                "take a shorter prompt, e.g. prompt: compact"
            )
        jobs.append(Job(place, ids, min(cap, limit - len(ids)) if limit else cap, shortened))
    cut = sum(job.shortened for job in jobs)
    if cut:
        tqdm.write(
            f"warning: {cut} of {len(lines)} lines are longer than the model's {limit} positions "
            "and are translated in part",
            file=sys.stderr,
        )
    return sorted(jobs, key=lambda job: (-len(job.prompt_ids), job.line))


def _cap(source_tokens: int, settings: DecodingSettings) -> int:
    return settings.extra_tokens + math.ceil(settings.tokens_per_source_token * source_tokens)


def _answers(
    translator: Translator,
    jobs: Sequence[Job],
    ends: Ends,
    settings: DecodingSettings,
    generate: Generate | None,
) -> Iterator[list[tuple[Job, Answer]]]:
    """What the model makes of the jobs, in groups as they are done."""
    model, tokenizer = translator.model, translator.tokenizer
    pad_id = pad_id_of(tokenizer)
    requests = [Request(job.prompt_ids, job.cap) for job in jobs]
    if generate is not None:
        groups = generate(requests, ends, pad_id)
    else:
        groups = by_model(model, requests, ends, pad_id, settings)
    for group in groups:
        yield [
            (jobs[place], answer_of(tokenizer, ids, jobs[place].cap, ends)) for place, ids in group
        ]


def by_model(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    pad_id: int,
    settings: DecodingSettings,
    best: int = 1,
) -> Groups:
    """Answers of a model in evaluation mode, greedy or by beam search, in groups as they are done.
    Tokens may go on behind the end of an answer and behind its cap.

    Args:
        best: answers to a request, at most the beam; they follow each other, the best first.
    """
    assert best <= settings.beam, f"{best} answers of a beam of {settings.beam}"
    if settings.beam == 1 and supports_continuous_batching(model):
        budget = Budget(settings.batch_size, settings.batch_tokens)
        return decode_continuously(model, requests, ends, pad_id, budget)
    return _generated(model, requests, ends, pad_id, settings, best)


def _generated(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    pad_id: int,
    settings: DecodingSettings,
    best: int,
) -> Groups:
    """The same by transformers' generate."""
    budget = Budget(settings.batch_size, settings.batch_tokens // settings.beam)
    begun = 0
    while begun < len(requests):
        count = budget.more(requests[begun : begun + budget.rows])
        batch = requests[begun : begun + count]
        width = max(len(request.prompt_ids) for request in batch)
        input_ids = torch.full((count, width), pad_id, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for row, request in enumerate(batch):
            start = width - len(request.prompt_ids)
            input_ids[row, start:] = torch.tensor(request.prompt_ids)
            attention_mask[row, start:] = 1
        caps = torch.tensor([request.cap for request in batch], device=model.device)
        generated = model.generate(
            input_ids.to(model.device),
            attention_mask=attention_mask.to(model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                num_beams=settings.beam,
                num_return_sequences=best,
                length_penalty=settings.length_penalty,
                max_new_tokens=int(caps.max()),
                eos_token_id=list(ends.ids),
                pad_token_id=pad_id,
            ),
            stopping_criteria=StoppingCriteriaList([EndOfAnswer(ends, width, caps)]),
        )[:, width:].tolist()
        yield [(begun + row // best, ids) for row, ids in enumerate(generated)]
        begun += count


def answer_of(tokenizer: Any, ids: list[int], cap: int, ends: Ends) -> Answer:
    """A row of the batch, up to where it ended by itself or hit its cap."""
    stopped_by, tokens = end_of(ids, cap, ends)
    text = answer_line(text_of(tokenizer, ids[: tokens - (stopped_by == "eos")]))
    return Answer(text, stopped_by, tokens)


def end_of(ids: Sequence[int], cap: int, ends: Ends) -> tuple[str, int]:
    """What ends an answer, and how many of these tokens it has, its end token among them."""
    has_text = False
    for place, token in enumerate(ids[:cap]):
        if token in ends.ids:
            return "eos", place + 1
        if ends.newline[token] and (has_text or ends.text_first[token]):
            return "newline", place + 1
        has_text = has_text or bool(ends.text[token])
    return "cap", min(len(ids), cap)


def _source_ids(tokenizer: Any, source: str) -> list[int]:
    ids = tokenizer(source, add_special_tokens=False, split_special_tokens=True, verbose=False)[
        "input_ids"
    ]
    return list(ids)


def _check_lines(lines: Sequence[str], expected: int) -> None:
    assert len(lines) == expected, f"{len(lines)} lines for {expected}"
    for number, line in enumerate(lines, start=1):
        assert len((line + "x").splitlines()) == 1, f"line {number} is more than one: {line!r}"


@contextmanager
def plain_settings(model: Any) -> Iterator[None]:
    """Set aside the model's own generation settings (sampling, penalties), which generate() would
    lay under ours."""
    own, training = model.generation_config, model.training
    model.generation_config = GenerationConfig()
    model.eval()
    try:
        yield
    finally:
        model.generation_config = own
        model.train(training)


@contextmanager
def reported(progress: Progress, total: int) -> Iterator[Callable[[int, int], None]]:
    if callable(progress):
        yield progress
        return
    with tqdm(total=total, unit=" lines", disable=not progress, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.update(done - bar.n)

        yield show
