"""Whole training steps: what distillation costs beside plain fine-tuning, and beside TRL.

    python bench/step.py --json step.json
    python bench/step.py --vocab 32000 --teacher 512,8 --student 256,4 --batch 16
    python bench/step.py --train data/multi30k/train -l en-de

Every variant trains the same fresh student on the same batches (of like length, the responses are
the targets) through the same optimizer; all of them are transformers.Trainer inside:

    sft                plain fine-tuning with Trainer's own loss: the floor
    evokd_sft          our sft: the same loss, logits made where there is a target only
    live               ours, the teacher run beside the student
    live_packed        the same, several pairs in a row in place of padding
    cached_hidden      ours, the teacher's hidden states from a cache, its head applied on the fly
    cached_topk        ours, the teacher's top-k log-probabilities from a cache
    trl_gkd            TRL's GKDTrainer, lmbda 0 (no sampling), beta 0.5: divergence to a mixture of
                       student and teacher, nearest to what self_evolution does on hard tokens
    trl_gkd_kl         the same with beta 0: KL(teacher‖student), the cheapest that TRL has

A variant's segment stands between two segments of the floor on the same batches, and the ratio of
the times is what counts: A B A C A, again and again. The first steps of a segment aren't timed.
Peak memory is taken in a fresh process for each variant, where nothing else has ever run: weights,
teacher, gradients, Adam's state and activations, beyond what imports and a toy training hold.

What TRL gets differs in one thing: its collator pads on the left. Precision is the same for all;
gradient checkpointing, which TRL turns on by itself, is off.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from evokd import DistillationTrainer
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.data.sources import read_source
from evokd.distil.teacher.precompute import cache_spec, write_cache
from evokd.distil.teacher.signal import CachedTeacher
from evokd.models.encoded import EncodedPairs, LengthGroupedBatches, collate, encode_corpus
from evokd.models.fresh import train_tokenizer
from evokd.recipe.corpus import CorpusSource
from evokd.recipe.models import FreshModel
from evokd.recipe.objectives import OBJECTIVES

FLOOR = "sft"
CACHES = {"cached_hidden": "hidden", "cached_topk": "topk"}
PEER_BETAS = {"trl_gkd": 0.5, "trl_gkd_kl": 0.0}
VARIANTS = (FLOOR, "evokd_sft", "live", "live_packed", *CACHES, *PEER_BETAS)
MAX_LENGTH = 192
LEARNING_RATE = 1e-4
PASSES_OVER_TEXT = 8
"""A small corpus is gone through so often before it is too small."""


@dataclass(frozen=True)
class Settings:
    """What is measured, and on what."""

    teacher: tuple[int, int] = (256, 4)
    """Width and layers."""
    student: tuple[int, int] = (128, 2)
    vocab: int = 4096
    batch: int = 64
    dtype: str = "float32"
    device: str = "cpu"
    objective: str = "self_evolution"
    top_k: int = 64
    steps: int = 10
    """Timed steps of a segment."""
    warm_up: int = 2
    """Steps before them."""
    segments: int = 7
    train: str = "phrasebook:train"
    languages: tuple[str, str] = ("en", "de")

    @property
    def pairs_per_segment(self) -> int:
        return (self.warm_up + self.steps) * self.batch


class Missing(Exception):
    """A variant can't run here; the message says what it lacks."""


# --- text -----------------------------------------------------------------------------------------


def write_text(settings: Settings, folder: Path) -> dict[str, float]:
    """Token ids of all segments, in the order of the batches, and the tokenizer, into a folder.

    Returns:
        Facts: pairs, tokens, response tokens, and the share of positions that are padding.
    """
    pairs_wanted = settings.pairs_per_segment * settings.segments
    source, target = settings.languages
    directions = (f"{source}-{target}", f"{target}-{source}")
    limit = -(-pairs_wanted // len(directions)) + settings.batch
    corpus = CorpusSource(path=settings.train, languages=settings.languages, limit=limit)
    pairs, _ = read_source(corpus, directions, Path())
    texts = dict.fromkeys(text for pair in pairs for text in (pair.source, pair.target))
    # A small corpus has fewer merges than that; the models are as wide as asked all the same.
    tokenizer = train_tokenizer(texts, min(settings.vocab, 16_000), prompt_tags([source, target]))
    if len(tokenizer) > settings.vocab:
        raise SystemExit(f"--vocab {settings.vocab} is too small; type at least {len(tokenizer)}")
    encoded, _ = encode_corpus(pairs, tokenizer, load_prompt("compact"), MAX_LENGTH)
    grouped = list(LengthGroupedBatches(encoded.lengths, settings.batch))
    grouped = grouped[: len(grouped) // settings.batch * settings.batch]
    order = (grouped * PASSES_OVER_TEXT)[:pairs_wanted]
    if len(order) < pairs_wanted:
        raise SystemExit(
            f"{settings.train} has {len(encoded)} pairs of at most {MAX_LENGTH} tokens, and "
            f"{pairs_wanted} are wanted; lower --segments, --steps or --batch"
        )
    tokenizer.save_pretrained(folder / "tokenizer")
    lengths = np.array([encoded.lengths[i] for i in order])
    responses = np.array([encoded.response_tokens[i] for i in order])
    ids = np.concatenate([np.array(encoded[i]["input_ids"], dtype=np.int32) for i in order])
    np.savez(folder / "text.npz", ids=ids, lengths=lengths, responses=responses)
    widths = lengths.reshape(-1, settings.batch).max(1)
    return {
        "pairs": pairs_wanted,
        "tokens": int(lengths.sum()),
        "response_tokens": int(responses.sum()),
        "padding_share": round(1.0 - float(lengths.sum() / (widths.sum() * settings.batch)), 4),
    }


def read_text(folder: Path) -> EncodedPairs:
    """What `write_text` wrote."""
    with np.load(folder / "text.npz") as text:
        sequences = np.split(text["ids"], np.cumsum(text["lengths"])[:-1])
        return EncodedPairs.of(sequences, (text["lengths"] - text["responses"]).tolist())


class Segment(Dataset):
    """The pairs of one segment, in the order of its batches."""

    def __init__(self, text: EncodedPairs, settings: Settings, number: int):
        self.text = text
        self.start = number * settings.pairs_per_segment
        self.lengths = text.lengths[self.start : self.start + settings.pairs_per_segment]
        timed = self.start + settings.warm_up * settings.batch
        timed_pairs = text.response_tokens[timed : timed + settings.steps * settings.batch]
        self.timed_response_tokens = int(timed_pairs.sum())

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.text[self.start + index]


# --- models and trainers --------------------------------------------------------------------------


def llama(
    size: tuple[int, int], settings: Settings, seed: int, dtype: str = "float32"
) -> LlamaForCausalLM:
    """A Llama with random weights, of the shape that a recipe's fresh models have. They are drawn
    where they will be: billions of them take minutes on a CPU."""
    width, layers = size
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=settings.vocab,
        hidden_size=width,
        intermediate_size=FreshModel(hidden_size=width).inner_width,
        num_hidden_layers=layers,
        num_attention_heads=max(4, width // 64),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        use_cache=False,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(settings.device):
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)


def live_teacher(settings: Settings) -> LlamaForCausalLM:
    return llama(settings.teacher, settings, seed=1, dtype=settings.dtype).eval()


def training_arguments(settings: Settings, folder: Path, **more: Any) -> dict[str, Any]:
    """The same for all; the pairs stand in the order of their batches already."""
    return {
        "output_dir": str(folder / "trainer"),
        "max_steps": settings.warm_up + settings.steps,
        "per_device_train_batch_size": settings.batch,
        "train_sampling_strategy": "sequential",
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "bf16": settings.dtype == "bfloat16",
        "use_cpu": settings.device == "cpu",
        "dataloader_pin_memory": settings.device != "cpu",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **more,
    }


class Stopwatch(TrainerCallback):
    """Seconds from the end of the warm-up to the end of the last step of a segment."""

    def __init__(self, warm_up: int):
        self.warm_up = warm_up
        self.start = self.seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in (self.warm_up, state.max_steps):
            measuring.synchronize()
            now = time.perf_counter()
            self.start, self.seconds = now, now - self.start


class Runner:
    """A trainer that is given one segment after the other; weights and Adam's state stay."""

    def __init__(self, trainer: Trainer, settings: Settings, prepare: Callable[[Segment], Any]):
        self.trainer = trainer
        self.prepare = prepare
        self.watch = Stopwatch(settings.warm_up)
        trainer.add_callback(self.watch)
        trainer.remove_callback(PrinterCallback)

    def seconds(self, segment: Segment) -> float:
        """What the segment's timed steps took."""
        self.trainer.train_dataset = self.prepare(segment)
        self.trainer.train()
        return self.watch.seconds


def runner(name: str, settings: Settings, folder: Path, first: Segment) -> Runner:
    """A variant, ready to train.

    Raises:
        Missing: it needs something that isn't here.
    """
    student = llama(settings.student, settings, seed=2)
    if name in PEER_BETAS:
        return _peer(name, settings, folder, student, first)
    arguments = TrainingArguments(**training_arguments(settings, folder))
    if name == FLOOR:
        trainer = Trainer(student, arguments, train_dataset=first, data_collator=collate)
    else:
        trainer = _ours(name, settings, folder, student, arguments, first)
    return Runner(trainer, settings, lambda segment: segment)


def _ours(
    name: str,
    settings: Settings,
    folder: Path,
    student: nn.Module,
    arguments: TrainingArguments,
    first: Segment,
) -> DistillationTrainer:
    objective, teacher = settings.objective, None
    if name == "evokd_sft":
        objective = "sft"
    elif name in CACHES:
        teacher = CachedTeacher(folder / name)
    else:
        teacher = live_teacher(settings)
    return DistillationTrainer(
        student,
        teacher,
        objective,
        arguments,
        first,
        group_by_length=False,
        packing=name == "live_packed",
    )


def _peer(
    name: str, settings: Settings, folder: Path, student: LlamaForCausalLM, first: Segment
) -> Runner:
    if importlib.util.find_spec("trl") is None:
        raise Missing("TRL isn't installed: pip install trl==1.16.0")
    import datasets
    from transformers import PreTrainedTokenizerFast

    try:
        from trl.experimental.gkd import GKDConfig, GKDTrainer
    except ImportError as error:
        raise Missing(f"TRL {measuring.version('trl')} has no trl.experimental.gkd") from error

    def rows(segment: Segment) -> datasets.Dataset:
        # Token ids as they are: with them and an (unused) prompt its collator tokenizes nothing.
        return datasets.Dataset.from_list(
            [
                {
                    "input_ids": pair["input_ids"],
                    "completion_mask": [int(label != -100) for label in pair["labels"]],
                    "prompt": "",
                }
                for pair in (segment[i] for i in range(len(segment)))
            ]
        )

    arguments = GKDConfig(
        **training_arguments(settings, folder, lmbda=0.0, beta=PEER_BETAS[name]),
        gradient_checkpointing=False,
        max_length=MAX_LENGTH,
    )
    trainer = GKDTrainer(
        model=student,
        teacher_model=live_teacher(settings),
        args=arguments,
        train_dataset=rows(first),
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
    )
    return Runner(trainer, settings, rows)


def write_teacher_cache(
    name: str, settings: Settings, text: EncodedPairs, folder: Path
) -> dict[str, Any]:
    """Run the teacher over all pairs once: how long that took, and how large it has become."""
    teacher = live_teacher(settings)
    contents = cache_spec(teacher, CACHES[name], settings.top_k)
    facts = write_cache(folder / name, teacher, [text], contents, log=say)
    return {
        "seconds": facts["seconds"],
        "response_tokens": facts["tokens"],
        "bytes_per_response_token": facts["bytes_per_token"],
        "mib": facts["mib"],
    }


# --- time -----------------------------------------------------------------------------------------


@dataclass
class Race:
    """Per variant: seconds of its segments, each over the mean of the floor's before and after."""

    seconds: dict[str, list[float]]
    to_floor: dict[str, list[float]]
    response_tokens: list[int]
    """Timed in each segment."""
    missing: dict[str, str]


def race(names: Sequence[str], settings: Settings, folder: Path) -> Race:
    """Segments of every variant, each between two of the floor on the same batches."""
    text = read_text(folder)
    segments = [Segment(text, settings, number) for number in range(settings.segments)]
    found = Race({}, {}, [segment.timed_response_tokens for segment in segments], {})
    runners = {FLOOR: runner(FLOOR, settings, folder, segments[0])}
    for name in names:
        if name == FLOOR:
            continue
        try:
            runners[name] = runner(name, settings, folder, segments[0])
        except Missing as problem:
            found.missing[name] = str(problem)
    found.seconds = {name: [] for name in runners}
    found.to_floor = {name: [] for name in runners if name != FLOOR}
    for number, segment in enumerate(segments):
        say(f"segment {number + 1} of {len(segments)}")
        before = runners[FLOOR].seconds(segment)
        found.seconds[FLOOR].append(before)
        others = list(found.to_floor)
        for name in others if number % 2 == 0 else others[::-1]:
            try:
                own = runners[name].seconds(segment)
            except torch.OutOfMemoryError:  # on a GPU only
                found.missing[name] = measuring.OUT_OF_MEMORY
                del runners[name], found.to_floor[name]
                continue
            after = runners[FLOOR].seconds(segment)
            found.seconds[name].append(own)
            found.to_floor[name].append(2 * own / (before + after))
            before = after
    return found


# --- memory ---------------------------------------------------------------------------------------


def peak_alone(name: str, folder: Path) -> dict[str, Any]:
    """Run by a process of its own: the most memory that one segment of a variant takes."""
    measuring.give_way()
    settings = read_settings(folder)
    text = read_text(folder)
    # What is imported late, thread pools and the like: held before, and no variant's doing.
    toy = Settings(student=(16, 1), vocab=settings.vocab, batch=2, steps=1, device=settings.device)
    toys = Segment(text, toy, 0)
    runner(FLOOR, toy, folder, toys).seconds(toys)
    segments = [Segment(text, settings, number) for number in range(settings.segments)]
    largest = max(segments, key=lambda segment: max(segment.lengths))
    if name in PEER_BETAS:
        import trl.experimental.gkd  # noqa: F401
    with measuring.PeakMemory(settings.device) as memory:
        trained = runner(name, settings, folder, largest)
        trained.seconds(largest)
    return {"peak_mib": None if memory.mib is None else round(memory.mib, 1)}


def write_settings(settings: Settings, folder: Path) -> None:
    (folder / "settings.json").write_text(json.dumps(asdict(settings)), encoding="utf-8")


def read_settings(folder: Path) -> Settings:
    kept = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    return Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})


# --- the whole ------------------------------------------------------------------------------------


def measure(settings: Settings, names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Everything that the table shows and the JSON file holds."""
    say("text")
    text = write_text(settings, folder)
    write_settings(settings, folder)
    caches = {}
    for name in CACHES:
        if name in names:
            say(f"writing the cache of {name}")
            caches[name] = write_teacher_cache(name, settings, read_text(folder), folder)
    ran = race(names, settings, folder)
    gc.collect()
    torch.cuda.empty_cache()  # what follows runs in processes of their own, on the same device
    variants: dict[str, Any] = {}
    for name in dict.fromkeys((FLOOR, *names)):
        if name in ran.missing:
            empty = dict.fromkeys(("response_tokens_per_s", "ratio_to_sft", "peak_mib"))
            variants[name] = {**empty, "reason": ran.missing[name]}
            continue
        say(f"memory of {name}")
        speeds = [n / s for n, s in zip(ran.response_tokens, ran.seconds[name], strict=True)]
        ratios = measuring.spread(ran.to_floor.get(name, [1.0]))
        variants[name] = {
            "response_tokens_per_s": round(measuring.spread(speeds).median, 1),
            "ratio_to_sft": ratios,
            **peak_of(name, folder),
        }
        if name in caches:
            variants[name]["cache"] = caches[name] | payback(name, ran, caches[name])
    return {
        "machine": measuring.machine(),
        "settings": asdict(settings),
        "text": text,
        "variants": variants,
        "aims": aims(ran, variants),
    }


def peak_of(name: str, folder: Path) -> dict[str, Any]:
    """`peak_mib`, with a `memory_problem` where there is none."""
    alone = measuring.run_alone(
        [str(Path(__file__).resolve()), "--alone", name, "--folder", str(folder)], seconds=600
    )
    status = alone.pop("status")
    return alone if status == "ok" else {"peak_mib": None, "memory_problem": status}


def payback(name: str, ran: Race, cache: dict[str, Any]) -> dict[str, Any]:
    """After how many epochs a cache has saved the time that writing it took."""
    if "live" not in ran.to_floor:
        return {}
    timed = sum(ran.response_tokens)
    saved = (sum(ran.seconds["live"]) - sum(ran.seconds[name])) / timed
    written = cache["seconds"] / cache["response_tokens"]
    return {"pays_after_epochs": round(written / saved, 2) if saved > 0 else None}


def aims(ran: Race, variants: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, what was measured, and whether that is enough (None: not measured)."""
    found = []
    for name in CACHES:
        ratio = measuring.spread(ran.to_floor[name]) if name in ran.to_floor else None
        met = None if ratio is None else ratio.median <= 1.15
        found.append(_aim(f"{name}: at most 1.15 × the time of {FLOOR}", ratio, met))
    for peer in PEER_BETAS:
        both = {"live", peer} <= ran.to_floor.keys()
        faster = measuring.ratios(ran.to_floor[peer], ran.to_floor["live"]) if both else None
        met = None if faster is None else faster.median >= 2
        found.append(_aim(f"live: at least 2 × the speed of {peer}", faster, met))
    theirs = variants.get("trl_gkd", {}).get("peak_mib")
    for name in ("live", *CACHES):
        ours = variants.get(name, {}).get("peak_mib")
        share = round(ours / theirs, 3) if ours and theirs else None
        met = None if share is None else share <= 0.5
        found.append(_aim(f"{name}: at most 0.5 × the memory of trl_gkd", share, met))
    return found


def _aim(text: str, measured: Any, met: bool | None) -> dict[str, Any]:
    return {"aim": text, "measured": measured, "met": met}


def show(result: dict[str, Any]) -> None:
    """Machine, table and aims, on the standard output."""
    settings, text = result["settings"], result["text"]
    print(measuring.describe(result["machine"]))
    print(
        f"teacher {settings['teacher'][0]} × {settings['teacher'][1]} layers, student "
        f"{settings['student'][0]} × {settings['student'][1]}, vocabulary {settings['vocab']}, "
        f"batch {settings['batch']}, {settings['dtype']} on {settings['device']}, objective "
        f"{settings['objective']}; {settings['segments']} segments of {settings['steps']} steps; "
        f"{text['response_tokens'] / text['tokens']:.0%} of the tokens are targets, "
        f"{text['padding_share']:.0%} of the positions padding\n"
    )
    rows = []
    for name, found in result["variants"].items():
        note = found.get("reason") or found.get("memory_problem") or ""
        if "cache" in found:
            cache = found["cache"]
            note = (
                f"written in {cache['seconds']:.1f} s, {cache['bytes_per_response_token']:.0f} "
                "bytes a response token"
            )
            if cache.get("pays_after_epochs") is not None:
                note += f", pays for itself after {cache['pays_after_epochs']:.1f} epochs"
        speed, peak = found["response_tokens_per_s"], found["peak_mib"]
        ratio = "1" if name == FLOOR else found["ratio_to_sft"]
        rows.append(
            (
                name,
                None if speed is None else f"{speed:.0f}",
                ratio,
                None if peak is None else f"{peak:.0f}",
                note,
            )
        )
    headers = ("variant", "response tokens/s", f"time ÷ {FLOOR}", "peak MiB", "")
    print(measuring.table(headers, rows), end="\n\n")
    for aim in result["aims"]:
        verdict = {True: "met", False: "missed", None: "not measured"}[aim["met"]]
        measured = "" if aim["measured"] is None else f": {aim['measured']}"
        print(f"{verdict:<12}  {aim['aim']}{measured}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _be_quiet() -> None:
    """Progress bars and advice of the libraries would stand between our own lines."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(trl|transformers|accelerate|torch)\b.*")


def arguments_of(argv: Sequence[str] | None = None) -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def pair(text: str) -> tuple[int, int]:
        width, layers = text.split(",")
        return int(width), int(layers)

    size = {"type": pair, "metavar": "WIDTH,LAYERS"}
    parser.add_argument("--teacher", default=default.teacher, **size)
    parser.add_argument("--student", default=default.student, **size)
    for name in ("vocab", "batch", "steps", "segments", "warm_up", "top_k"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, default=getattr(default, name))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=default.dtype)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    teachable = [name for name, spec in OBJECTIVES.items() if spec.needs_teacher]
    parser.add_argument("--objective", choices=teachable, default=default.objective)
    parser.add_argument("--train", default=default.train, help="Moses prefix, or another source")
    parser.add_argument("-l", "--languages", default="en-de")
    parser.add_argument("--only", default=",".join(VARIANTS), help="variants, with commas")
    parser.add_argument("--json", metavar="FILE", help="write the result here as well")
    parser.add_argument("--alone", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args(argv)
    found.only = found.only.split(",")
    for name in found.only:
        if name not in VARIANTS:
            parser.error(f"unknown variant {name!r}; accepted: {', '.join(VARIANTS)}")
    if min(found.steps, found.segments, found.warm_up, found.batch) < 1:
        parser.error("steps, segments, warm-up and batch are 1 or more")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    asked = vars(arguments_of(argv))
    _be_quiet()
    alone, folder, only, file = (asked.pop(name) for name in ("alone", "folder", "only", "json"))
    if alone:
        print(json.dumps(peak_alone(alone, folder)))
        return
    source, target = asked.pop("languages").split("-")
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(**asked, languages=(source, target))
        result = measure(settings, only, Path(scratch))
    show(result)
    if file:
        measuring.write_json(file, result)


if __name__ == "__main__":
    main()
