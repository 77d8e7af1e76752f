"""The models of a study: teacher and students' start are made here, and any model is trained."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from itertools import chain
from typing import Any

from evokd import processes
from evokd.data.corpus import UNPAIRED
from evokd.data.pairs import different_texts
from evokd.progress import progress_bar
from evokd.recipe.methods import MethodSettings
from evokd.recipe.models import LoraSettings, ModelSettings
from evokd.recipe.objectives import PAIR_WEIGHTS
from evokd.recipe.training import TrainingSettings
from evokd.rundir.files import hash_file, write_json
from evokd.rundir.stage import Stage
from evokd.study.adapters import train_adapters
from evokd.study.check import check_models
from evokd.study.context import Study
from evokd.study.identity import adapters_in, model_identity, saved_in, training_key
from evokd.study.places import System, TeacherSource
from evokd.study.room import note_speed
from evokd.study.systems import load_for_training, spread
from evokd.study.token_ids import encoded


def make_teacher(study: Study, tokenizer: Stage) -> System:
    """The teacher: fine-tuned on the corpus, or taken as it is."""
    settings = study.recipe.teacher
    training = study.recipe.training_of(settings.training)
    return _make_model(study, tokenizer, "teacher", settings, training, None if settings.sft else 0)


def make_init(study: Study, tokenizer: Stage, teacher: System) -> dict[int, System]:
    """What students start from: the model of the recipe, after some steps of SFT.

    Returns:
        Seed → start, one for all unless the recipe asks for one a seed.
    """
    settings = study.recipe.student
    training = study.recipe.training_of(
        settings.training, settings.warm_start_training, TrainingSettings(select="last")
    )
    steps = settings.warm_start_steps
    gated = any(
        m.damps_all_hard or m.objective == "self_evolution_topk" for m in study.recipe.methods
    )
    if settings.model == "fresh" and not steps and gated:
        study.log(
            "warning: the student starts from random weights, so nearly every token is hard for "
            "long; student.warm_start_steps=N warms it up by N steps of SFT"
        )
    first, *others = study.recipe.seeds
    given = (study, tokenizer, "start", settings, training, steps, teacher)
    starts = {first: _make_model(*given)}
    own = settings.starts == "per_seed" and (settings.model == "fresh" or bool(steps))
    for seed in others:
        starts[seed] = _make_model(*given, seed) if own else starts[first]
    return starts


def train_student(
    study: Study,
    stage: System,
    student: Any,
    training: TrainingSettings,
    method: MethodSettings,
    source: TeacherSource | None = None,
    masks: dict[str, Any] | None = None,
    lora: LoraSettings | None = None,
    text: str | None = None,
) -> dict[str, Any]:
    """Train a student by one method; facts of the training.

    Args:
        text: another one than the method's.
        masks: of weights, by name; what is 0 there stays 0.
        lora: adapters that are trained in place of the student's weights, saved beside it and
            merged.
    """
    from evokd.distil.train.on_policy import PairsToWeigh
    from evokd.distil.train.run import TrainingJob, train
    from evokd.translate.decoding import text_of
    from evokd.translate.sampling import TokenSampler

    size = None
    if source is not None:
        shared = source.shared_vocabulary(student)
        size = shared.size
        if shared.note:
            study.log(f"{stage.name}: {shared.note}")
        study.log(f"{stage.name}: its teacher is {source.description}")
    tokenizer, longest = student.tokenizer, training.max_length
    train_set = encoded(study, text or method.text, tokenizer, longest)
    valid_set = encoded(study, "valid", tokenizer, longest) if study.corpus.valid else None
    for data in (train_set, valid_set):
        if source is not None and data is not None:
            source.signal.check_holds(data)
    sampler, weights = TokenSampler.of(student, size), None
    for key, settings in method.pair_weights.items():
        from evokd.models.sharding import gathered

        pairs = PairsToWeigh(
            student.model,
            sampler,
            train_set,
            lambda ids: text_of(tokenizer, ids),
            stage.folder,
            study.seed_of(stage),
            study.log,
            progress_bar(f"{key} {stage.label}"),
        )
        weigh = import_module(PAIR_WEIGHTS[key].module).pair_weights
        with gathered(student.model):
            weights = processes.by_first(partial(weigh, pairs, settings))
    work = TrainingJob(
        label=stage.name,
        folder=stage.folder,
        settings=training,
        method=method,
        seed=study.seed_of(stage),
        device=study.device,
        vocabulary_size=size,
        sampler=sampler,
        pair_weights=weights,
        masks=masks,
    )
    signal = None if source is None else source.signal

    def fit(model: Any) -> dict[str, Any]:
        return train(work, model, signal, train_set, valid_set, study.log)

    if lora is None:
        facts = fit(student.model)
    else:
        facts = train_adapters(study, stage, student, lora, fit, _save_dtype(study, stage))
    if processes.is_first():
        note_speed(study, student, source if method.spec.needs_teacher else None, train_set, facts)
    return facts


def finish_stage(
    study: Study,
    stage: System,
    student: Any,
    facts: dict[str, Any],
    kept_ids: list[int] | None = None,
    masks: dict[str, Any] | None = None,
) -> None:
    """Save a model, write its stage's manifest and remove the checkpoints of its training; called
    by all processes.

    Args:
        kept_ids: the teacher's id of each token, for a vocabulary that was pruned.
        masks: of weights that were pruned, by name.
    """
    from evokd.distil.train.run import finish
    from evokd.models.loading import describe, pick_dtype
    from evokd.models.magnitude_pruning import pruned_facts
    from evokd.models.saving import save_translator
    from evokd.models.sharding import made_whole
    from evokd.models.vocabulary_pruning import save_kept_ids

    folder = stage.folder / "model"
    directions = study.recipe.directions
    dtype, _ = pick_dtype(_save_dtype(study, stage), study.device)
    made_in = str(student.model.dtype).removeprefix("torch.")
    model = made_whole(student.model)

    def save() -> None:
        pruned = {} if masks is None else pruned_facts(model, masks)
        model.to(dtype)
        save_translator(model, student.tokenizer, study.prompt, folder, directions)
        if kept_ids is not None:
            save_kept_ids(folder, kept_ids, study.teacher_tokenizer)
        stage.finish(
            facts | pruned | describe(model),
            seed=study.seed_of(stage),
            device=str(study.device),
            dtype=made_in,
        )
        finish(stage.folder)

    processes.by_first(save)


def _save_dtype(study: Study, stage: System) -> str:
    """What a stage's weights are saved in; students begin with what the start is in full."""
    recipe = study.recipe
    if stage.system in recipe.students():
        return recipe.student.save_dtype
    return recipe.teacher.save_dtype if stage.system == "teacher" else "float32"


def diagnose_student(
    study: Study, stage: Stage, student: Any, method: MethodSettings, source: TeacherSource
) -> dict[str, Any]:
    """How hard a student's tokens are, which is kept in its stage's folder, too."""
    from evokd.distil.diagnosis import diagnose

    size = source.shared_vocabulary(student).size
    diagnostics = diagnose(student, source.signal, study.diagnosed_pairs, method, size)
    processes.by_first(lambda: write_json(stage.folder / "diagnostics.json", diagnostics))
    return diagnostics


def _make_model(
    study: Study,
    tokenizer: Stage,
    name: str,
    settings: ModelSettings,
    training: TrainingSettings,
    steps: int | None,
    teacher: System | None = None,
    seed: int | None = None,
) -> System:
    """A model as given, fresh or cut from the teacher, fine-tuned for `steps` (None: as long as
    `training` says).

    Args:
        seed: its own; None for the recipe's first.

    Raises:
        InputError: a model of the recipe can't be loaded, or the two don't fit each other.
    """
    if steps:
        training = training.model_copy(update={"max_steps": steps})
    made_of: dict[str, Any] = {
        "kind": name,
        "model": model_identity(study, settings, "model"),
        "tokenizer": tokenizer.fingerprint,
        "prompt": vars(study.prompt),
        "steps": steps,
        "seed": study.recipe.seeds[0] if seed is None else seed,
    }
    origin = teacher if settings.model == "cut" else None
    if origin is not None:
        made_of["teacher"] = origin.fingerprint
        if study.recipe.student.prunes_vocabulary:  # which tokens are kept
            unpaired = study.paths.corpus / UNPAIRED
            made_of["unpaired"] = hash_file(unpaired) if unpaired.exists() else None
            made_of["tokens of"] = study.text_hashes()
    if steps != 0 or origin is not None:
        made_of |= {"text": study.models_hashes(), "training": training_key(training)}
    lora = settings.adapters if steps != 0 and settings.model != "fresh" else None
    if lora is not None and origin is not None:  # which is cut in full
        lora = lora.model_copy(update={"quantize": "none"})
    made_of |= adapters_in(lora)
    if name == "teacher":
        made_of |= saved_in(settings)
    folder = study.folder / (name if seed is None else f"{name}.seed{seed}")
    stage = study.system(folder.name, folder, made_of, name, seed)
    if study.is_done(stage):
        return stage
    from evokd.models.loading import describe, pick_dtype

    number_format = _save_dtype(study, stage) if steps == 0 else training.weights
    kept_ids: list[int] | None = None

    def begin() -> None:
        check_models(study.recipe, study.tokenizer_of)
        stage.begin()

    def make(device: Any) -> Any:
        nonlocal kept_ids
        if origin is None:
            seed_of_it = study.seed_of(stage)
            made = _load_untrained(study, settings, seed_of_it, device, number_format, lora)
        else:
            made, kept_ids = _cut_from_teacher(study, origin, training.max_length, device)
            made.model.to(pick_dtype(number_format, study.device)[0])
        millions = describe(made.model)["parameters"] / 1e6
        study.log(f"{stage.name}: {millions:.2f}M parameters, {settings.model}")
        return made

    processes.by_first(begin)
    facts: dict[str, Any] = {"warm_start_steps": steps} if steps else {}
    if steps == 0:
        processes.by_first(lambda: finish_stage(study, stage, make(study.device), facts, kept_ids))
    else:
        student, method = spread(study, training, make), MethodSettings(name="sft", objective="sft")
        facts |= train_student(study, stage, student, training, method, text="models", lora=lora)
        finish_stage(study, stage, student, facts, kept_ids)
    return stage


def _load_untrained(
    study: Study,
    settings: ModelSettings,
    seed: int,
    device: Any,
    dtype: str,
    lora: LoraSettings | None,
) -> Any:
    """A model as the recipe names it, or a fresh one; straight in the number format that it is
    trained or saved in."""
    from evokd.models.fresh import fresh_model
    from evokd.models.loading import Translator, load_model, pick_dtype

    tokenizer, (number_format, _) = study.tokenizer_of(settings), pick_dtype(dtype, study.device)
    if settings.model == "fresh":
        model: Any = fresh_model(settings.fresh, tokenizer, seed)
        model.to(device, number_format)
    else:
        bits = "none" if lora is None else lora.quantize
        model = load_model(settings, device, number_format, bits)
    return Translator(model, tokenizer, study.prompt)


def _cut_from_teacher(
    study: Study, origin: System, max_length: int, device: Any
) -> tuple[Any, list[int] | None]:
    """A part of the teacher, and which of the teacher's tokens it knows (None: all)."""
    from evokd.models.loading import Translator
    from evokd.models.structured_pruning import calibration_batches, cut, describe_cut
    from evokd.models.vocabulary_pruning import slice_vocabulary, used_ids

    settings = study.recipe.student.cut
    teacher = load_for_training(study, origin, device=device)
    data = encoded(study, "models", teacher.tokenizer, max_length)
    batches = calibration_batches(data, settings.calibration_pairs)
    model, tokenizer, kept_ids = cut(teacher.model, settings, batches), teacher.tokenizer, None
    if settings.vocabulary == "corpus":
        # Not the test sets: what a student is judged on has no say in what it is.
        corpus = study.corpus
        pairs = chain(corpus.models, corpus.train, corpus.valid)
        sources = (pair.source for pair in corpus.unpaired)
        texts = chain(different_texts(pairs), sources)
        ids = (data[number]["input_ids"] for number in range(len(data)))
        embeddings: Any = model.get_input_embeddings()
        kept_ids = used_ids(tokenizer, texts, ids, int(embeddings.weight.shape[0]))
        model, tokenizer = slice_vocabulary(model, tokenizer, kept_ids)
    for line in describe_cut(teacher.model, model).splitlines():
        study.log(f"start: {line.strip()}")
    return Translator(model, tokenizer, study.prompt), kept_ids
