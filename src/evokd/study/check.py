"""A recipe looked at before it is run: its text is opened, its models are asked for, and what a run
would refuse after an hour is refused now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evokd.data.cleaning import summary
from evokd.data.corpus import Corpus, build_corpus, corpus_files
from evokd.data.prompts import Prompt, load_prompt, prompt_tags
from evokd.errors import InputError, require
from evokd.evaluate.neural import missing_metrics
from evokd.evaluate.scores import metric_scorers
from evokd.recipe import metrics, objectives
from evokd.recipe.engines import check_installed
from evokd.recipe.methods import MethodSettings
from evokd.recipe.models import ModelSettings
from evokd.recipe.recipe import Recipe
from evokd.study.identity import check_folder

SAMPLE = 2000
"""Pairs of each training source and direction that are cleaned and compared with test sets."""
SHOWN = 60  # characters of a sentence


def check(recipe: Recipe, log: Callable[[str], None]) -> None:
    """Look at all that a recipe names, without weights; nothing is written.

    Raises:
        InputError: what a run would refuse.
    """
    prompt = load_prompt(recipe.prompt)
    check_code(recipe)
    check_installed(recipe.decoding.engine)
    check_packages(recipe)
    for line in missing_metrics(recipe.scoring.metrics):
        log(f"note: {line}")
    corpus_files(recipe.corpus, recipe.directions)  # first, as a run does
    corpus = build_corpus(recipe.corpus, recipe.directions, seed=1, most=SAMPLE)
    for line in _of_text(corpus.report):
        log(line)
    try:
        import torch  # noqa: F401
    except ImportError:
        log("models: torch isn't installed here, so they weren't asked for")
        return
    for line in _of_models(recipe, corpus, prompt):
        log(line)


def check_packages(recipe: Recipe) -> None:
    """See that optional packages that a recipe's trainings and models need are installed.

    Raises:
        InputError: one isn't.
    """
    needs = {"teacher.quantize": recipe.teacher.quantize != "none"}
    for name, model in (("teacher", recipe.teacher), ("student", recipe.student)):
        if model.adapters is not None:
            require("peft", "lora", f"{name}.lora")
            needs[f"{name}.lora.quantize"] = model.adapters.quantize != "none"
    for place, (training, _) in recipe.trainings().items():
        needs[f"training of {place}: {training.optimizer}"] = "8bit" in training.optimizer
        for service in set(training.report_to) - {"tensorboard"}:
            require(service, service, f"training of {place}: report_to: {service}")
    for need, holds in needs.items():
        if holds:
            require("bitsandbytes", "quantization", need)


def check_code(recipe: Recipe) -> None:
    """Call objectives and metrics that aren't evokd's own, once, on next to nothing.

    Raises:
        InputError: one fails, or gives something else than it should.
    """
    for method in recipe.methods:
        if method.objective not in objectives.BUILT_IN:
            _try_objective(method)
    for name in recipe.scoring.metrics:
        if name not in metrics.BUILT_IN:
            for direction in recipe.directions:
                _try_metric(name, direction.split("-")[1])


def _try_objective(method: MethodSettings) -> None:
    import torch

    from evokd.distil.objectives import token_loss

    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(4, 7, generator=generator) for _ in range(2))
    settings: dict[str, Any] = vars(method.in_force()[1])
    found: Any
    try:
        loss = token_loss(
            method.objective, student.requires_grad_(), teacher, torch.arange(4), **settings
        )
        loss.sum().backward()
        found = tuple(loss.shape)
    except Exception as error:  # whatever that code does
        found = f"{type(error).__name__}: {error}"
    if found != (4,):
        raise InputError(
            f"methods.{method.name}: {method.objective}, tried on four tokens, gives {found}; a "
            "function from evokd.distil.tokens.Tokens to one loss per token, (N,), with a gradient "
            "is accepted (docs/method.md)"
        )


def _try_metric(name: str, language: str) -> None:
    line = "Eins zwei drei vier."
    try:
        scorer = metric_scorers([name], language, [[line]])[name]
        found = float(scorer.corpus_score([line], None).score)
        str(scorer.get_signature())
    except InputError:
        raise
    except Exception as error:  # whatever that code does
        raise InputError(
            f"scoring.metrics: {name}, tried on one line, gives {type(error).__name__}: {error}; a "
            "function of (target language, references, tokenizer) that makes a "
            "sacrebleu.metrics.base.Metric is accepted (docs/evaluation.md)"
        ) from None
    if found != found:
        raise InputError(f"scoring.metrics: {name}, tried on one line, gives nan")


def check_models(recipe: Recipe, tokenizer_of: Callable[[ModelSettings], Any]) -> None:
    """See, from configurations and tokenizers alone, whether one model can teach the other.

    Args:
        tokenizer_of: the tokenizer of a model.

    Raises:
        InputError: they cut text into other tokens, `student.cut` doesn't fit the teacher, or
            something isn't there.
    """
    from evokd.models.fresh import fresh_config
    from evokd.models.loading import load_config
    from evokd.models.structured_pruning import check_cut
    from evokd.models.vocabulary import shared_vocabulary

    teacher, student = recipe.teacher, recipe.student
    for settings in (teacher, student):
        check_folder(settings.model)
    if student.model == "cut":
        if teacher.model == "fresh":
            check_cut(student.cut, fresh_config(teacher.fresh, tokenizer_of(teacher)))
        else:
            check_cut(student.cut, load_config(teacher))
        return
    origins = [(m.model, m.revision, m.tokenizer) for m in (teacher, student)]
    if "fresh" not in (teacher.model, student.model) and origins[0] != origins[1]:
        one, other = tokenizer_of(teacher), tokenizer_of(student)
        shared_vocabulary(one, len(one), other, len(other))


def _of_text(report: Mapping[str, Any]) -> Iterator[str]:
    """What the text of a study is, a line each."""
    of_models = report.get("models", {}).get("sources", [])
    for row in (*report["sources"], *(row for row in of_models if row not in report["sources"])):
        counts = ", ".join(f"{count} {direction}" for direction, count in row["directions"].items())
        first = " → ".join(_short(row["first"][side]) for side in ("source", "target"))
        yield f"{row['part']}: {row['path']} ({row['format']}): {counts}; the first: {first}"
    for row in report.get("unpaired", {}).get("sources", []):
        yield f"unpaired: {row['path']}: {row['lines']} lines, {row['direction']}"
    read = sum(row["pairs"] for row in report["sources"] if row["part"] == "train")
    whole = "training text" if report["read"] == read else f"a sample of {read} training pairs"
    yield f"cleaning: of {whole} {summary(report)}"
    if "unpaired" in report:
        yield f"cleaning: of text without translations {summary(report['unpaired'])}"
    leaks = {name: n for name, n in report["leaks"]["train_pairs"].items() if n}
    what = "dropped" if report["leaks"]["dropped"] else "kept"
    if leaks:
        each = ", ".join(f"{n} with {name}" for name, n in leaks.items())
        yield f"leaks: of {whole} so many share a sentence: {each}; they are {what}"
    for note in report["notes"]:
        yield f"note: {note}"


def _short(text: str) -> str:
    return f'"{text}"' if len(text) <= SHOWN else f'"{text[: SHOWN - 1]}…"'


def _of_models(recipe: Recipe, corpus: Corpus, prompt: Prompt) -> Iterator[str]:
    """What the models of a study are and how its text becomes tokens, a line each."""
    from evokd.models.encoded import encode_corpus
    from evokd.models.fresh import train_tokenizer
    from evokd.models.loading import check_kind, load_config, load_tokenizer, pick_device

    device, reason = pick_device(recipe.device)
    yield f"device: {device} ({reason})"
    models = {"teacher": recipe.teacher, "student": recipe.student}
    tokenizers: dict[str, Any] = {}
    for name, settings in models.items():
        check_folder(settings.model)
        if settings.model == "cut":
            yield f"{name}: cut from the teacher"
        elif settings.model == "fresh":
            size = settings.fresh
            yield f"{name}: fresh, {size.layers} layers, {size.hidden_size} wide"
        else:
            tokenizers[name] = load_tokenizer(settings)
            config = load_config(settings)
            check_kind(config, settings.model)
            text = config.get_text_config()
            yield (
                f"{name}: {settings.model}: {text.model_type}, {text.num_hidden_layers} layers, "
                f"{text.hidden_size} wide, {len(tokenizers[name])} tokens"
            )
    if tokenizers:
        given = next(iter(tokenizers.values()))
    else:  # of the sample, so it may have fewer tokens than the study's
        pairs = corpus.models or corpus.train
        texts = dict.fromkeys(text for pair in pairs for text in (pair.source, pair.target))
        tags = prompt_tags(recipe.languages())
        given = train_tokenizer(texts, recipe.tokenizer.vocab_size, tags)

    def tokenizer_of(settings: ModelSettings) -> Any:
        return next(
            (tokenizers[n] for n, m in models.items() if m is settings and n in tokenizers), given
        )

    check_models(recipe, tokenizer_of)
    longest = recipe.training.max_length
    data, too_long = encode_corpus(corpus.train, tokenizer_of(recipe.student), prompt, longest)
    if corpus.train and not len(data):
        raise InputError(f"no pair of reference fits into training.max_length={longest}")
    if too_long:
        yield (
            f"note: {too_long} of {len(corpus.train)} training pairs looked at are longer than "
            f"{longest} tokens and will be left out (training.max_length)"
        )
