"""On a GPU the same as on a CPU: losses, training, decoding, engines, a whole study.

`make gpu` runs these where there is one. EVOKD_TEST_DEVICE=cpu lets them run without, which tries
the tests themselves.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec

import pytest
import torch
from transformers import TrainingArguments

import evokd
from evokd import DistillationTrainer
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.distil.memory import PeakMemory
from evokd.distil.objectives import LOSSES
from evokd.distil.teacher.precompute import cache_spec, write_cache
from evokd.distil.teacher.signal import CachedTeacher
from evokd.models.encoded import EncodedPairs
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.models import FreshModel
from evokd.translate.decoding import translate
from evokd.translate.engines.engine import generate_by, started
from evokd.translate.nbest import candidates
from evokd.translate.sampling import TokenSampler
from small_study import evokd as command
from small_study import recipe, write_recipe
from test_decoding import LINES, WORDS
from tiny import copy_task, tiny_llama

DEVICE = os.environ.get("EVOKD_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device here"
    ),
]


@pytest.fixture(autouse=True)
def full_precision():
    """Products of float32 in float32, so that both devices compute the same."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def problem(dtype=torch.float64, tokens=300, vocabulary=700):
    """Hidden states and heads of both sides, half of the labels what the student thinks."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / 4

    hidden, head = random(tokens, 32), random(vocabulary, 32)
    teacher = (
        torch.cat([hidden, random(tokens, 16)], 1),
        torch.cat([head, random(vocabulary, 16)], 1),
    )
    labels = torch.randint(vocabulary, (tokens,), generator=generator)
    labels[::2] = (hidden @ head.t()).argmax(1)[::2]
    return [x.to(dtype) for x in (hidden, head, *teacher)], labels


def gradients(name, tensors, labels):
    student = [x.detach().requires_grad_() for x in tensors[:2]]
    loss = evokd.fused_loss(name, *student, *tensors[2:], labels)
    return [loss.detach(), *torch.autograd.grad(loss, student)]


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.2)])
def test_every_objective_has_the_gradients_of_float64(name, dtype, tolerance):
    tensors, labels = problem()
    rounded = [x.to(getattr(torch, dtype)) for x in tensors]
    expected = gradients(name, [x.double() for x in rounded], labels)
    found = gradients(name, [x.to(DEVICE) for x in rounded], labels.to(DEVICE))
    for mine, true in zip(found, expected, strict=True):
        assert (mine.cpu().double() - true).norm() <= tolerance * true.norm()


def trained(folder, device, teacher=None, objective="self_evolution", **more):
    arguments = TrainingArguments(
        str(folder),
        max_steps=4,
        per_device_train_batch_size=8,
        learning_rate=0.5,
        optim="sgd",
        max_grad_norm=100.0,
        lr_scheduler_type="constant",
        use_cpu=device == "cpu",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )
    if teacher is None and objective != "sft":
        teacher = tiny_llama(2, hidden_size=24).to(device)
    student = tiny_llama(1).to(device)
    DistillationTrainer(student, teacher, objective, arguments, copy_task(64)).train()
    return torch.cat([p.detach().float().cpu().flatten() for p in student.parameters()])


@pytest.mark.parametrize("objective", ["sft", "forward_kd", "self_evolution"])
def test_training_gives_the_weights_of_the_cpu(tmp_path, objective):
    start = torch.cat([p.detach().flatten() for p in tiny_llama(1).parameters()])
    expected = trained(tmp_path, "cpu", objective=objective)
    found = trained(tmp_path, DEVICE, objective=objective)
    assert (expected - start).norm() > 0.01
    assert (found - expected).norm() < 1e-3 * (expected - start).norm()


def test_training_in_bfloat16_goes_the_same_way(tmp_path):
    start = torch.cat([p.detach().flatten() for p in tiny_llama(1).parameters()])
    exact = trained(tmp_path, DEVICE) - start
    rounded = trained(tmp_path, DEVICE, bf16=True) - start
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.95


@pytest.mark.parametrize("contents", ["hidden", "topk"])
def test_a_cached_teacher_is_the_live_one(tmp_path, contents):
    teacher = tiny_llama(2, hidden_size=24).to(DEVICE).eval()
    task = copy_task(64)
    prompts = [each["labels"].count(-100) for each in task]
    data = EncodedPairs.of([each["input_ids"] for each in task], prompts)
    write_cache(tmp_path / "cache", teacher, [data], cache_spec(teacher, contents, 40))
    cached = trained(tmp_path, DEVICE, CachedTeacher(tmp_path / "cache"))
    live = trained(tmp_path, DEVICE, teacher)
    start = torch.cat([p.detach().flatten() for p in tiny_llama(1).parameters()])
    assert (cached - live).norm() < 0.02 * (live - start).norm()


@pytest.fixture(scope="module")
def translators():
    """The same model on the CPU and on the device; its answers vary and end now and then."""
    tokenizer = train_tokenizer([" ".join(WORDS), *LINES] * 10, 330, prompt_tags(["en", "de"]))
    settings = FreshModel(hidden_size=64, layers=2, heads=2, tie_embeddings=False)
    made = []
    for device in ("cpu", DEVICE):
        model = fresh_model(settings, tokenizer, 3).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(4 if weight.dim() == 2 else 1)
            model.lm_head.weight[tokenizer.eos_token_id] *= 4
        made.append(Translator(model.to(device), tokenizer, load_prompt("compact")))
    return made


def same(one, other):
    """Roundings differ between devices, and may decide between two tokens of a random model."""
    return sum(a == b for a, b in zip(one, other, strict=True)) >= len(LINES) - 1


@pytest.mark.parametrize("beam", [1, 4])
def test_translations_are_those_of_the_cpu(translators, beam):
    settings = DecodingSettings(beam=beam, batch_size=4)
    cpu, gpu = (translate(each, LINES, "en", "de", settings) for each in translators)
    assert same(gpu.lines, cpu.lines)
    assert gpu.device.split(":")[0] == DEVICE


def test_the_n_best_have_the_probabilities_of_the_cpu(translators):
    settings = DecodingSettings(beam=4)
    cpu, gpu = (candidates(each, LINES, "en", "de", settings, 4) for each in translators)
    known = [{one.text: one.log_probability for one in found} for found in cpu]
    shared = [
        (one.log_probability, own[one.text])
        for found, own in zip(gpu, known, strict=True)
        for one in found
        if one.text in own
    ]
    assert len(shared) > len(LINES)
    assert [a for a, _ in shared] == pytest.approx([b for _, b in shared], abs=1e-2)


def test_samples_are_those_of_the_cpu(translators):
    prompts = [[3 + i, 4 + i, 5] for i in range(len(LINES))]
    drawn = [
        TokenSampler.of(each)(each.model, prompts, [12] * len(prompts), 0.5, range(len(prompts)))
        for each in translators
    ]
    assert same(*drawn)


@pytest.mark.skipif(find_spec("ctranslate2") is None, reason="ctranslate2 isn't installed")
@pytest.mark.parametrize("beam", [1, 4])
def test_ctranslate2_gives_the_same_lines(translators, beam):
    settings = DecodingSettings(beam=beam, engine="ctranslate2")
    _, gpu = translators
    with started(gpu, settings) as engine:
        found = translate(gpu, LINES, "en", "de", settings, generate=generate_by(engine, settings))
    assert same(found.lines, translate(gpu, LINES, "en", "de", DecodingSettings(beam=beam)).lines)


def test_attention_is_not_cudnns(tmp_path):
    torch.backends.cuda.enable_cudnn_sdp(True)
    trained(tmp_path, DEVICE, objective="sft")
    assert torch.backends.cuda.cudnn_sdp_enabled() == (DEVICE != "cuda")


def test_a_peak_is_what_was_held():
    with PeakMemory(DEVICE) as memory:
        torch.ones(16 * 2**20, device=DEVICE)  # 64 MiB
    assert memory.mib == pytest.approx(64, abs=4)


@pytest.mark.parametrize("signal", ["live", "hidden"])
def test_a_whole_study(tmp_path, signal):
    tree = recipe(device=DEVICE, methods=["sft", "self_evolution"])
    tree["teacher"]["signal"] = signal
    path, run = write_recipe(tmp_path / "recipe.yaml", tree), tmp_path / "run"
    code, out, err = command("run", path, "-o", run)
    assert code == 0, err + out
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert {row["device"].split(":")[0] for row in results["speed"]} == {DEVICE}
    assert {row["system"] for row in results["scores"]} == {"teacher", "sft", "self_evolution"}
    assert command("verify", run)[0] == 0
