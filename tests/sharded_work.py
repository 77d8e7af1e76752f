"""Trainings that `test_sharding.py` runs in one process and in two.

    sharded_work.py FOLDER [resume]

Two processes hold a part of student and teacher each; one has both whole. The first process writes
FOLDER/JOB.pt: gradients of the first step, weights at the end, what was logged, what was saved.
"""

import gc
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainingArguments

from evokd import DistillationTrainer, processes
from evokd.distil.teacher.precompute import cache_spec, write_cache
from evokd.distil.teacher.signal import CachedTeacher
from evokd.distil.train.on_policy import OnPolicy
from evokd.distil.train.schedules import running_quantile
from evokd.distil.train.sharded_checkpoints import load_weights
from evokd.models import zero3
from evokd.models.adapters import add_adapters, merge_adapters
from evokd.models.sharding import load_sharded, whole_weights
from evokd.recipe.methods import OnPolicySettings
from evokd.recipe.models import LoraSettings
from evokd.recipe.objectives import BUILT_IN, objective_settings
from evokd.translate.sampling import TokenSampler
from tiny import copy_task, tiny_llama

TIED = dict(tie_word_embeddings=True)
UNTIED = dict(tie_word_embeddings=False)
JOBS = {
    **{name: {"objective": name} for name in sorted(BUILT_IN)},
    "untied": {"objective": "self_evolution", "student": UNTIED},
    "untied_sft": {"objective": "sft", "student": UNTIED},
    "by_sequence": {"objective": "forward_kd", "reduction": "sequence"},
    "packed": {"objective": "noevo", "packing": True},
    "accumulated": {"objective": "self_evolution", "accumulation": 2},
    "checkpointed": {"objective": "noevo", "student": {**UNTIED, "checkpointing": True}},
    "cached": {"objective": "self_evolution", "cached": True},
    "gated": {"objective": "self_evolution", "gate": True},
    "own_text": {"objective": "jsd", "on_policy": True, "student": UNTIED},
    "resumed": {"objective": "skew", "steps": 6, "save": 3},
    "resumed_sft": {"objective": "sft", "steps": 6, "save": 3, "optim": "adamw_torch"},
    "adapted": {"objective": "self_evolution", "lora": True, "student": UNTIED},
    "adapted_tied": {"objective": "jsd", "lora": True, "on_policy": True},
    "resumed_adapted": {"objective": "noevo", "lora": True, "steps": 6, "save": 3},
    "best": {"objective": "noevo", "steps": 4, "save": 1, "best": True},
}


class FirstGradients(TrainerCallback):
    """Those of the first optimizer step, whole."""

    def __init__(self):
        self.whole = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            gradients = {name: p.grad for name, p in model.named_parameters()}
            self.whole = {
                name: g.full_tensor() if hasattr(g, "full_tensor") else g.clone()
                for name, g in gradients.items()
                if g is not None
            }


def model(sharded, seed, checkpointing=False, **shape):
    def load():
        return tiny_llama(seed, num_hidden_layers=2, **{**TIED, **shape})

    made = load_sharded(load, torch.device("cpu")) if sharded else load()
    if checkpointing:
        made.gradient_checkpointing_enable()
    return made


def whole(student):
    sharded = processes.count() > 1
    return whole_weights(student) if sharded else dict(student.named_parameters())


def teacher_of(sharded, folder, cached):
    made = model(sharded and not cached, 2, hidden_size=24)
    if not cached:
        if zero3.is_partitioned(made):
            zero3.make_callable(made)
        return made
    data = [*copy_task(64), *copy_task(10, seed=4)]
    place = folder / f"cache{os.environ.get('RANK', '')}"
    write_cache(place, made, [data], cache_spec(made, "hidden"), log=lambda text: None)
    return CachedTeacher(place)


def work(name, folder, resume):
    options = dict(JOBS[name])
    sharded = processes.count() > 1
    accumulation = options.pop("accumulation", 1)
    steps, save, best = (options.pop(key, None) for key in ("steps", "save", "best"))
    arguments = TrainingArguments(
        str(folder / name),
        max_steps=steps or 2,
        per_device_train_batch_size=4,
        # The same micro-batches, one after the other or side by side.
        gradient_accumulation_steps=accumulation * (1 if sharded else 2),
        learning_rate=0.5 if "optim" not in options else 1e-3,
        optim=options.pop("optim", "sgd"),
        max_grad_norm=0.5,
        lr_scheduler_type="linear",
        use_cpu=True,
        report_to=[],
        save_strategy="steps" if save else "no",
        save_steps=save or 1,
        eval_strategy="steps" if best else "no",
        eval_steps=1,
        load_best_model_at_end=bool(best),
        disable_tqdm=True,
        logging_steps=1,
    )
    objective = options.pop("objective")
    if options.pop("gate", False):
        options["parts"] = {"gate": running_quantile(0.5, memory=30)}
    if options.pop("on_policy", False):
        own = OnPolicySettings(share=1.0, every=2)
        options["on_policy"] = OnPolicy(own, TokenSampler((1,)))
        options["settings"] = objective_settings(objective, lam=1.0)
    gradients = FirstGradients()
    student = model(sharded, 1, **options.pop("student", {}))
    lora = options.pop("lora", False)
    if lora:
        student = add_adapters(student, LoraSettings(rank=4, alpha=32), seed=5)
    trainer = DistillationTrainer(
        model=student,
        teacher=teacher_of(sharded, folder, options.pop("cached", False)),
        objective=objective,
        args=arguments,
        train_dataset=copy_task(64),
        eval_dataset=copy_task(10, seed=4),
        callbacks=[gradients],
        **options,
    )
    trainer.train(resume_from_checkpoint=str(folder / name / "checkpoint-3") if resume else None)
    looks = trainer.evaluate()
    trainer.save_model(str(folder / name / "saved"))
    if lora:
        student = merge_adapters(student, torch.float32)
    weights = whole(student)
    loaded = {}
    if save and not lora:
        again = model(sharded, 3)
        load_weights(again, folder / name / f"checkpoint-{trainer.state.best_global_step or steps}")
        loaded = whole(again)
    if trainer.args.process_index == 0:
        history = [line for line in trainer.state.log_history if "loss" in line]
        (file,) = (folder / name / "saved").glob("*model.safetensors")
        saved = load_file(file)
        made = {"gradients": gradients.whole, "weights": weights, "saved": saved, "loaded": loaded}
        torch.save(made | {"history": history, "looks": looks}, folder / f"{name}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # what was imported: each training collects garbage twice
    for job in os.environ.get("ONLY", "").split() or JOBS:
        if len(sys.argv) == 2 or job.startswith("resumed"):
            work(job, Path(sys.argv[1]), resume=len(sys.argv) > 2)
    processes.leave(0)
