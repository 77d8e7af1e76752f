"""The student's own text: when it is trained on, what it is, and that it depends on the student."""

import copy
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from evokd import DistillationTrainer
from evokd.distil.teacher.signal import CachedTeacher
from evokd.distil.teacher.sliced import SlicedTeacher
from evokd.distil.train.distributed import Devices
from evokd.distil.train.on_policy import OnPolicy, examples_of, prompt_length, response_cap
from evokd.errors import InputError
from evokd.models.encoded import collate
from evokd.models.packing import pack
from evokd.recipe.methods import OnPolicySettings
from evokd.recipe.objectives import IGNORED, ObjectiveSettings, objective_settings
from evokd.translate.sampling import TokenSampler
from tiny import copy_task, tiny_llama

END = 1


class Backwards:
    """A sampler whose answer is known: the prompt's words in reverse, and the end token."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, prompts, caps, temperature, seeds):
        self.calls.append(list(prompts))
        self.was_training = model.training
        self.had_gradients = torch.is_grad_enabled()
        return [[*prompt[:-1][::-1], END][:cap] for prompt, cap in zip(prompts, caps, strict=True)]


def answered_backwards(example):
    prompt = example["input_ids"][: prompt_length(example)]
    response = [*prompt[:-1][::-1], END]
    return {
        "input_ids": [*prompt, *response],
        "labels": [IGNORED] * len(prompt) + response,
    }


def trained(folder, on_policy=None, *, data=None, batch=8, accumulation=1, steps=4, **more):
    """A tiny student after some steps of plain SGD, with dropout, so that a random number drawn by
    the way would show."""
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
        learning_rate=more.pop("learning_rate", 0.5),
        optim="sgd",
        max_grad_norm=100.0,
    )
    student = tiny_llama(1, attention_dropout=more.pop("dropout", 0.0))
    made = DistillationTrainer(
        model=student,
        teacher=outspoken(tiny_llama(2, hidden_size=24)),
        objective="forward_kd",
        settings=objective_settings("forward_kd", lam=1.0),
        args=args,
        train_dataset=copy_task(64) if data is None else data,
        on_policy=on_policy,
        **more,
    )
    made.train()
    return student, made


def outspoken(model):
    """Far from uniform, so that it matters which prefix is taught."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(20)
    return model


def own(sampler=None, seed=0, **settings):
    return OnPolicy(OnPolicySettings(**settings), sampler or Backwards(), seed)


def real_sampler():
    return TokenSampler(end_ids=(END,))


def weights(student):
    return torch.cat([p.detach().flatten() for p in student.parameters()])


def test_a_share_of_0_changes_nothing(tmp_path):
    sampler = Backwards()
    plain, _ = trained(tmp_path, dropout=0.3, steps=10)
    other, made = trained(tmp_path, own(sampler, share=0.0, every=3), dropout=0.3, steps=10)
    assert torch.equal(weights(plain), weights(other))
    assert not any(sampler.calls)
    assert all(x["own_share"] == 0 for x in made.state.log_history if "own_share" in x)


def test_a_share_of_1_trains_on_nothing_but_own_text(tmp_path):
    """Two epochs; the same as training on the answers, had they been given."""
    data = [answered_backwards(example) for example in copy_task(64)]
    lengths = [len(one["input_ids"]) for one in copy_task(64)]
    assert lengths == [len(one["input_ids"]) for one in data]  # so that the order is the same
    given, _ = trained(tmp_path, data=data, dropout=0.3, steps=16)
    asked, made = trained(tmp_path, own(share=1.0, every=3), dropout=0.3, steps=16)
    assert torch.equal(weights(given), weights(asked))
    plain, _ = trained(tmp_path, dropout=0.3, steps=16)
    assert not torch.allclose(weights(plain), weights(asked), atol=1e-3)
    line = [x for x in made.state.log_history if "own_share" in x][-1]
    assert (line["own_share"], line["own_capped"], line["own_empty"]) == (1.0, 0.0, 0.0)


def test_the_sampler_gets_prompts_and_a_student_at_rest(tmp_path):
    sampler = Backwards()
    student, _ = trained(tmp_path, own(sampler, share=1.0, every=4), steps=6)
    assert not sampler.was_training
    assert not sampler.had_gradients
    assert student.training
    # 8 steps make an epoch: a window of 4 steps, and the 2 that are left of the training.
    assert [len(prompts) for prompts in sampler.calls] == [32, 16]
    asked = Counter(tuple(p) for call in sampler.calls for p in call)
    known = Counter(tuple(e["input_ids"][: prompt_length(e)]) for e in copy_task(64))
    assert asked <= known


def test_a_window_ends_with_the_epoch(tmp_path):
    sampler = Backwards()
    trained(tmp_path, own(sampler, share=1.0, every=5), steps=12, batch=9)  # 64 = 7 × 9 + 1
    assert [len(prompts) for prompts in sampler.calls] == [45, 9 + 9 + 1, 18, 18]


def test_the_share_of_own_steps():
    one = own(share=0.3)
    kinds = [one.kind(step, 4000, 0) for step in range(4000)]
    assert set(kinds) == {"given", "fresh"}
    assert kinds.count("fresh") / 4000 == pytest.approx(0.3, abs=0.03)
    assert kinds == [own(share=0.3).kind(step, 9999, 0) for step in range(4000)]
    assert kinds != [own(share=0.3, seed=1).kind(step, 4000, 0) for step in range(4000)]
    assert {own(share=1.0).kind(step, 50, 0) for step in range(50)} == {"fresh"}


def test_with_a_buffer_fewer_and_fewer_are_fresh():
    """u < φ (1 − t/T) fresh, else u < φ replayed: of φ = 0.8 half and half over a training."""
    one = own(share=0.8, replay=10)
    kinds = [one.kind(step, 4000, 10) for step in range(4000)]
    assert kinds.count("given") / 4000 == pytest.approx(0.2, abs=0.03)
    for begin, fresh in [(0, 0.7), (1000, 0.5), (2000, 0.3), (3000, 0.1)]:
        assert kinds[begin : begin + 1000].count("fresh") / 1000 == pytest.approx(fresh, abs=0.05)
    filling = [one.kind(step, 4000, 9) for step in range(4000)]
    assert "replayed" not in filling
    assert [k == "given" for k in filling] == [k == "given" for k in kinds]


def test_the_buffer_forgets_the_oldest_and_gives_what_it_has(tmp_path):
    one = own(share=1.0, replay=12, every=1)
    batches = [collate(copy_task(8, seed=seed)) for seed in range(4)]
    made = [[answered_backwards(e) for e in examples_of(batch)] for batch in batches]
    student = tiny_llama(1)
    for step in range(2):
        one.look_ahead(student, {step: [batches[step]]}, 1000)
        assert one.targets(step, [3, 5]) == [made[step][:3], made[step][3:]]
    assert list(one.buffer) == (made[0] + made[1])[-12:]
    one.kinds[900] = "replayed"
    first, second = one.targets(900, [4, 6])
    assert (len(first), len(second)) == (4, 6)
    drawn = first + second
    # None twice but what is there twice, and of like length together.
    as_keys = [Counter(str(e) for e in some) for some in (drawn, one.buffer)]
    assert as_keys[0] <= as_keys[1]
    lengths = [len(e["input_ids"]) for e in drawn]
    assert lengths == sorted(lengths, reverse=True)
    one.kinds[901] = "replayed"
    assert len(one.targets(901, [20])[0]) == 20  # more than it holds


def test_pairs_made_within_a_window_fill_the_buffer_for_its_later_steps():
    """10 pairs fit; two steps of 8 fill it, so later ones of the window may be replayed."""
    batches = {step: [collate(copy_task(8, seed=step))] for step in range(900, 1000)}
    one = own(share=1.0, replay=10, every=100)
    one.look_ahead(tiny_llama(1), batches, 1000)
    kinds = [one.kinds[step] for step in sorted(batches)]
    assert kinds[:2] == ["fresh", "fresh"]
    assert kinds.count("replayed") > 70


def test_the_share_grows_where_validation_gets_worse():
    one = own(share=0.25, adaptive=True)
    assert [one.kind(step, 100, 0) for step in range(100)] == ["given"] * 100
    found = []
    for loss in [3.0, 3.05, 3.1, 3.15, 3.2, 2.0, 3.35, 9.0]:
        one.validated(loss)
        found.append((round(one.phi, 2), one.reference_loss))
    assert found == [
        (0.0, 3.0),
        (0.0, 3.0),
        (0.1, 3.1),
        (0.1, 3.1),
        (0.2, 3.2),
        (0.2, 3.2),
        (0.25, 3.35),
        (0.25, 9.0),
    ]
    fixed = own(share=0.25)
    fixed.validated(3.0)
    fixed.validated(9.0)
    assert fixed.phi == 0.25


def test_what_has_no_end_is_kept_and_what_is_nothing_is_given():
    given = copy_task(3, seed=8, longest=1)
    cap = response_cap(2)

    def sampler(model, prompts, caps, temperature, seeds):
        assert caps == [cap] * 3
        return [[5] * cap, [END], []]

    one = OnPolicy(OnPolicySettings(share=1.0), sampler)
    one.look_ahead(tiny_llama(1), {0: [collate(given)]}, 10)
    (capped, empty, nothing) = one.targets(0, [3])[0]
    assert capped["input_ids"] == [*given[0]["input_ids"][:2], *[5] * cap]
    assert capped["labels"] == [IGNORED] * 2 + [5] * cap
    assert empty["labels"] == [IGNORED, IGNORED, END]
    assert nothing == given[2]
    assert one.metrics(ObjectiveSettings()) == {
        "own_share": 1.0,
        "own_capped": pytest.approx(1 / 3),
        "own_empty": pytest.approx(2 / 3),
    }
    assert one.metrics(ObjectiveSettings()) == {}


def test_no_pair_gets_longer_than_the_longest():
    seen = []

    def sampler(model, prompts, caps, temperature, seeds):
        seen.extend(zip(prompts, caps, strict=True))
        return [[5] * cap for cap in caps]

    one = OnPolicy(OnPolicySettings(share=1.0), sampler, max_length=12)
    one.look_ahead(tiny_llama(1), {0: [collate(copy_task(20))]}, 10)
    assert all(len(prompt) + cap <= 12 for prompt, cap in seen)
    assert max(len(e["input_ids"]) for e in one.targets(0, [20])[0]) == 12


def test_a_packed_batch_holds_the_same_pairs():
    given = [dict(e, weight=0.25 * (i + 1)) for i, e in enumerate(copy_task(9))]
    bare = [{k: e[k] for k in ("input_ids", "labels")} for e in given]
    padded = collate(bare) | {"weights": torch.tensor([e["weight"] for e in given])}
    packed = pack(padded) | {"weights": padded["weights"]}
    assert examples_of(padded) == given
    assert examples_of(packed) == given


@pytest.mark.parametrize("packing", [False, True])
def test_1_by_8_equals_8_by_1(tmp_path, packing):
    """With the real thing, which draws for all of them at once."""
    more = {"packing": packing, "learning_rate": 0.1}
    settings = {"share": 0.6, "replay": 20, "every": 4}
    one, _ = trained(tmp_path, own(real_sampler(), **settings), batch=8, steps=9, **more)
    other, made = trained(
        tmp_path, own(real_sampler(), **settings), batch=1, accumulation=8, steps=9, **more
    )
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-6)
    shares = [x["own_share"] for x in made.state.log_history if "own_share" in x]
    assert set(shares) == {0.0, 1.0}


def test_the_text_changes_with_the_student(tmp_path):
    class Listening:
        def __init__(self):
            self.said, self.sampler = [], real_sampler()

        def __call__(self, *given):
            self.said.append(self.sampler(*given))
            return self.said[-1]

    still, moving = Listening(), Listening()
    for sampler, rate in [(still, 0.0), (moving, 1.0)]:
        trained(tmp_path, own(sampler, share=1.0, every=1), steps=3, learning_rate=rate)
    assert still.said[0] == moving.said[0]
    assert still.said[2] != moving.said[2]
    ended = [words[-1] == END for words in still.said[0]]
    assert any(ended)


@pytest.mark.parametrize(
    ("objective", "settings"),
    [("sft", {}), ("self_evolution", {}), ("atkd", {}), ("forward_kd", {"lam": 0.5})],
)
def test_an_objective_that_needs_the_reference_is_refused(tmp_path, objective, settings):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(ValueError, match=f"{objective} compares the student with the reference"):
        DistillationTrainer(
            model=tiny_llama(1),
            teacher=tiny_llama(2),
            objective=objective,
            settings=objective_settings(objective, **settings),
            args=args,
            train_dataset=copy_task(8),
            on_policy=own(),
        )


@pytest.mark.parametrize("objective", ["forward_kd", "reverse_kd", "srkl", lambda t: t.nll])
def test_others_are_not(tmp_path, objective):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    name = objective if isinstance(objective, str) else "noevo"
    DistillationTrainer(
        model=tiny_llama(1),
        teacher=tiny_llama(2),
        objective=objective,
        settings=objective_settings(name, lam=1.0),
        args=args,
        train_dataset=copy_task(8),
        on_policy=own(),
    )


@pytest.mark.parametrize("sliced", [False, True])
def test_a_cached_teacher_is_refused(tmp_path, sliced):
    cached = CachedTeacher.__new__(CachedTeacher)
    if sliced:
        cached, whole = SlicedTeacher.__new__(SlicedTeacher), cached
        cached.signal = whole
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(InputError, match=r"cached teacher.*teacher\.signal: live"):
        DistillationTrainer(
            model=tiny_llama(1),
            teacher=cached,
            objective="jsd",
            args=args,
            train_dataset=copy_task(8),
            on_policy=own(),
        )


def test_an_adaptive_share_needs_validation(tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(ValueError, match="adaptive goes by validation loss"):
        DistillationTrainer(
            model=tiny_llama(1),
            teacher=tiny_llama(2),
            objective="jsd",
            args=args,
            train_dataset=copy_task(8),
            on_policy=own(adaptive=True),
        )


@pytest.mark.parametrize(
    ("kind", "stage", "refused"),
    [
        (DistributedType.FSDP, None, "FSDP leaves each device a part"),
        (DistributedType.DEEPSPEED, 3, "DeepSpeed ZeRO-3 leaves each device a part"),
        (DistributedType.DEEPSPEED, 2, None),
        (DistributedType.MULTI_GPU, None, None),
    ],
)
def test_a_student_spread_over_devices_is_refused(tmp_path, monkeypatch, kind, stage, refused):
    state = SimpleNamespace(
        distributed_type=kind, deepspeed_plugin=SimpleNamespace(zero_stage=stage)
    )
    found = Devices(SimpleNamespace(state=state)).sharding
    assert (found is None) == (refused is None)
    monkeypatch.setattr(Devices, "sharding", found)

    def trainer():
        return DistillationTrainer(
            model=tiny_llama(1),
            teacher=tiny_llama(2),
            objective="jsd",
            args=TrainingArguments(str(tmp_path), use_cpu=True, report_to=[]),
            train_dataset=copy_task(8),
            on_policy=own(),
        )

    if refused is None:
        trainer()
    else:
        with pytest.raises(InputError, match=refused):
            trainer()


def test_what_is_saved_is_all_there_is():
    batches = {step: [collate(copy_task(8, seed=step))] for step in range(6)}
    one = own(share=0.7, replay=20, adaptive=True, every=6)
    one.validated(1.0)
    for loss in (2.0, 3.0, 4.0, 5.0, 6.0):
        one.validated(loss)
    one.look_ahead(tiny_llama(1), batches, 100)
    one.targets(0, [8])
    state = copy.deepcopy(one.state_dict())
    other = own(share=0.7, replay=20, adaptive=True, every=6)
    other.load_state_dict(state)
    other.look_ahead(tiny_llama(1), {step: batches[step] for step in range(1, 6)}, 100)
    assert not other.sampler.calls  # nothing is made anew
    for step in range(1, 6):
        assert one.targets(step, [8]) == other.targets(step, [8])
    assert one.state_dict() == other.state_dict()
