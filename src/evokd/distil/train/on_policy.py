"""Training on the student's own translations, mixed with the given ones.

GKD (Agarwal et al. 2024): with probability λ, here `share`, the targets of a whole optimizer step
are the student's own, drawn at a temperature; no gradient flows through the drawing. DistiLLM (Ko
et al. 2024) keeps them in a buffer, from which they come again while ever fewer are made, and lets
the share grow from 0 only where validation gets worse:

    u < φ (1 − t/T), or u < φ while the buffer isn't full    fresh translations, into the buffer
    else u < φ                                               pairs from the buffer
    else                                                     the given text

with u of (seed, step), t of T steps done and φ the share. Without a buffer all u < φ are fresh.

For the fresh ones among the next `every` steps the student, as it is then, translates at once. What
this buys in speed it costs in freshness; φ and the buffer are looked at then, too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn

from evokd.distil.teacher.signal import TeacherSignal
from evokd.distil.train.batches import Batch, Collator, Example
from evokd.distil.train.method_state import Exchange, MethodPart
from evokd.errors import InputError
from evokd.models.lm_head import evaluating
from evokd.models.packing import pairs_of
from evokd.models.sharding import gathered
from evokd.recipe.methods import OnPolicySettings
from evokd.recipe.objectives import IGNORED, OBJECTIVES, ObjectiveSettings, free_of_references

Kind = Literal["given", "fresh", "replayed"]
"""Where the targets of an optimizer step come from."""
LOSS_RISE = 0.1
"""Rise of the validation loss, in nats per token, at which φ grows."""
PHI_STEP = 0.1
_DECISION, _REPLAY = 1, 2
_COUNTED = ("given", "fresh", "replayed", "drawn", "capped", "empty")


class Sampler(Protocol):
    """Draws answers to prompts; `evokd.translate.sampling.TokenSampler` is one."""

    def __call__(
        self,
        model: nn.Module,
        prompts: Sequence[Sequence[int]],
        caps: Sequence[int],
        temperature: float,
        seeds: Sequence[int],
    ) -> list[list[int]]:
        """Token ids that answer each prompt, their end token included; cut off at its cap, an
        answer has none. What is drawn depends on model, prompt and its seed, not on its neighbours.
        The model is in evaluation mode; torch's random state is to be left alone."""
        ...


class OnPolicy(MethodPart):
    """Decides which steps train on the student's own text, has it made, and holds it.

    With several devices each has an instance of its own, makes translations for its own
    micro-batches and holds its part of the buffer; the decisions are the same.

    Args:
        seed: decides steps and draws, together with the step.
        max_length: longest prompt + translation in tokens.
        processes: devices that train together.
    """

    differs = True

    def __init__(
        self,
        settings: OnPolicySettings,
        sampler: Sampler,
        seed: int = 0,
        max_length: int | None = None,
        processes: int = 1,
    ):
        self.options = settings
        self.sampler = sampler
        self.seed = seed
        self.max_length = max_length
        self.phi = 0.0 if settings.adaptive else settings.share
        self.reference_loss: float | None = None
        self.buffer: deque[Example] = deque(maxlen=-(-settings.replay // processes))
        self.kinds: dict[int, Kind] = {}
        """What was decided of steps to come."""
        self.made: dict[int, list[Example]] = {}
        """Pairs made for them, in the order of their micro-batches."""
        self.counts: Counter[str] = Counter()
        self._iterator: Iterator[Batch] | None = None
        self._window: dict[int, list[Batch]] = {}
        """Micro-batches of steps to come, taken from the iterator early."""

    def batches(
        self,
        iterator: Iterator[Batch],
        size: int,
        student: nn.Module,
        step: int,
        steps: int,
        collate: Collator,
    ) -> list[Batch]:
        """The micro-batches that a step trains on, with the student's own text where that is
        decided.

        Steps are looked at in windows. One ends where the number of the step is a multiple of
        `every`, and with the epoch; so it is the same wherever a training was interrupted.

        Args:
            iterator: the micro-batches of the epoch.
            size: micro-batches of a step; at the end of an epoch there may be fewer.
            step: optimizer steps done, of all `steps`.
        """
        if iterator is not self._iterator:
            self._iterator, self._window = iterator, {}
        if not self._window:
            every = self.options.every
            end = min((step // every + 1) * every, max(steps, step + 1))
            coming = [(number, list(islice(iterator, size))) for number in range(step, end)]
            self._window = {number: batches for number, batches in coming if batches}
            self.look_ahead(student, self._window, steps)
        batches = self._window.pop(step, [])
        if not batches:
            return batches
        own = self.targets(step, [int(pairs_of(b).max()) + 1 for b in batches])
        return batches if own is None else [collate(examples) for examples in own]

    def kind(self, step: int, steps: int, held: int) -> Kind:
        """What a step trains on; held: pairs in the buffer."""
        u = np.random.default_rng((self.seed, step, _DECISION)).random()
        room = self.buffer.maxlen
        if u >= self.phi:
            return "given"
        fresh = not room or held < room or u < self.phi * (1 - step / steps)
        return "fresh" if fresh else "replayed"

    def look_ahead(
        self, student: nn.Module, coming: Mapping[int, Sequence[Batch]], steps: int
    ) -> None:
        """Decide on some steps to come, and make the translations for them.

        Args:
            coming: the micro-batches of each step, in order. What was decided and made before a
                training was interrupted is kept.
            steps: optimizer steps of the whole training.
        """
        held = len(self.buffer)
        fresh: list[tuple[int, Example]] = []
        for step in sorted(set(coming) - set(self.kinds)):
            self.kinds[step] = self.kind(step, steps, held)
            if self.kinds[step] == "fresh":
                self.made[step] = []
                examples = [example for batch in coming[step] for example in examples_of(batch)]
                held += len(examples)
                fresh += [(step, example) for example in examples]
        for (step, _), own in zip(fresh, self._translated(student, fresh), strict=True):
            self.made[step].append(own)
            if self.buffer.maxlen:
                self.buffer.append(own)

    def targets(self, step: int, sizes: Sequence[int]) -> list[list[Example]] | None:
        """What a step trains on, cut into micro-batches of these numbers of pairs; None: what is
        given. Asked once for each step, after `look_ahead`."""
        kind = self.kinds.pop(step)
        self.counts[kind] += 1
        if kind == "given":
            return None
        chosen = self.made.pop(step) if kind == "fresh" else self._replayed(step, sum(sizes))
        remaining = iter(chosen)
        return [list(islice(remaining, size)) for size in sizes]

    def validated(self, loss: float) -> None:
        """The first one is what later ones are compared with, until one is 0.1 above it."""
        if not self.options.adaptive:
            return
        if self.reference_loss is None:
            self.reference_loss = loss
        elif loss >= self.reference_loss + LOSS_RISE:
            self.phi = min(self.options.share, self.phi + PHI_STEP)
            self.reference_loss = loss

    def metrics(
        self, settings: ObjectiveSettings, all_reduce: Exchange | None = None
    ) -> dict[str, float]:
        """Of the steps since the last call: the share that wasn't given text, and of what was drawn
        the share without an end (capped) and of nothing but an end (empty)."""
        mine = torch.tensor([self.counts[name] for name in _COUNTED])
        self.counts.clear()
        total = all_reduce(mine) if all_reduce else mine
        given, fresh, replayed, drawn, capped, empty = total.tolist()
        steps = given + fresh + replayed
        if not steps:
            return {}
        shares = {"own_share": 1 - given / steps}
        if drawn:
            shares |= {"own_capped": capped / drawn, "own_empty": empty / drawn}
        if self.options.adaptive:
            shares["own_phi"] = self.phi
        return shares

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs, of this device."""
        return {
            "phi": self.phi,
            "reference_loss": self.reference_loss,
            "buffer": list(self.buffer),
            "kinds": dict(self.kinds),
            "made": dict(self.made),
            "counts": dict(self.counts),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.phi, self.reference_loss = state["phi"], state["reference_loss"]
        self.buffer = deque(state["buffer"], maxlen=self.buffer.maxlen)
        self.kinds, self.made = dict(state["kinds"]), dict(state["made"])
        self.counts = Counter(state["counts"])

    def _translated(
        self, student: nn.Module, examples: Sequence[tuple[int, Example]]
    ) -> Iterator[Example]:
        """Each example with the student's own translation in place of the given one."""
        if not examples:
            return
        before = [prompt_length(example) for _, example in examples]
        prompts = [e["input_ids"][:n] for (_, e), n in zip(examples, before, strict=True)]
        caps = [self._cap(e, n) for (_, e), n in zip(examples, before, strict=True)]
        seeds = [seed_of(self.seed, step, example) for step, example in examples]
        with torch.no_grad(), evaluating(student), gathered(student):
            drawn = self.sampler(student, prompts, caps, self.options.temperature, seeds)
        for (_, example), prompt, cap, response in zip(examples, prompts, caps, drawn, strict=True):
            end = example["input_ids"][-1]
            self.counts["drawn"] += 1
            if not response or response == [end]:
                self.counts["empty"] += 1
            elif len(response) >= cap and response[-1] != end:
                self.counts["capped"] += 1
            labels = [IGNORED] * len(prompt) + list(response)
            own = {**example, "input_ids": [*prompt, *response], "labels": labels}
            yield own if response else example

    def _cap(self, example: Example, before: int) -> int:
        cap = response_cap(len(example["input_ids"]) - before)
        return cap if self.max_length is None else max(1, min(cap, self.max_length - before))

    def _replayed(self, step: int, count: int) -> list[Example]:
        """Pairs from the buffer, none twice while there are enough, of like length together."""
        random = np.random.default_rng((self.seed, step, _REPLAY))
        places = random.choice(len(self.buffer), count, replace=count > len(self.buffer))
        return sorted((self.buffer[i] for i in places), key=lambda e: -len(e["input_ids"]))


def check_on_policy(
    on_policy: OnPolicy,
    objective: Any,
    settings: ObjectiveSettings,
    teacher: nn.Module | TeacherSignal | None,
    validates: bool,
    sharding: str | None,
) -> None:
    """Before anything is trained: can objective, teacher and devices do with any text?

    Args:
        objective: a name, or a function, which is believed.
        validates: whether there is a validation set.
        sharding: what spreads the student's weights over devices, if anything does.

    Raises:
        ValueError: an objective that needs the reference, or an adaptive schedule without
            validation.
        InputError: a cached teacher, or a student spread over devices.
    """
    if isinstance(objective, str) and OBJECTIVES[objective].needs_reference(settings.lam):
        raise ValueError(
            f"on_policy: {objective} compares the student with the reference token, and the "
            "student's own translations have none: it would learn its own mistakes; without a "
            f"reference do {free_of_references()}"
        )
    if not isinstance(teacher, nn.Module) and teacher is not None and teacher.model is None:
        raise InputError(
            "on_policy: a cached teacher has said nothing about text that the student makes while "
            "it trains; take a live one (teacher.signal: live)"
        )
    if on_policy.options.adaptive and not validates:
        raise ValueError("on_policy.adaptive goes by validation loss; there is no validation set")
    if sharding is not None:
        raise InputError(
            f"on_policy: {sharding} leaves each device a part of the student, and translating "
            "takes all of it; take training.sharding: fsdp2, which gathers it (--processes), or a "
            "method without on_policy"
        )


def examples_of(batch: Batch) -> list[Example]:
    """The training sequences that a padded or packed batch is made of."""
    pairs = pairs_of(batch).cpu()
    ids, labels = batch["input_ids"].cpu(), batch["labels"].cpu()
    examples: list[Example] = []
    for pair in range(int(pairs.max()) + 1):
        here = pairs == pair
        examples.append({"input_ids": ids[here].tolist(), "labels": labels[here].tolist()})
        if "weights" in batch:
            examples[-1]["weight"] = float(batch["weights"][pair])
    return examples


def prompt_length(example: Example) -> int:
    """Tokens in front of the response."""
    labels = example["labels"]
    return next((i for i, label in enumerate(labels) if label != IGNORED), len(labels))


def response_cap(reference_tokens: int) -> int:
    """Most tokens of a drawn translation: twice the given one and some."""
    return 2 * reference_tokens + 16


def seed_of(seed: int, number: int, example: Example) -> int:
    """Of a draw: 63 bits of a seed, a number (of the step, of the sample) and the pair itself."""
    content = [seed, number, prompt_length(example), *example["input_ids"]]
    digest = hashlib.blake2b(np.array(content, dtype="<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class PairsToWeigh:
    """What the pairs of a training are weighed by, before it starts."""

    student: nn.Module
    """As it starts; it is left as it was."""
    sampler: Sampler
    data: Any
    """A data set of input_ids and labels (−100 on the prompt)."""
    decode: Callable[[Sequence[int]], str]
    """From token ids of a response, end token and all, to its text."""
    folder: Path
    """Of the training; what is made may be kept there."""
    seed: int = 0
    log: Callable[[str], None] = print
    progress: Callable[[int, int], None] | None = None
    """Called with the number of pairs done and of all."""
