"""Teachers in 8 and 4 bits, and a study with one whose students train adapters."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel

from evokd.distil.teacher.quantization_error import divergence, word_of
from evokd.distil.teacher.signal import LazyLogits
from evokd.errors import InputError
from evokd.models.adapters import add_adapters
from evokd.models.encoded import collate
from evokd.models.lm_head import Head
from evokd.models.loading import load_model, load_translator
from evokd.models.quantized import format_of
from evokd.recipe.file import check_recipe
from evokd.recipe.models import LoraSettings, ModelSettings
from evokd.rundir.files import read_json
from evokd.study.check import check_packages
from small_study import evokd, recipe, write_recipe
from tiny import copy_task, tiny_llama

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "teacher"
    tiny_llama(1, hidden_size=64, num_hidden_layers=2).save_pretrained(place)
    return place


def load(folder, bits, dtype=torch.float32):
    return load_model(ModelSettings(model=str(folder)), CPU, dtype, bits)


@pytest.mark.parametrize(("bits", "each"), [("8bit", 1.0), ("4bit", 0.5)])
def test_linear_layers_take_so_many_bytes_and_the_head_is_whole(folder, bits, each):
    exact, model = load(folder, "none"), load(folder, bits)
    assert format_of(model) == f"{bits} float32"
    assert format_of(exact) == "float32"
    linear = {name: one for name, one in exact.named_parameters() if "proj" in name}
    for name, weight in linear.items():
        assert model.get_parameter(name).nbytes == each * weight.numel()
    head = model.get_output_embeddings().weight
    assert torch.equal(head, exact.get_output_embeddings().weight)


def test_the_loss_of_a_quantized_teacher_is_the_kl_of_its_logits(folder):
    """Against the two models' own logits, in float64; 4 bits lose more than 8, itself nothing."""
    batches = [collate(copy_task(6, seed=seed)) for seed in (1, 2)]
    exact = word_of(load(folder, "none"), batches)
    found = {bits: divergence(exact, word_of(load(folder, bits), batches)) for bits in BITS}
    assert 0 < found["8bit"]["kl"] < found["4bit"]["kl"] < 1
    assert found["none"]["kl"] == pytest.approx(0, abs=1e-12)
    assert found["none"]["same_best"] == 1

    each = []
    for batch in batches:
        read = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            p, q = (
                load(folder, bits)(**read).logits[:, :-1].double().log_softmax(-1)
                for bits in ("none", "4bit")
            )
        each.append((p.exp() * (p - q)).sum(-1)[batch["labels"][:, 1:] != -100])
    expected = torch.cat(each)
    assert found["4bit"]["tokens"] == len(expected)
    assert found["4bit"]["kl"] == pytest.approx(expected.mean().item(), rel=1e-3)
    assert found["4bit"]["kl_max"] == pytest.approx(expected.max().item(), rel=1e-3)


BITS = ("none", "8bit", "4bit")


def test_divergence_by_hand():
    """p = (1/2, 1/2), q = (3/4, 1/4): ln 2 − ½ ln 3 nats."""
    head = Head(torch.eye(2))
    exact = LazyLogits(torch.zeros(1, 2), head)
    other = LazyLogits(torch.tensor([[3.0, 1.0]]).log(), head)
    assert divergence(exact, other)["kl"] == pytest.approx(0.1438, abs=1e-4)


def test_what_is_missing_is_named(folder, monkeypatch):
    with pytest.raises(InputError, match="4bit isn't there on mps devices; take quantize: none"):
        load_model(ModelSettings(model=str(folder)), torch.device("mps"), torch.float32, "4bit")
    with pytest.raises(InputError, match=r"isn.t for weights of a \.gguf file"):
        load_model(ModelSettings(model="some.gguf"), CPU, torch.float32, "4bit")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs bitsandbytes; type pip install 'evokd\[quant"):
        load(folder, "8bit")
    with pytest.raises(InputError, match=r"lora needs peft; type pip install 'evokd\[lora\]'"):
        add_adapters(tiny_llama(1), LoraSettings(rank=2), 1)


# Recipes


def changed(**sections):
    tree = recipe()
    for name, keys in sections.items():
        tree[name] = {**tree.get(name, {}), **keys}
    return tree


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"teacher": {"lora": {"rank": 4}}}, "teacher.lora: adapters change a model that is there"),
        (
            {"student": {"lora": {"rank": 4}, "warm_start_steps": 0}},
            r"random weights; leave lora out, or warm it up \(student.warm_start_steps\)",
        ),
        ({"student": {"lora": {"alpha": 4}}}, "without their rank; type lora.rank=16"),
        (
            {"student": {"lora": {"rank": 4}}, "pruning": {"methods": ["sft"]}},
            "what is set to 0 would come back",
        ),
        ({"training": {"weights": "bfloat16"}}, "training of teacher: optimizer: adamw would"),
        (
            {"student": {"warm_start_training": {"optimizer": "adamw_kahan"}}},
            "training of student.warm_start_training: optimizer: adamw_kahan keeps",
        ),
        (
            {
                "training": {
                    "weights": "bfloat16",
                    "optimizer": "adamw_kahan",
                    "precision": "float32",
                }
            },
            "precision: float32 is of weights in float32",
        ),
    ],
)
def test_recipes_that_would_train_nothing_are_refused(sections, said):
    with pytest.raises(InputError, match=said):
        check_recipe(changed(**sections))


def test_overrides_are_looked_at_together():
    """A method's own weights with the study's optimizer."""
    tree = changed(training={"optimizer": "adamw_kahan"}, student={"lora": {"rank": 4}})
    tree["student"] |= {"warm_start_training": {"weights": "bfloat16"}}
    tree["student"] |= {"training": {"optimizer": "adamw", "weights": "bfloat16"}}
    tree["student"]["warm_start_training"] |= {"optimizer": "adamw_8bit_kahan"}
    tree["teacher"] |= {"training": {"max_steps": 20, "weights": "bfloat16"}}
    made = check_recipe(tree)
    assert made.training_of(made.teacher.training).optimizer == "adamw_kahan"


def test_packages_of_every_training_are_asked_for_before_the_first(monkeypatch):
    warm_up = {"warm_start_training": {"optimizer": "adamw_8bit"}}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_packages(check_recipe(changed()))
    check_packages(check_recipe(changed(student={**warm_up, "warm_start_steps": 0})))
    said = r"training of student.warm_start_training: adamw_8bit needs bitsandbytes; type pip"
    with pytest.raises(InputError, match=said):
        check_packages(check_recipe(changed(student=warm_up)))


# A study


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The teacher is fine-tuned by adapters, in bfloat16 but for these, and speaks in 4 bits; its
    students train adapters on 8-bit weights."""
    place = tmp_path_factory.mktemp("study")
    first = write_recipe(place / "first.yaml", changed(student={"fresh": {"hidden_size": 64}}))
    assert evokd("run", first, "-o", place / "first", "methods=[sft]")[0] == 0
    given = str(place / "first/start/model")
    tree = changed(
        teacher={"model": given, "lora": {"rank": 2}, "quantize": "4bit"},
        student={"model": given, "lora": {"rank": 4, "quantize": "8bit"}, "warm_start_steps": 0},
        training={"weights": "bfloat16"},
    )
    tree["methods"] = ["sft", {"name": "forward_kd", "start": "sft"}]
    path = write_recipe(place / "recipe.yaml", tree)
    code, out, err = evokd("run", path, "-o", place / "run")
    assert code == 0, err
    return path, place / "run", out, err


def test_the_loss_of_the_teacher_is_said_once_and_kept(finished):
    path, run, _, err = finished
    said = "KL(float32 ‖ 4bit float32) on"
    assert err.count(said) == 1
    facts = read_json(run / "quantized/manifest.json")["facts"]
    assert 0 < facts["kl"] < facts["kl_max"] < 1
    assert facts["mib"] < facts["exact_mib"]
    results = read_json(run / "results.json")
    assert any(said in note for note in results["notes"])
    decoded = {row["dtype"] for row in results["speed"] if row["system"] == "teacher"}
    assert decoded == {"4bit float32"}
    code, _, err = evokd("run", path, "-o", run)
    assert (code, said in err) == (0, False)


def test_students_are_their_start_with_the_saved_adapters(finished):
    """The start is quantized while they train, so they are that close to it, and no closer."""
    _, run, _, _ = finished
    ids = torch.arange(5, 25)[None]

    def logits(model):
        with torch.no_grad():
            return model.eval()(input_ids=ids).logits

    def at(place):
        return load_translator(run / place, CPU, torch.float32).model

    student, start = at("students/sft.seed1/model"), at("start/model")
    adapted = PeftModel.from_pretrained(start, run / "students/sft.seed1/adapter")
    with adapted.disable_adapter():
        before = logits(adapted)
    gap = (logits(student) - logits(adapted)).norm()
    assert 0 < gap < 0.5 * (logits(student) - before).norm()
    teacher = at("teacher/model")
    tuned = PeftModel.from_pretrained(at("../first/start/model"), run / "teacher/adapter")
    # Its weights were in bfloat16 while adapters were trained, and are merged in float32.
    torch.testing.assert_close(logits(tuned), logits(teacher), atol=0.02, rtol=0.02)


def test_tables_name_adapters_and_bits(finished):
    _, run, _, _ = finished
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "no teacher, QLoRA r 4" in page
    assert ">LoRA r 2, its weights in 4bit float32<" in page
    rows = {row["system"]: row for row in read_json(run / "results.json")["systems"]}
    assert rows["forward_kd"]["lora"] == "QLoRA r 4"
    assert 0 < rows["forward_kd"]["trained_parameters"] < rows["forward_kd"]["parameters"]


def test_the_start_of_a_cut_student_is_not_called_quantized(tmp_path):
    """It is cut in full, and warmed up so; its students are quantized while they train."""
    student = {"model": "cut", "cut": {"layers": 1}, "lora": {"rank": 4, "quantize": "8bit"}}
    tree = changed(student=student, teacher={"training": {"max_steps": 2}})
    path = write_recipe(tmp_path / "r.yaml", tree)
    made = ("corpus", "tokenizer", "teacher", "start", "students/sft.seed1")
    code, _, err = evokd("run", path, "-o", tmp_path / "run", "--only", *made)
    assert code == 0, err
    named = [read_json(tmp_path / "run" / place / "manifest.json") for place in made[3:]]
    assert [one["facts"]["lora"] for one in named] == ["LoRA r 4", "QLoRA r 4"]


def test_settings_of_adapters_are_part_of_what_a_student_is_made_of(finished):
    path, run, _, _ = finished
    planned = evokd("run", path, "-o", run, "--dry-run", "student.lora.rank=3")[1]
    assert "student sft" in planned
    assert "lora" in json.dumps(read_json(run / "students/sft.seed1/manifest.json")["made_of"])
