"""The three sources of a teacher's word, against each other and against brute force."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import TrainingArguments

from evokd.distil.objectives import LOSSES, difficulty, token_loss
from evokd.distil.teacher.cache_reader import CacheSpec
from evokd.distil.teacher.precompute import cache_spec, top_k_of, write_cache
from evokd.distil.teacher.signal import CachedTeacher, LiveTeacher, TopKLogits, pairs_of_batch
from evokd.distil.teacher.topk_error import BOUNDED, loss_error_bound, measure_error
from evokd.distil.train.trainer import DistillationTrainer
from evokd.errors import InputError
from evokd.models.encoded import collate
from evokd.models.packing import pack
from evokd.recipe.objectives import IGNORED, ObjectiveSettings
from tiny import VOCABULARY, copy_task, tiny_llama

DATA = copy_task(24)
EVERYTHING = slice(None)


def quiet(_text: str) -> None:
    pass


def teacher_model(**config):
    return tiny_llama(1, hidden_size=32, **config)


def cached(folder, model, kind="hidden", k=8, values="float16", data=DATA, **settings):
    spec = cache_spec(model, kind, k, values)
    write_cache(folder / kind, model, [data], spec, {}, log=quiet, **settings)
    return CachedTeacher(folder / kind)


def predicts_of(labels):
    predicts = torch.zeros_like(labels, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != IGNORED
    return predicts


def batch_of(data=DATA, packed=False):
    """inputs, predicts and targets of a batch."""
    batch = collate(data)
    batch = pack(batch) if packed else batch
    labels = batch["labels"]
    names = ("input_ids", "position_ids" if packed else "attention_mask")
    predicts = predicts_of(labels)
    return {n: batch[n] for n in names}, predicts, labels.roll(-1, dims=1)[predicts]


def log_probabilities(said, size=VOCABULARY):
    return said.logits(EVERYTHING, size).log_softmax(-1)


def top_k(logits, labels, k, values="float32"):
    """What would be read of some logits, without the files between."""
    rows = top_k_of(logits, labels, CacheSpec("topk", logits.shape[1], k, values))
    return TopKLogits(
        rows["ids"].long(),
        rows["values"].float(),
        labels,
        rows["reference"][:, 0],
        rows["tail"][:, 0],
        logits.shape[1],
    )


def trained(teacher, folder, objective="self_evolution", batch=4, steps=4, **settings):
    student = tiny_llama(0)
    trainer = DistillationTrainer(
        student,
        teacher,
        objective,
        TrainingArguments(
            str(folder / "out"),
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-2,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        DATA,
        **settings,
    )
    trainer.train()
    return student, trainer.state.log_history


def test_cached_hidden_states_train_the_same_weights_bit_for_bit(tmp_path):
    """Where the teacher sees batches of the same shape: one pair a batch."""
    teacher = teacher_model()
    one, log = trained(teacher, tmp_path, batch=1, steps=12)
    cache = cached(tmp_path, teacher, batch_tokens=1)
    other, twin = trained(cache, tmp_path, batch=1, steps=12)
    weights = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    assert [line["loss"] for line in log[:-1]] == [line["loss"] for line in twin[:-1]]


def test_cached_hidden_states_train_the_same_weights_to_rounding(tmp_path):
    teacher = teacher_model()
    one, _ = trained(teacher, tmp_path)
    other, _ = trained(cached(tmp_path, teacher), tmp_path)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """k = V, so that both are."""
    return [
        cached(tmp_path_factory.mktemp(kind), teacher_model(), kind, VOCABULARY, "float32")
        for kind in ("hidden", "topk")
    ]


@pytest.mark.parametrize("objective", LOSSES)
def test_every_objective_learns_from_every_source(exact, objective, tmp_path):
    """The same losses and statistics as beside a live teacher."""
    _, log = trained(teacher_model(), tmp_path, objective, steps=2)
    for cache in exact:
        _, twin = trained(cache, tmp_path, objective, steps=2)
        for line, other in zip(log[:-1], twin[:-1], strict=True):
            assert {"noevo_loss", "teacher_nll", "hard_share"} <= set(other)
            for name in ("loss", "noevo_loss", "teacher_nll", "hard_share", "student_nll"):
                assert other[name] == pytest.approx(line[name], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["hidden", "topk"])
def test_packed_rows_find_the_same_pairs(kind, tmp_path):
    teacher = teacher_model()
    cache = cached(tmp_path, teacher, kind, VOCABULARY, "float32")
    inputs, predicts, _ = batch_of(packed=True)
    assert len(inputs["input_ids"]) < len(DATA)
    padded = batch_of()
    keys = [{p.key() for p in pairs_of_batch(*b[:2])} for b in (batch_of(packed=True), padded)]
    assert keys[0] == keys[1]
    live = LiveTeacher(teacher).forward(inputs, predicts)
    torch.testing.assert_close(
        log_probabilities(cache.forward(inputs, predicts)),
        log_probabilities(live),
        rtol=0,
        atol=1e-4,
    )


def test_rows_without_a_response_are_passed_over(tmp_path):
    """As where devices share a data set unevenly, and repeats lose their labels."""
    teacher = teacher_model()
    cache = cached(tmp_path, teacher)
    inputs, predicts, _ = batch_of()
    some = predicts.clone()
    some[1] = False
    whole, part = cache.forward(inputs, predicts), cache.forward(inputs, some)
    kept = torch.ones(int(predicts.sum()), dtype=torch.bool)
    start = int(predicts[0].sum())
    kept[start : start + int(predicts[1].sum())] = False
    assert torch.equal(part.logits(EVERYTHING, 40), whole.logits(EVERYTHING, 40)[kept])
    none = cache.forward(inputs, torch.zeros_like(predicts))
    assert none.logits(EVERYTHING, 40).shape == (0, 40)


@pytest.mark.parametrize("kind", ["live", "hidden", "topk"])
def test_logits_are_written_where_they_are_wanted(kind, tmp_path):
    teacher = teacher_model()
    source = LiveTeacher(teacher) if kind == "live" else cached(tmp_path, teacher, kind)
    inputs, predicts, _ = batch_of()
    said = source.forward(inputs, predicts)
    buffer = torch.full((9, VOCABULARY), torch.nan)
    made = said.logits(slice(2, 11), VOCABULARY, buffer)
    assert made.data_ptr() == buffer.data_ptr()
    torch.testing.assert_close(made, said.logits(slice(2, 11), VOCABULARY))
    torch.testing.assert_close(made, said.logits(EVERYTHING, VOCABULARY)[2:11])
    assert source.width == VOCABULARY


def test_a_half_precision_teacher_stays_half_as_large(tmp_path):
    teacher = teacher_model().to(torch.bfloat16)
    cache = cached(tmp_path, teacher)
    assert cache.spec.bytes_per_token() == 32 * 2
    inputs, predicts, _ = batch_of()
    live = LiveTeacher(teacher).forward(inputs, predicts)
    gap = log_probabilities(cache.forward(inputs, predicts)) - log_probabilities(live)
    assert gap.abs().max() < 0.02


def test_ids_of_more_than_16_bits(tmp_path):
    teacher = tiny_llama(3, hidden_size=8, vocab_size=70_000)
    cache = cached(tmp_path, teacher, "topk", 6, data=DATA[:3])
    inputs, predicts, _ = batch_of(DATA[:3])
    exact = log_probabilities(LiveTeacher(teacher).forward(inputs, predicts), 70_000)
    values, ids = exact.topk(6, dim=1)
    assert (ids > 2**16).any()
    said = cache.forward(inputs, predicts)
    assert torch.equal(said.ids, ids)
    torch.testing.assert_close(
        log_probabilities(said, 70_000).gather(1, ids), values, rtol=2**-10, atol=1e-5
    )


@pytest.mark.parametrize("size", [30, 23, 12])
@pytest.mark.parametrize("k", [1, 5, 29, 30])
def test_a_distribution_from_its_top_k(k, size):
    """Against a loop over the vocabulary."""
    generator = torch.Generator().manual_seed(k)
    logits = 3 * torch.randn(40, 30, generator=generator)
    labels = torch.randint(size, (40,), generator=generator)
    p = logits.double().softmax(1)
    found = top_k(logits, labels, k).logits(EVERYTHING, size).double()
    for row in range(40):
        known = {int(i) for i in p[row].topk(k).indices} | {int(labels[row])}
        rest = [v for v in range(30) if v not in known]
        share = sum(float(p[row, v]) for v in rest) / max(1, len(rest))
        made = torch.tensor([float(p[row, v]) if v in known else share for v in range(size)])
        torch.testing.assert_close(
            found[row].exp(), made.double() / made.double().sum(), rtol=1e-5, atol=1e-12
        )
        if size == 30:
            label = int(labels[row])
            assert float(found[row, label]) == pytest.approx(math.log(p[row, label]), abs=1e-5)


def test_kl_at_k_of_the_whole_vocabulary_is_exact():
    logits, student = torch.randn(50, 30) * 4, torch.randn(50, 30)
    labels = torch.randint(30, (50,))
    exact = difficulty(student, logits, labels)
    for values, tolerance in (("float32", 2e-6), ("float16", 1e-2)):
        made = top_k(logits, labels, 30, values).logits(EVERYTHING, 30)
        torch.testing.assert_close(
            difficulty(student, made, labels), exact, rtol=1e-6, atol=tolerance
        )


def test_more_than_the_teacher_has_is_refused():
    with pytest.raises(ValueError, match=r"31 .* 30"):
        top_k(torch.randn(2, 30), torch.tensor([1, 2]), 4).logits(EVERYTHING, 31)


def random_case(seed, vocabulary=200, tokens=60):
    """A teacher and a student as unlike and as peaked as models are, and less."""
    generator = torch.Generator().manual_seed(seed)
    sharp = torch.rand(tokens, 1, generator=generator) * 8
    teacher = sharp * torch.randn(tokens, vocabulary, generator=generator)
    student = 0.7 * teacher + 3 * torch.randn(tokens, vocabulary, generator=generator)
    labels = torch.randint(vocabulary, (tokens,), generator=generator)
    return teacher, student, labels


@pytest.mark.parametrize("values", ["float32", "float16"])
@pytest.mark.parametrize("k", [1, 8, 64])
@pytest.mark.parametrize("lam", [0.5, 1.0])
@pytest.mark.parametrize("objective", BOUNDED)
def test_the_error_stays_below_its_bound(objective, lam, k, values):
    ratios = []
    beta = 0.6 if "skew" in objective else 0.5
    for seed in range(6):
        teacher, student, labels = random_case(seed)
        said = top_k(teacher, labels, k, values)
        bound = loss_error_bound(objective, said, student, lam, beta, rounded=values == "float16")
        exact, found = (
            token_loss(objective, student.double(), one.double(), labels, lam=lam, beta=beta)
            for one in (teacher, said.logits(EVERYTHING, 200))
        )
        assert ((found - exact).abs() <= bound + 1e-6).all()
        ratios.append(float((found - exact).abs().mean() / bound.mean()))
    assert sum(ratios) / len(ratios) > 0.01  # and isn't beyond all sense


def test_what_has_no_bound_is_said():
    said = top_k(torch.randn(2, 30), torch.tensor([1, 2]), 4)
    with pytest.raises(ValueError, match="'reverse_kd' has no bound"):
        loss_error_bound("reverse_kd", said, torch.randn(2, 30))


@pytest.mark.parametrize("objective", BOUNDED)
def test_the_bound_is_reached_by_the_worst_teacher(objective):
    """Its tail lies on the tokens that the student finds least likely, as much as fits on each."""
    student = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)) * 2
    label = torch.tensor([int(student.argmax())])
    order = student[0].argsort()  # the student's least likely first
    p = torch.full((50,), 1e-30)
    p[order[-3:]] = torch.tensor([0.1 + 1e-6, 0.2, 0.4])  # the top three, the label among them
    p[order[:3]] = 0.1  # the tail: as large as p_k allows
    logits = p.log()[None]
    said = top_k(logits, label, 3)
    beta = 0.9 if "skew" in objective else 1.0
    bound = float(loss_error_bound(objective, said, student, beta=beta, rounded=False))
    exact, found = (
        token_loss(objective, student.double(), one.double(), label, beta=beta)
        for one in (logits, said.logits(EVERYTHING, 50))
    )
    assert float((found - exact).abs()) == pytest.approx(bound, rel=1e-4)


def test_the_gradient_is_off_by_the_tail_at_most():
    teacher, student, labels = random_case(1)
    said = top_k(teacher, labels, 8)
    gradients = []
    for one in (teacher, said.logits(EVERYTHING, 200)):
        student.requires_grad_()
        loss = token_loss("noevo", student, one, labels).sum()
        gradients.append(torch.autograd.grad(loss, student)[0])
    gap = (gradients[0] - gradients[1]).abs().sum(1)
    assert (gap <= 2 * 0.5 * said.tail + 1e-6).all()
    assert gap.max() > 0.2 * said.tail.max()


def test_the_measured_error_is_that_of_the_objective(tmp_path):
    teacher, student = teacher_model(), tiny_llama(0)
    cache = cached(tmp_path, teacher, "topk", 4, "float32")
    batches = [collate(DATA[i : i + 8]) for i in range(0, len(DATA), 8)]
    settings = ObjectiveSettings(gamma=1.2)
    found = measure_error(cache, teacher, student, batches, VOCABULARY, settings)

    inputs, predicts, targets = batch_of()
    logits = student(**inputs).logits[predicts].detach()
    exact, made = (
        difficulty(logits, one.forward(inputs, predicts).logits(EVERYTHING, VOCABULARY), targets)
        for one in (LiveTeacher(teacher), cache)
    )
    gap = (exact - made).abs()
    assert found["tokens"] == len(targets)
    assert found["error_mean"] == pytest.approx(float(gap.mean()), rel=1e-3)
    assert found["error_max"] == pytest.approx(float(gap.max()), rel=1e-3)
    assert found["mean_difficulty"] == pytest.approx(float(exact.mean()), rel=1e-4)
    flips = ((exact > 1.2) != (made > 1.2)).double().mean()
    assert found["flipped_share"] == pytest.approx(float(flips))
    assert found["error_mean"] < found["bound_mean"]


def test_no_bound_is_given_where_vocabularies_are_cut(tmp_path):
    teacher = teacher_model(vocab_size=VOCABULARY + 4)
    cache = cached(tmp_path, teacher, "topk", 4)
    batches = [collate(DATA)]
    found = measure_error(cache, teacher, tiny_llama(0), batches, VOCABULARY, ObjectiveSettings())
    assert found["error_mean"] > 0
    assert found["bound_mean"] is None


def test_a_pair_of_another_text_stops_the_training(tmp_path):
    teacher = cached(tmp_path, teacher_model(), data=DATA[:10])
    with pytest.raises(InputError, match="aren't in the teacher cache"):
        trained(teacher, tmp_path)
