"""The stages of a recipe that need a model: what each asks of a device, the disk and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from evokd.errors import InputError
from evokd.plan import activations, disk, time
from evokd.plan.activations import Precision, Tokens
from evokd.plan.devices import Device
from evokd.plan.memory import Parts, Training, chunk_rows, training_memory
from evokd.plan.models import Shapes
from evokd.plan.placement import Kind, Placement, formats_of, teacher_bytes, weight_bytes
from evokd.plan.shapes import Shape
from evokd.plan.text import Text
from evokd.plan.time import Amount
from evokd.recipe.models import LoraSettings, ModelSettings
from evokd.recipe.objectives import TEXT_PRESETS
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings, micro_batches

CACHE_TOKENS = {"cpu": 2048, "gpu": 16384}
"""Of a forward pass that writes a cache (`distil.teacher.precompute`)."""


@dataclass(frozen=True)
class Planned:
    """A stage."""

    name: str
    parts: Parts
    placement: Placement
    training: Training | None = None
    keys: str = "training"
    """Where its training's settings stand in a recipe."""
    flops: float | None = None
    seconds: float | None = None
    """Beside its arithmetic: weights that a decoding reads."""
    saved: float = 0.0
    """Bytes on the disk, for good."""
    checkpoints: float = 0.0
    """And while it trains."""
    times: int = 1
    """How many of its kind there are, one a seed."""
    by_micro_batch: bool = False
    """Whether the size of micro-batches changes what is learnt."""
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Ground:
    """What a plan is made of, beside the recipe."""

    shapes: Shapes
    text: Text
    device: Device
    devices: int = 1
    longest: int | None = None
    """Tokens of the longest pairs, where they are known; else training.max_length."""


def planned_stages(recipe: Recipe, ground: Ground, kind: Kind | None = None) -> list[Planned]:
    """All of them in order.

    Args:
        kind: how trainings lie on the devices, where the recipe doesn't say.

    Raises:
        InputError: what a run refuses, too: a batch that can't be shared out, a placement that
            doesn't go with the recipe.
    """
    return [*_of_models(recipe, ground, kind), *_of_students(recipe, ground, kind)]


def _of_models(recipe: Recipe, ground: Ground, kind: Kind | None) -> Iterator[Planned]:
    teacher, student = ground.shapes
    model = recipe.teacher
    saved = disk.saved_bytes(teacher, model.save_dtype)
    training = recipe.training_of(model.training)
    if model.sft:
        yield _trained(
            *("teacher", recipe, ground, teacher, model, training, kind),
            keys="teacher.training",
            amount=ground.text.trained(training, of_models=True),
            saved=saved,
        )
    else:
        yield _read("teacher", saved, ground, saved, model.save_dtype)
    settings = recipe.student
    if not recipe.warms_adapters_up:
        settings = settings.model_copy(update={"lora": LoraSettings()})
    saved = disk.saved_bytes(student, "float32")
    if settings.warm_start_steps:
        training = recipe.training_of(
            settings.training,
            settings.warm_start_training,
            TrainingSettings(max_steps=settings.warm_start_steps),
        )
        yield _trained(
            *("start", recipe, ground, student, settings, training, kind),
            keys="student.warm_start_training",
            amount=ground.text.trained(training, of_models=True),
            saved=saved,
        )
    else:
        weights = 4.0 * (student.parameters + teacher.parameters * (settings.model == "cut"))
        yield _read("start", weights, ground, saved, "float32")
    yield _check(recipe, ground)
    for text in recipe.texts():
        beam = recipe.teacher_text.beam if text == "teacher" else recipe.teacher_text.candidates
        amount = ground.text.train
        size = teacher_bytes(recipe, ground.device.kind == "gpu")
        yield _decoded(f"teacher's text ({text})", teacher, size, recipe, ground, beam, amount)
    if model.signal != "live":
        yield _cache(recipe, ground)


def _of_students(recipe: Recipe, ground: Ground, kind: Kind | None) -> Iterator[Planned]:
    teacher, student = ground.shapes
    settings, seeds = recipe.student, len(recipe.seeds)
    signal = recipe.teacher.signal
    saved = disk.saved_bytes(student, settings.save_dtype)
    for name, (method, training, level) in recipe.students().items():
        source: str = signal
        if method.on_policy is not None:
            source = "live"
        elif method.kind() in TEXT_PRESETS and signal != "live":
            source = "none"
        stage = _trained(
            *(f"student {name}", recipe, ground, student, settings, training, kind),
            teacher=None if source == "none" else teacher,
            signal=source,
            amount=ground.text.trained(training),
            saved=saved,
            times=seeds,
            reads=method.spec.needs_teacher,
        )
        masks = 0.0 if level is None else 4.0 * student.parameters
        parts = replace(stage.parts, weights=stage.parts.weights + masks)
        yield replace(stage, parts=parts, by_micro_batch=method.learns_by_micro_batch)
    on_gpu = ground.device.kind == "gpu"
    for name, shape, size in (
        ("teacher", teacher, teacher_bytes(recipe, on_gpu)),
        ("students", student, weight_bytes(settings, on_gpu)),
    ):
        beam = max([recipe.decoding.beam, *recipe.analysis.beams])
        yield _decoded(f"translations of {name}", shape, size, recipe, ground, beam, None)


def _trained(
    name: str,
    recipe: Recipe,
    ground: Ground,
    shape: Shape,
    model: ModelSettings,
    settings: TrainingSettings,
    kind: Kind | None,
    *,
    amount: Amount | None,
    saved: float,
    keys: str = "training",
    teacher: Shape | None = None,
    signal: str = "none",
    times: int = 1,
    reads: bool = True,
) -> Planned:
    on_gpu = ground.device.kind == "gpu"
    named = (settings.sharding or kind or "none") if ground.devices > 1 else "none"
    if named == "fsdp2" and (problem := recipe.sharding_problem(settings)):
        raise InputError(problem)
    placement = Placement(named, ground.devices if named != "none" else 1)
    micro, passes = micro_batches(settings, placement.workers)
    length = min(settings.max_length, ground.longest or settings.max_length)
    sentence, prompt = ground.text.sentence_tokens, ground.text.prompt_tokens
    responses = micro * (length - prompt) * sentence / max(1.0, 2 * sentence)
    training = Training(
        student=shape,
        formats=formats_of(recipe, model, settings, on_gpu),
        placement=placement,
        tokens=Tokens(micro, length),
        responses=max(1, round(responses)),
        accumulates=passes > 1,
        checkpointing=settings.gradient_checkpointing,
        teacher=teacher,
        signal=signal,
        chunk_tokens=settings.chunk_tokens,
        device=ground.device.kind,
    )
    # sft has a teacher beside it for its curve alone, on the steps that are logged.
    reader = training if reads else replace(training, teacher=None)
    return Planned(
        name,
        training_memory(training),
        placement,
        training,
        keys,
        flops=None if amount is None else time.training_flops(reader, amount),
        saved=saved,
        checkpoints=disk.checkpoint_bytes(shape, training.formats),
        times=times,
    )


def _read(name: str, weights: float, ground: Ground, saved: float, dtype: str) -> Planned:
    """A model that is loaded and saved."""
    parts = Parts(weights=weights).with_runtime(ground.device.kind)
    note = f"loaded in {dtype} and saved"
    return Planned(name, parts, Placement(), saved=saved, notes=(note,))


def _check(recipe: Recipe, ground: Ground) -> Planned:
    """Both models side by side, without gradients, on validation pairs."""
    teacher, student = ground.shapes
    on_gpu = ground.device.kind == "gpu"
    size = teacher_bytes(recipe, on_gpu)
    tokens = Tokens(32, min(256, recipe.training.max_length))
    passing = activations.forward_of_layer(teacher, tokens, "bfloat16" if on_gpu else "float32")
    rows = chunk_rows(student.vocabulary, 8.0 * student.vocabulary, ground.device.kind)
    parts = Parts(
        weights=4.0 * student.parameters,
        teacher=size * teacher.parameters,
        activations=passing,
        loss=8.0 * student.vocabulary * min(rows, tokens.number // 2),
    )
    return Planned("check", parts.with_runtime(ground.device.kind), Placement())


def _cache(recipe: Recipe, ground: Ground) -> Planned:
    """The teacher over all training text once."""
    teacher, device = ground.shapes.teacher, ground.device.kind
    size, signal = teacher_bytes(recipe, device == "gpu"), recipe.teacher.signal
    length = min(recipe.training.max_length, CACHE_TOKENS[device])
    tokens = Tokens(max(1, CACHE_TOKENS[device] // length), length)
    precision: Precision = "float32" if size >= 4 else "bfloat16"
    parts = Parts(
        teacher=size * teacher.parameters,
        activations=activations.forward_of_layer(teacher, tokens, precision)
        + 2 * size * tokens.number * teacher.hidden,
        loss=3 * 4.0 * 512 * teacher.vocabulary if signal == "topk" else 0.0,
    )
    text = ground.text.train
    return Planned(
        f"cache ({signal})",
        parts.with_runtime(device),
        Placement(),
        flops=None if text is None else time.forward_flops(teacher, text),
        saved=0.0
        if text is None
        else disk.cache_bytes(teacher, signal, recipe.teacher.top_k, text, min(size, 4.0)),
        notes=() if text else ("its size isn't known without the text: --pairs N",),
    )


def _decoded(
    name: str,
    shape: Shape,
    size: float,
    recipe: Recipe,
    ground: Ground,
    beam: int,
    text: Amount | None,
) -> Planned:
    """Keys and values of all tokens at once, twice where rows leave; a step's logits."""
    decoding, device = recipe.decoding, ground.device.kind
    number = min(max(size, 2.0), 4.0)
    tokens = decoding.batch_tokens
    rows = min(decoding.batch_size * beam, tokens)
    states = 2 * 2.0 * tokens * shape.layers * shape.keys * number
    prompts = Tokens(max(1, rows // beam), max(1, tokens // max(1, rows)))
    precision: Precision = "float32" if number >= 4 else "bfloat16"
    parts = Parts(
        weights=size * shape.parameters,
        activations=states + activations.forward_of_layer(shape, prompts, precision),
        loss=8.0 * rows * shape.vocabulary,
    )
    seconds = None
    if text is not None:
        bandwidth = ground.device.bandwidth
        seconds = time.decoding_seconds(shape, size, text, rows / beam, bandwidth, beam)
    return Planned(name, parts.with_runtime(device), Placement(), seconds=seconds)
