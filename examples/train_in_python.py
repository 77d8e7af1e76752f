"""Distillation in plain Python, no recipe: a toy language and two tiny Llamas, made on the spot."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from evokd import DistillationTrainer

WORDS, LENGTH, TURN, END = 32, 4, 0, 1  # ids of words begin at 2
SHOWN = ("step", "loss", "student_nll", "noevo_loss", "hard_share")


def corpus(count, seed):
    """Sources and translations: word for word, but one time in five by a word's neighbour."""
    random = torch.Generator().manual_seed(seed)
    source = torch.randint(WORDS, (count, LENGTH), generator=random)
    neighbour = torch.rand(source.shape, generator=random) < 0.2
    target = (source * 5 + neighbour) % WORDS
    return [
        {"input_ids": [*s, TURN, *t, END], "labels": [-100] * (LENGTH + 1) + [*t, END]}
        for s, t in zip((source + 2).tolist(), (target + 2).tolist(), strict=True)
    ]


def model(width, seed):
    torch.manual_seed(seed)
    sizes = {"vocab_size": WORDS + 2, "hidden_size": width, "intermediate_size": 2 * width}
    depth = {"num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 16}
    return LlamaForCausalLM(LlamaConfig(**sizes, **depth, tie_word_embeddings=True))


def train(student, teacher, objective, steps):
    """Train `student` in place; what is returned was measured on sentences it hasn't seen."""
    args = TrainingArguments(
        "runs/toy", max_steps=steps, per_device_train_batch_size=64, learning_rate=8e-3,
        logging_steps=20, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = DistillationTrainer(student, teacher, objective, args, corpus(4096, seed=1))
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for line in (line for line in trainer.state.log_history if "loss" in line):
        print("  ".join(f"{key} {line[key]:.4g}" for key in SHOWN if key in line))
    return {key: round(value, 4) for key, value in trainer.evaluate(corpus(256, seed=2)).items()}


if __name__ == "__main__":
    teacher, student = model(width=64, seed=1), model(width=32, seed=2)
    print("teacher", train(teacher, None, "sft", steps=100))
    print("warm start", train(student, teacher, "sft", steps=60))
    print("student", train(student, teacher, "self_evolution", steps=80))
