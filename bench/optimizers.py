"""What optimizers and number formats of weights hold in memory, and what they do to learning.

    python bench/optimizers.py --json optimizers.json
    python bench/optimizers.py --rate 1e-3 --steps 200

A small Llama is trained on the phrasebook with AdamW in float32: the start, one for each seed.
Each variant goes on from it with the same pairs in the same order, in a process of its own,
adapters at ten times the rate. "plain bfloat16" is what a recipe refuses.

    bytes      of weights, of gradients and of the optimizer's state, by parameter of the model
    peak       memory held at the worst moment of training, model and all, beyond what a step of
               such a training had left in the libraries before, in MiB
    NLL        of the reference, nats a token of validation: mean and range over seeds
    progress   of the NLL since the start, as a share of what float32 made of it
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import measuring
import torch
from transformers import TrainingArguments

from evokd import DistillationTrainer
from evokd.data.pairs import Pair
from evokd.data.phrasebook import phrasebook
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.distil.train.optimizers import optimizer_of
from evokd.models.adapters import add_adapters
from evokd.models.encoded import encode_corpus
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.recipe.models import FreshModel, LoraSettings
from evokd.recipe.training import TrainingSettings

LARGER_RATE = 10
"""Of adapters, as is usual."""


@dataclass(frozen=True)
class Variant:
    optimizer: str
    weights: str
    rank: int = 0


VARIANTS = {
    "adamw": Variant("adamw", "float32"),
    "adamw_8bit": Variant("adamw_8bit", "float32"),
    "adamw_kahan": Variant("adamw_kahan", "bfloat16"),
    "adamw_8bit_kahan": Variant("adamw_8bit_kahan", "bfloat16"),
    "plain bfloat16": Variant("adamw", "bfloat16"),
    "lora": Variant("adamw", "float32", rank=16),
    "lora, bfloat16": Variant("adamw", "bfloat16", rank=16),
}


@dataclass(frozen=True)
class Settings:
    width: int = 128
    layers: int = 2
    vocab: int = 4096
    batch: int = 32
    start_steps: int = 300
    steps: int = 300
    rate: float = 2e-5
    seed: int = 1


def data_of(settings: Settings) -> tuple[Any, Any, Any]:
    """Training and validation pairs as ids, and their tokenizer."""
    texts = {part: phrasebook(part, count) for part, count in (("train", 4000), ("valid", 200))}
    words = [one[code] for one in texts["train"] for code in ("en", "de")]
    tokenizer = train_tokenizer(words, settings.vocab, prompt_tags(["en", "de"]))
    prompt, sets = load_prompt("compact"), []
    for part, lines in texts.items():
        pairs = [Pair(one["en"], one["de"], "en", "de", part) for one in lines]
        sets.append(encode_corpus(pairs, tokenizer, prompt, 128)[0])
    return sets[0], sets[1], tokenizer


def trainer_of(
    model: Any, settings: Settings, steps: int, rate: float, data: tuple[Any, Any, Any], own: Any
) -> DistillationTrainer:
    args = TrainingArguments(
        tempfile.mkdtemp(),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        learning_rate=rate,
        lr_scheduler_type="constant",
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return DistillationTrainer(
        model, None, "sft", args, data[0], eval_dataset=data[1], optimizer_cls_and_kwargs=own
    )


def start_of(settings: Settings, data: tuple[Any, Any, Any]) -> Any:
    shape = FreshModel(hidden_size=settings.width, layers=settings.layers, heads=4)
    model = fresh_model(shape, data[2], settings.seed)
    trainer_of(model, settings, settings.start_steps, 3e-3, data, None).train()
    return model


def prepared(
    variant: Variant, settings: Settings, start: Path, data: tuple[Any, Any, Any], steps: int
) -> DistillationTrainer:
    """A training of the start that hasn't begun."""
    shape = FreshModel(hidden_size=settings.width, layers=settings.layers, heads=4)
    model: Any = fresh_model(shape, data[2], settings.seed)
    model.load_state_dict(torch.load(start))
    model.to(getattr(torch, variant.weights))
    rate = settings.rate
    if variant.rank:
        rate *= LARGER_RATE
        model = add_adapters(model, LoraSettings(rank=variant.rank), settings.seed)
    known = {"optimizer": variant.optimizer, "learning_rate": rate}
    own = optimizer_of(TrainingSettings.model_validate(known))
    return trainer_of(model, settings, steps, rate, data, own)


def measured(variant: Variant, settings: Settings, start: Path) -> dict[str, Any]:
    """One training, in this process."""
    data = data_of(settings)
    prepared(variant, settings, start, data, steps=1).train()
    with measuring.PeakMemory("cuda" if torch.cuda.is_available() else "cpu") as memory:
        made = prepared(variant, settings, start, data, settings.steps)
        before = made.evaluate()["eval_loss"]
        made.train()
    model: Any = made.student
    own = (weight for name, weight in model.named_parameters() if "lora_" not in name)
    parameters = sum(weight.numel() for weight in own)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    state = [one for each in made.optimizer.state.values() for one in each.values()]
    held = {
        "weights": sum(weight.nbytes for weight in model.parameters()),
        "gradients": sum(weight.nbytes for weight in trained),
        "state": sum(one.nbytes for one in state if isinstance(one, torch.Tensor)),
    }
    return {
        **{name: size / parameters for name, size in held.items()},
        "parameters": parameters,
        "peak_mib": memory.mib,
        "nll": made.evaluate()["eval_loss"],
        "nll_before": before,
    }


def row_of(name: str, runs: list[dict[str, Any]], exact: list[dict[str, Any]]) -> list[Any]:
    parts = [f"{runs[0][part]:.2f}" for part in ("weights", "gradients", "state")]
    total = sum(runs[0][part] for part in ("weights", "gradients", "state"))
    losses = [run["nll"] for run in runs]
    progress = fmean(
        (run["nll_before"] - run["nll"]) / (base["nll_before"] - base["nll"])
        for run, base in zip(runs, exact, strict=True)
    )
    peaks = [run["peak_mib"] for run in runs if run["peak_mib"] is not None]
    return [
        *(name, *parts, f"{total:.1f}", f"{min(peaks):.0f}" if peaks else None),
        f"{fmean(losses):.4f} ({min(losses):.4f}–{max(losses):.4f})",
        f"{progress:.0%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, usual in asdict(Settings()).items():
        if name != "seed":
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(usual), default=usual)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=Path, help="write all that was measured")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    known = {name: value for name, value in vars(args).items() if name in asdict(Settings())}
    if args.alone:
        name, seed, start = args.alone
        measuring.give_way()
        settings = Settings(**known, seed=int(seed))
        measuring.report(measured(VARIANTS[name], settings, Path(start)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in args.variants}
    flags = [
        part
        for name, value in known.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            settings, start = Settings(**known, seed=seed), Path(folder) / f"{seed}.pt"
            torch.save(start_of(settings, data_of(settings)).state_dict(), start)
            for name, runs in found.items():
                alone = ["--alone", name, str(seed), str(start)]
                print(f"seed {seed}: {name} …", file=sys.stderr, flush=True)
                runs.append(measuring.run_alone([__file__, *flags, *alone]))
                if runs[-1]["status"] != "ok":
                    sys.exit(f"{name}: {runs[-1]['status']}")
    print(measuring.describe(measuring.machine()))
    exact = found.get("adamw") or next(iter(found.values()))
    print(f"{exact[0]['parameters'] / 1e6:.2f}M parameters, {args.steps} steps at {args.rate:g}, ")
    print(f"NLL at the start {fmean(run['nll_before'] for run in exact):.4f}\n")
    headings = [
        "bytes a parameter",
        "weights",
        "gradients",
        "state",
        "all",
        "peak",
        "NLL",
        "progress",
    ]
    print(measuring.table(headings, [row_of(name, runs, exact) for name, runs in found.items()]))
    if args.json:
        content = {"machine": measuring.machine(), "settings": known, "results": found}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
