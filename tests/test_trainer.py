"""DistillationTrainer: the same weights however a batch is cut, resumed or spread."""

import json
import math
import os
import runpy
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from evokd import DistillationTrainer, token_loss
from evokd.distil.train.method_state import MethodPart, RankingHistory
from evokd.distil.train.schedules import ProgressiveBeta, linear
from evokd.recipe.objectives import IGNORED, objective_settings
from tiny import copy_task, tiny_llama

HERE = Path(__file__).parent


def trained(
    folder,
    *,
    objective="self_evolution",
    batch=8,
    accumulation=1,
    steps=4,
    student=None,
    teacher=None,
    data=None,
    **more,
):
    """A tiny student after some steps of plain SGD, so that a wrong loss scale would show."""
    known = {"learning_rate": 0.5, "optim": "sgd", "max_grad_norm": 100.0}
    known |= {k: more.pop(k) for k in list(more) if k in known or k in ("seed", "save_steps")}
    args = TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        **known,
    )
    student = student or tiny_llama(1)
    made = DistillationTrainer(
        model=student,
        teacher=None if objective == "sft" else teacher or tiny_llama(2, hidden_size=24),
        objective=objective,
        args=args,
        train_dataset=copy_task(64) if data is None else data,
        **more,
    )
    made.train()
    return student, made


def assert_same_weights(one, other, **tolerance):
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=lambda m, name=name: f"{name}: {m}", **tolerance)


@pytest.mark.parametrize("objective", ["sft", "noevo", "self_evolution"])
@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_one_step_is_the_gradient_of_the_mean_loss(tmp_path, objective, reduction):
    """Against autograd on full logits, batch of all pairs, plain SGD."""
    student, teacher = tiny_llama(1), tiny_llama(2, hidden_size=24)
    examples = copy_task(16)
    losses = []
    for example in examples:
        ids = torch.tensor([example["input_ids"]])
        labels = torch.tensor(example["labels"])[1:]
        said = teacher(ids).logits[0, :-1].detach()
        per_token = token_loss(objective, student(ids).logits[0, :-1], said, labels)
        losses.append(per_token[labels != IGNORED])
    if reduction == "token":
        loss = torch.cat(losses).mean()
    else:
        loss = torch.stack([one.mean() for one in losses]).mean()
    expected = [
        p.detach() - 0.5 * g
        for p, g in zip(
            student.parameters(), torch.autograd.grad(loss, list(student.parameters())), strict=True
        )
    ]
    found, trainer = trained(
        tmp_path,
        objective=objective,
        batch=16,
        steps=1,
        reduction=reduction,
        chunk_tokens=20,
        data=examples,
    )
    for parameter, wanted in zip(found.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter, wanted)
    logged = next(line for line in trainer.state.log_history if "loss" in line)
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize("objective", ["sft", "self_evolution"])
def test_1_by_8_equals_8_by_1(tmp_path, objective, reduction):
    more = {"objective": objective, "reduction": reduction}
    one, a = trained(tmp_path / "a", batch=8, accumulation=1, **more)
    other, b = trained(tmp_path / "b", batch=1, accumulation=8, **more)
    assert_same_weights(one, other, rtol=1e-4, atol=1e-6)
    ends = [[line["loss"] for line in t.state.log_history if "loss" in line] for t in (a, b)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_the_wrong_scale_would_have_shown(tmp_path):
    """The test above can fail: a mean of micro-batch means trains to other weights."""
    from transformers import Trainer

    class Unscaled(DistillationTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            mean = super().compute_loss(model, inputs, return_outputs, None)
            return mean / self.args.gradient_accumulation_steps

    assert issubclass(Unscaled, Trainer)
    students = []
    for batch, accumulation in [(8, 1), (1, 8)]:
        students.append(tiny_llama(1))
        args = TrainingArguments(
            str(tmp_path),
            max_steps=4,
            per_device_train_batch_size=batch,
            use_cpu=True,
            gradient_accumulation_steps=accumulation,
            lr_scheduler_type="constant",
            optim="sgd",
            learning_rate=0.5,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        Unscaled(
            model=students[-1], objective="sft", args=args, train_dataset=copy_task(64)
        ).train()
    with pytest.raises(AssertionError):
        assert_same_weights(*students, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(tmp_path):
    """A pair alone and the same pair beside longer ones: the same loss, to rounding."""
    trainer = trained(tmp_path, steps=1)[1]
    trainer.model.eval()
    examples = copy_task(16, seed=5)
    together = trainer.statistics_on(examples).sums
    apart = [trainer.statistics_on([example]).sums for example in examples]
    for name, total in together.items():
        assert sum(one[name] for one in apart).item() == pytest.approx(total.item(), rel=1e-5)


def test_end_token_counts_and_prompt_does_not(tmp_path):
    trainer = trained(tmp_path, steps=1)[1]
    example = copy_task(1, seed=9)[0]
    tokens = trainer.statistics_on([example]).sums["tokens"]
    assert tokens.item() == sum(label != IGNORED for label in example["labels"])
    without_end = {**example, "labels": [*example["labels"][:-1], IGNORED]}
    assert trainer.statistics_on([without_end]).sums["tokens"].item() == tokens.item() - 1


def test_forward_kd_and_noevo_train_to_the_same_student(tmp_path):
    one, _ = trained(tmp_path / "a", objective="forward_kd")
    other, _ = trained(tmp_path / "b", objective="noevo")
    assert_same_weights(one, other, rtol=1e-4, atol=1e-6)


def test_the_teacher_is_left_alone(tmp_path):
    teacher = tiny_llama(2, hidden_size=24)
    before = [p.clone() for p in teacher.parameters()]
    trained(tmp_path, teacher=teacher)
    for parameter, old in zip(teacher.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None


def test_progressive_beta_follows_the_steps(tmp_path):
    seen = []

    class Watch(DistillationTrainer):
        def settings_now(self):
            seen.append(super().settings_now().beta)
            return super().settings_now()

    args = TrainingArguments(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    Watch(
        model=tiny_llama(1),
        teacher=tiny_llama(2),
        objective="skew",
        args=args,
        train_dataset=copy_task(64),
        parts={"beta": ProgressiveBeta(linear(0.5, 0.0))},
    ).train()
    assert seen == pytest.approx([0.5, 0.375, 0.25, 0.125])


def test_both_readings_of_progressive_beta():
    assert [linear(0.5, 0.0, "student")(t) for t in (0, 0.5, 1)] == [0.5, 0.25, 0.0]
    assert [linear(0.5, 0.0, "target")(t) for t in (0, 0.5, 1)] == [0.5, 0.75, 1.0]


def test_logs_what_a_distiller_watches(tmp_path):
    lines = [x for x in trained(tmp_path, steps=2)[1].state.log_history if "loss" in x]
    for line in lines:
        assert {
            "noevo_loss",
            "student_nll",
            "teacher_nll",
            "hard_share",
            "mean_difficulty",
            "loss_share_hard",
            "loss_share_easy",
            "grad_share_hard",
            "grad_share_easy",
            "tokens_per_s",
            "response_tokens_per_s",
            "padding_share",
        } <= line.keys()
        assert 0 <= line["hard_share"] <= 1


@pytest.mark.parametrize("accumulation", [1, 2])
def test_counts_padding_and_two_kinds_of_tokens(tmp_path, accumulation):
    """All 64 pairs in each step, so that the rectangle is known."""
    made = trained(
        tmp_path, steps=1, batch=64 // accumulation, accumulation=accumulation, objective="sft"
    )[1]
    line = next(line for line in made.state.log_history if "loss" in line)
    lengths = sorted(len(example["input_ids"]) for example in copy_task(64))
    size = 64 // accumulation
    # One group is one step: it isn't sorted inside where there is only one of it.
    order = [len(copy_task(64)[i]["input_ids"]) for i in made._get_train_sampler()]
    laid_out = sum(size * max(order[i : i + size]) for i in range(0, 64, size))
    assert line["padding_share"] == pytest.approx(1 - sum(lengths) / laid_out)
    responses = sum(label != IGNORED for e in copy_task(64) for label in e["labels"])
    ratio = line["tokens_per_s"] / line["response_tokens_per_s"]
    assert ratio == pytest.approx(sum(lengths) / responses, rel=0.01)


def test_validation_goes_from_long_to_short(tmp_path):
    """An order of its own would change nothing but how much is padding."""
    made = trained(tmp_path, steps=1, batch=8)[1]
    examples = copy_task(40, seed=6, longest=12)
    widths = [b["input_ids"].shape[1] for b in made.get_eval_dataloader(examples)]
    assert widths == sorted((len(e["input_ids"]) for e in examples), reverse=True)[::8]


def test_sft_logs_the_common_curve_where_there_is_a_teacher(tmp_path):
    args = TrainingArguments(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=2,
    )
    made = DistillationTrainer(
        model=tiny_llama(1),
        teacher=tiny_llama(2),
        objective="sft",
        args=args,
        train_dataset=copy_task(64),
    )
    made.train()
    lines = [x for x in made.state.log_history if "loss" in x]
    assert len(lines) == 2
    # A mean over the compared tokens alone: the teacher's NLL on any batch of these is near ln 40,
    # and would be half of it if steps without a teacher were counted as well.
    for line in lines:
        assert line["teacher_nll"] == pytest.approx(math.log(40), abs=0.3)
        assert line["student_nll"] == pytest.approx(math.log(40), abs=0.3)


def test_evaluation_is_a_mean_over_tokens(tmp_path):
    examples = copy_task(10, seed=3)
    made = trained(tmp_path, steps=1, eval_dataset=examples)[1]
    total, count = 0.0, 0
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor(example["labels"])[1:]
        total += token_loss("sft", made.model(ids).logits[0, :-1], None, labels).sum().item()
        count += int((labels != IGNORED).sum())
    assert made.evaluate()["eval_loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_wider_teacher_is_refused_without_a_shared_vocabulary(tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(ValueError, match="vocabulary has 40 entries, the teacher's 48"):
        DistillationTrainer(
            model=tiny_llama(1),
            teacher=tiny_llama(2, vocab_size=48),
            args=args,
            train_dataset=copy_task(8),
        )
    with pytest.raises(ValueError, match="needs a teacher; only sft"):
        DistillationTrainer(
            model=tiny_llama(1), objective="noevo", args=args, train_dataset=copy_task(8)
        )


def test_a_padded_teacher_is_cut_to_the_shared_vocabulary(tmp_path):
    wide = tiny_llama(2, vocab_size=48)
    narrow = tiny_llama(3)
    narrow.load_state_dict(
        {k: v[:40] if v.shape[0] == 48 else v for k, v in wide.state_dict().items()}
    )
    one, _ = trained(tmp_path / "a", teacher=wide, vocabulary_size=40)
    other, _ = trained(tmp_path / "b", teacher=narrow)
    assert_same_weights(one, other)


JOBS = [
    (name, by) for name in ("sft", "self_evolution", "forward_kd") for by in ("token", "sequence")
]


def test_1_process_equals_2(tmp_path, monkeypatch):
    script = tmp_path / "work.py"
    script.write_text(
        textwrap.dedent(f"""
        import gc
        import sys
        sys.path.insert(0, {str(HERE)!r})
        import torch
        from evokd_extras.beta_network import BetaNetwork, PredictedBeta
        from evokd.distil.train.schedules import running_quantile
        from evokd.recipe.objectives import objective_settings
        from evokd.distil.train.on_policy import OnPolicy
        from evokd.recipe.methods import OnPolicySettings
        from test_trainer import copy_task, trained
        torch.set_num_threads(1)
        gc.freeze()  # what was imported: each training collects garbage

        def backwards(model, prompts, caps, temperature, seeds):
            return [[seed % 40, *prompt[::-1], 1][:cap]
                    for prompt, cap, seed in zip(prompts, caps, seeds)]

        def options_of(name):
            if name == "self_evolution":
                return {{"parts": {{"gate": running_quantile(0.5, memory=30)}}}}
            if name == "forward_kd":
                own = OnPolicySettings(share=0.6, every=3)
                return {{"on_policy": OnPolicy(own, backwards),
                         "settings": objective_settings(name, lam=1.0)}}
            return {{}}

        per_device, folder = int(sys.argv[1]), sys.argv[2]
        for job in {JOBS!r}:
            objective, reduction = job
            # Two processes lay out what they have in rows of their own.
            student, made = trained(folder, objective=objective, batch=per_device,
                                    reduction=reduction, packing=per_device == 4,
                                    **options_of(objective))
            # 10 pairs in batches of 8: two processes fill up the last batch with repeats. And 1
            # pair: one of the processes sees nothing but repeats.
            looks = [made.evaluate(copy_task(count, seed=4)) for count in (10, 1)]
            if made.args.process_index == 0:
                line = [x for x in made.state.log_history if "loss" in x][-1]
                for i, look in enumerate(looks):
                    line |= {{f"{{name}} {{i}}": value for name, value in look.items()}}
                torch.save((student.state_dict(), line), f"{{folder}}/{{'.'.join(job)}}.pt")
        network = BetaNetwork(1)
        parts = {{"betas": PredictedBeta(network)}}
        student, made = trained(folder, objective="skew", batch=per_device, parts=parts)
        mine = torch.cat([p.detach().flatten() for p in network.parameters()])
        assert len(made.devices.gathered(mine).view(-1, len(mine)).unique(dim=0)) == 1
        assert mine[-1] != 0  # it has learned
    """)
    )
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "argv", [str(script), "8", str(tmp_path / "one")])
    runpy.run_path(str(script))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    meeting = ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [*launcher, *meeting, str(script), "4", str(tmp_path / "two")]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    for job in JOBS:
        (a, line_a), (b, line_b) = (
            torch.load(tmp_path / name / f"{'.'.join(job)}.pt") for name in ("one", "two")
        )
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
        assert line_a.keys() == line_b.keys()
        layout = {"tokens_per_s", "response_tokens_per_s", "padding_share"}
        for key in line_a.keys() - layout - {"learning_rate"}:
            assert line_a[key] == pytest.approx(line_b[key], rel=1e-4), key


def test_metrics_are_json(tmp_path):
    _, made = trained(tmp_path, steps=1)
    json.dumps(made.state.log_history, allow_nan=False)


def test_settings_reach_the_objective(tmp_path):
    settings = objective_settings("self_evolution", gamma=1e9)
    one, _ = trained(tmp_path / "a", settings=settings)
    other, _ = trained(tmp_path / "b", objective="noevo")
    assert_same_weights(one, other)
    same, _ = trained(tmp_path / "c", gamma=1e9)
    assert_same_weights(one, same)
    with pytest.raises(ValueError, match="gate is a setting of self_evolution"):
        trained(tmp_path, objective="noevo", gate="vouched")
    with pytest.raises(ValueError, match="found settings and gamma; one of them is accepted"):
        trained(tmp_path, settings=settings, gamma=1.0)


def test_a_function_needs_a_teacher_only_if_it_asks_for_one(tmp_path):
    args = TrainingArguments(
        str(tmp_path), max_steps=1, use_cpu=True, report_to=[], save_strategy="no"
    )

    def trainer(objective):
        return DistillationTrainer(
            model=tiny_llama(1), objective=objective, args=args, train_dataset=copy_task(8)
        )

    trainer(lambda t: t.nll**2).train()
    with pytest.raises(ValueError, match="needs the teacher's logits"):
        trainer(lambda t: t.difficulty).train()


def test_a_step_without_targets_does_no_harm(tmp_path):
    examples = [{**one, "labels": [IGNORED] * len(one["labels"])} for one in copy_task(64)]
    trainer = trained(tmp_path, steps=1)[1]
    trainer.model.train().zero_grad()
    batches, amount = trainer.get_batch_samples(
        iter([trainer.data_collator(examples)]), 1, trainer.args.device
    )
    trainer.compute_loss(trainer.model, batches[0], num_items_in_batch=amount).backward()
    assert all((p.grad == 0).all() for p in trainer.model.parameters())


@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize("packing", [False, True])
def test_weights_of_pairs_multiply_their_losses(tmp_path, reduction, packing):
    """Against autograd on full logits; what the loss is divided by doesn't depend on them."""
    student, teacher = tiny_llama(1), tiny_llama(2, hidden_size=24)
    examples = [{**one, "weight": 0.25 * (i % 9)} for i, one in enumerate(copy_task(16))]
    terms, count = [], 0
    for example in examples:
        ids = torch.tensor([example["input_ids"]])
        labels = torch.tensor(example["labels"])[1:]
        said = teacher(ids).logits[0, :-1].detach()
        loss = token_loss("noevo", student(ids).logits[0, :-1], said, labels)
        tokens = int((labels != IGNORED).sum())
        terms.append(example["weight"] * loss.sum() / (1 if reduction == "token" else tokens))
        count += tokens if reduction == "token" else 1
    loss = torch.stack(terms).sum() / count
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    for batch, accumulation in [(16, 1), (4, 4)]:
        found, made = trained(
            tmp_path,
            objective="noevo",
            batch=batch,
            accumulation=accumulation,
            steps=1,
            reduction=reduction,
            packing=packing,
            data=examples,
        )
        assert made.packing == packing
        for new, old, gradient in zip(
            found.parameters(), student.parameters(), gradients, strict=True
        ):
            torch.testing.assert_close(new, old.detach() - 0.5 * gradient)


def test_weights_of_1_are_none(tmp_path):
    one, _ = trained(tmp_path / "a", data=[{**e, "weight": 1.0} for e in copy_task(64)])
    other, _ = trained(tmp_path / "b")
    assert_same_weights(one, other, rtol=0, atol=0)


class Notebook(MethodPart):
    """A Γ rule that writes down what it is asked and told."""

    def __init__(self):
        self.asked, self.told, self.steps = [], [], 0

    def settings(self, settings, progress):
        self.asked.append(progress)
        return settings.model_copy(update={"gamma": progress})

    def prepare(self, inputs):
        if not inputs.learns:
            return inputs
        observers = (*inputs.options.observers, lambda stats: self.told.append(len(stats.loss)))
        return replace(inputs, options=replace(inputs.options, observers=observers))

    def step_done(self, gather=None):
        self.steps += 1
        assert gather is None

    def metrics(self, settings, all_reduce):
        return {"gamma": settings.gamma}


def test_a_gate_sets_gamma_and_sees_training_tokens_only(tmp_path):
    gate = Notebook()
    _, made = trained(tmp_path, parts={"gate": gate}, accumulation=2, steps=4, batch=4)
    assert gate.steps == 4
    assert sorted(set(gate.asked)) == [0, 0.25, 0.5, 0.75, 1.0]  # the last one for the log
    logged = [line for line in made.state.log_history if "gamma" in line]
    assert [line["gamma"] for line in logged] == [0.25, 0.5, 0.75, 1.0]
    assert sum(gate.told) == sum(
        sum(label != IGNORED for label in copy_task(64)[i]["labels"])
        for i in list(made._get_train_sampler())[:32]
    )
    told = len(gate.told)
    made.evaluate(copy_task(16, seed=3))
    assert len(gate.told) == told
    assert gate.asked[-1] == 1.0


def test_betas_are_predicted_for_each_batch_and_taught_once_a_step(tmp_path):
    calls, seeds = [], []

    class Network(MethodPart):
        def prepare(self, inputs):
            if not inputs.learns:
                return inputs
            calls.append(("asked", len(inputs.batch), inputs.progress))
            betas = torch.full((len(inputs.batch),), 0.2)
            return replace(inputs, batch=replace(inputs.batch, betas=betas))

        def learn(self, inputs, seed, average):
            assert average is None
            calls.append(("taught", len(inputs.batch), inputs.progress))
            seeds.append(seed)

    parts = {"betas": Network()}
    one, made = trained(tmp_path / "a", objective="skew", parts=parts, accumulation=2, batch=4)
    assert [what for what, *_ in calls] == ["asked", "asked", "taught"] * 4
    assert [progress for *_, progress in calls[::3]] == [0, 0.25, 0.5, 0.75]
    assert len(set(seeds)) == 4
    settings = objective_settings("skew", beta=0.2)
    other, _ = trained(tmp_path / "b", objective="skew", settings=settings, accumulation=2, batch=4)
    assert_same_weights(one, other, rtol=1e-4, atol=1e-6)
    made.evaluate(copy_task(16, seed=3))
    assert len(calls) == 12


def test_memory_reaches_the_objective_and_rests_in_evaluation(tmp_path):
    part = RankingHistory(50)
    memory = part.history
    options = {"settings": objective_settings("selective_kd", queue=50), "parts": {"memory": part}}
    _, made = trained(tmp_path, objective="selective_kd", steps=3, **options)
    assert len(memory) == 50
    before = memory.values().clone()
    made.evaluate(copy_task(16, seed=3))
    assert torch.equal(memory.values(), before)
