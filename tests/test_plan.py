"""`evokd plan`: which placement fits, what to change, how long it takes, and what run refuses."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from evokd.cli import main
from evokd.errors import InputError
from evokd.plan import devices, rates
from evokd.plan.devices import GIB, Device, card, chosen_device, size_of
from evokd.plan.disk import cache_bytes, checkpoint_bytes
from evokd.plan.known import KNOWN
from evokd.plan.models import shapes_of
from evokd.plan.placement import Formats
from evokd.plan.plan import make_plan
from evokd.plan.speed import speed_facts
from evokd.plan.stages import Ground, planned_stages
from evokd.plan.text import text_of
from evokd.plan.time import Amount, model_flops, training_flops
from evokd.recipe.file import check_recipe, load_recipe
from evokd.recipe.shipped import shipped_recipe, shipped_recipes
from evokd.report.plan_view import COLOURS
from evokd.rundir.stage import Stage
from plan_trace import config_of
from small_study import recipe, write_recipe
from test_walls import run_without_torch

PARTS = {"weights", "gradients", "optimizer", "teacher", "activations", "head", "loss"}
CARD = Device("card", "gpu", 80 * GIB, 1e15, 1e12)


def planned(*words, capsys):
    assert main(["plan", *words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def ground_of(made, memory=80, count=1, **more):
    card = replace(CARD, memory=memory * GIB)
    return Ground(shapes_of(made), text_of(made, pairs=1000), card, count, **more)


def test_the_papers_table_fits_eight_cards_where_both_models_are_shared(capsys):
    words = ("paper/table1", "--gpus", "8", "--gpu-memory", "80GiB")
    assert planned(*words, capsys=capsys)["fits"], "as the recipe is"
    words += ("training.sharding=null",)
    tree = planned(*words, capsys=capsys)
    assert tree["fits"]
    assert tree["placement"] == "fsdp2"
    assert [tree["placements"][kind]["fits"] for kind in ("ddp", "fsdp2")] == [False, True]
    assert tree["type"] == ["training.sharding=fsdp2"]
    names = [row["name"] for row in tree["stages"]]
    assert names[:3] == ["teacher", "start", "check"]
    assert sum(name.startswith("student ") for name in names) == 6
    for row in tree["stages"]:
        gib = row["per_device_gib"]
        assert {*PARTS, "runtime", "total"} == {*gib}
        assert gib["total"] == pytest.approx(
            sum(gib[part] for part in {*gib} - {"total"}), abs=0.01
        )
        assert row["fits"]
        assert gib["total"] < 80
    # 16 bytes of 6.74 B weights over eight, by hand, and what fsdp2 gathers of them beside.
    student = next(row for row in tree["stages"] if row["name"] == "student noevo")
    shared = sum(student["per_device_gib"][part] for part in ("weights", "gradients", "optimizer"))
    assert 16 * 6.738e9 / 8 / GIB < shared < 16 * 6.738e9 / 8 / GIB + 2
    assert student["per_device_gib"]["teacher"] > 2 * 13.016e9 / 8 / GIB
    assert main(["plan", *words]) == 0
    said = capsys.readouterr().out
    assert "placements: ddp ✗, fsdp2 ✓" in said
    assert "it fits (fsdp2); type training.sharding=fsdp2" in said


def test_on_one_card_it_doesnt_and_the_plan_says_what_would(capsys):
    tree = planned("paper/table1", "--gpu", "h100", "--pairs", "105000", capsys=capsys)
    assert not tree["fits"]
    assert tree["placement"] == "none", "as a run of one process, though the recipe names fsdp2"
    assert {row["placement"] for row in tree["stages"]} == {"one device"}
    assert not tree["type"]
    rows = {row["name"]: row for row in tree["stages"]}
    assert not rows["teacher"]["fits"]
    assert not rows["student noevo"]["fits"]
    assert rows["check"]["fits"], "a teacher in bfloat16 beside a student in float32"
    more = [change["gpus"] for change in rows["student noevo"]["changes"]]
    assert more == [1, 2]
    said = rows["student noevo"]["refusal"]
    assert "training.sharding=fsdp2" in said
    assert "H100 has 80.0" in said


def test_a_placement_that_a_run_refuses_isnt_looked_at(capsys):
    words = ("smollm2", "--gpus", "2", "--gpu-memory", "80GiB", "teacher.quantize=4bit")
    tree = planned(*words, capsys=capsys)
    assert [*tree["placements"]] == ["ddp"]
    assert main(["plan", *words, "training.sharding=fsdp2"]) == 2
    assert "fsdp2 doesn't go with teacher.quantize; take ddp" in capsys.readouterr().err


def test_stages_are_planned_as_a_run_makes_them():
    """A model that is taken as it is, is loaded as it will be saved; a fresh one is warmed up in
    full; micro-batches are alike."""
    as_it_is = ["teacher.sft=false", "teacher.save_dtype=bfloat16", "training.batch_size=96"]
    made = load_recipe(shipped_recipe("smollm2"), as_it_is)
    teacher = next(one for one in planned_stages(made, ground_of(made)) if one.name == "teacher")
    assert teacher.parts.weights == teacher.saved == 2 * KNOWN["smollm2-135m"].parameters
    for size, count, rows in ((96, 1, 48), (96, 4, 24), (7, 1, 7)):
        made = load_recipe(shipped_recipe("smollm2"), [f"training.batch_size={size}"])
        stages = planned_stages(made, ground_of(made, count=count), "ddp")
        found = {s.training.tokens.rows for s in stages if s.name.startswith("student ")}
        assert found == {rows}

    def parts(*words):
        made = check_recipe(recipe(), words, "test")
        return {one.name: one.parts for one in planned_stages(made, ground_of(made))}

    fresh, lora = parts(), parts("student.lora.rank=4")
    assert lora["start"] == fresh["start"]
    assert lora["student sft"].optimizer < fresh["student sft"].optimizer
    with pytest.raises(InputError, match=r"batch_size .* can't be shared out among 3"):
        make_plan(made, ground_of(made, count=3))


def test_hours_and_cost_are_arithmetic():
    """2 FLOP a weight and token forward, twice that backward; logits of responses alone."""
    student, teacher = KNOWN["llama-2-7b"], KNOWN["llama-2-13b"]
    text = Amount(1000, 100, 40)
    body = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    attention = 32 * 4 * 100 * 4096
    head = 32000 * 4096
    expected = 100_000 * 3 * (2 * body + attention) + 40_000 * 6 * head
    assert model_flops(student, None, text) == pytest.approx(expected)
    theirs = 40 * (4 * 5120 * 5120 + 3 * 5120 * 13824)
    reads = 100_000 * (2 * theirs + 40 * 4 * 100 * 5120) + 40_000 * 2 * 32000 * 5120
    assert model_flops(student, teacher, text) == pytest.approx(expected + reads)
    made = load_recipe(shipped_recipe("paper/table1"))
    ground = ground_of(made, count=8)
    stage = next(s for s in planned_stages(made, ground, "fsdp2") if s.name == "student noevo")
    amount = ground.text.trained(made.training)
    assert amount.pairs == 3000
    again = training_flops(stage.training, amount)
    forward = amount.all_tokens * student.forward_flops(amount.tokens)
    once = model_flops(student, teacher, amount)
    assert again == pytest.approx(once + forward), "checkpointing computes forward once more"
    tree = make_plan(made, ground, price=2.0)
    row = next(row for row in tree["stages"] if row["name"] == "student noevo")
    hours = again / (8 * 0.40 * 1e15) / 3600
    assert row["hours"] == pytest.approx(hours, rel=1e-3)
    assert row["cost"] == pytest.approx(hours * 8 * 2, rel=1e-3)


def test_a_measured_rate_goes_before_an_assumed_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert rates.measured_rate("card") is None
    for number, flops in enumerate((1e12, 3e12, 2e12)):
        facts = {"flops_per_s": flops, "train_seconds": 60.0, "tokens_per_s": 10.0 + number}
        rates.remember("card", facts)
    rates.remember("card", {"flops_per_s": 9e12, "train_seconds": 1.0})  # too short to tell
    rates.remember("other", {"train_seconds": 60.0})
    found = rates.measured_rate("card")
    assert (found.flops_per_s, found.trainings) == (2e12, 3)
    assert rates.measured_rate("other") is None
    made = check_recipe(recipe(), [], origin="test")
    fast, slow = make_plan(made, ground_of(made)), make_plan(made, ground_of(made), rate=found)
    assert slow["total"]["hours"] > 10 * fast["total"]["hours"]
    assert any("measured here" in note for note in slow["notes"])
    for _ in range(30):
        rates.remember("card", {"flops_per_s": 5e12, "train_seconds": 60.0})
    assert rates.measured_rate("card").trainings == rates.KEPT
    rates.rates_file().write_text("{damaged")
    assert rates.measured_rate("card") is None
    rates.remember("card", {"flops_per_s": 1e12, "train_seconds": 60.0})
    assert rates.measured_rate("card").trainings == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    rates.remember("card", {"flops_per_s": 1e12, "train_seconds": 60.0})  # no matter of the run's


def test_model_flops_of_a_training_and_their_share_of_the_peak():
    config = config_of(KNOWN["llama-2-7b"]).to_dict()
    facts = {"tokens_per_s": 1000.0, "response_tokens_per_s": 400.0}
    found = speed_facts(facts, config, None, 100.0, "NVIDIA H100 80GB HBM3", devices=2)
    second = model_flops(KNOWN["llama-2-7b"], None, Amount(10, 100, 40)) / 2
    assert found["flops_per_s"] == pytest.approx(second, rel=1e-3)
    assert found["mfu"] == pytest.approx(second / 989e12, abs=1e-4)
    assert speed_facts(facts, config, config, 100.0, "a CPU")["mfu"] is None
    assert speed_facts({}, config, None, 100.0, "a CPU") == {}
    assert speed_facts(facts, {"model_type": "mamba"}, None, 100.0, "a CPU") == {}


def test_cards_and_sizes():
    assert card("NVIDIA A100-SXM4-40GB").memory == 40 * GIB
    assert card("NVIDIA H100 PCIe").peak < card("NVIDIA H100 80GB HBM3").peak == 989e12
    assert card("NVIDIA L40S").name == "L40S"
    assert card("Matrox") is None
    assert chosen_device("h100", "64GiB").memory == 64 * GIB
    assert [size_of(text) for text in ("80GiB", "80", "24GB")] == [80 * GIB, 80 * GIB, 24e9]
    for wrong in (("matrox", None), (None, "much"), (None, "-3GiB")):
        with pytest.raises(InputError, match="accepted"):
            chosen_device(*wrong)


def test_disk_is_counted_as_stages_fill_it():
    student, text = KNOWN["llama-2-7b"], Amount(10, 100, 40)
    assert checkpoint_bytes(student, Formats()) == 3 * 12 * student.parameters
    hidden = cache_bytes(student, "hidden", 64, text, 2.0)
    assert hidden == 400 * 4096 * 2 + 32000 * 4096 * 2
    assert cache_bytes(student, "topk", 64, text, 2.0) == 400 * (64 * 4 + 8)
    assert cache_bytes(KNOWN["qwen2.5-7b"], "topk", 64, text, 2.0) == 400 * (64 * 5 + 8)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_planned_without_a_network(name, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tree = planned(name, "--gpu", "h100", "--gpus", "2", "--pairs", "1000", capsys=capsys)
    assert tree["stages"]
    assert tree["total"]["hours"] > 0


def test_a_cached_teacher_is_planned_as_a_stage_and_not_beside_the_student(capsys):
    words = ("smollm2", "--gpu", "h100", "teacher.signal=hidden", "methods=[sft, noevo, seq_kd]")
    rows = {row["name"]: row for row in planned(*words, capsys=capsys)["stages"]}
    assert rows["cache (hidden)"]["disk_gib"] > 0
    live = planned(*words[:3], "methods=[sft, noevo, seq_kd]", capsys=capsys)["stages"]
    beside = {row["name"]: row["per_device_gib"]["teacher"] for row in live}
    assert rows["student noevo"]["per_device_gib"]["teacher"] < beside["student noevo"]
    assert rows["student seq_kd"]["per_device_gib"]["teacher"] == 0
    assert "teacher's text (teacher)" in rows


def test_the_picture_has_a_bar_for_each_part_and_the_cards_memory(tmp_path, capsys):
    file = tmp_path / "plan.svg"
    assert main(["plan", "demo", "--gpu", "l4", "--picture", str(file)]) == 0
    root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    words = " ".join("".join(node.itertext()) for node in root.iter())
    for word in (*COLOURS, "student vouched", "L4, 24 GiB"):
        assert word in words
    assert "it fits" in capsys.readouterr().out


def test_a_plan_needs_no_torch(tmp_path):
    said = run_without_torch(
        "import sys\nfrom evokd.cli import main\n"
        "sys.exit(main(['plan', 'paper/table1', '--gpus', '8', '--gpu-memory', '80GiB']))\n",
        tmp_path,
    )
    assert "it fits (fsdp2)" in said


def begins(monkeypatch):
    """Have a run say that it began, and do no more."""

    def run(*_, **__):
        raise InputError("ran")

    monkeypatch.setattr("evokd.study.run.run", run)


@pytest.fixture
def large(tmp_path):
    """A recipe that no machine of 1 GiB runs."""
    fresh = {"model": "fresh", "fresh": {"hidden_size": 2048, "layers": 16, "heads": 16}}
    asked = recipe(teacher={**fresh, "training": {"max_steps": 2}})
    return str(write_recipe(tmp_path / "large.yaml", asked))


def test_run_refuses_what_cant_fit_in_the_words_of_the_plan(large, tmp_path, monkeypatch, capsys):
    small = Device("a small machine", "cpu", 1.0 * GIB, 1e10, 1e10)
    monkeypatch.setattr(devices, "cpu", lambda: small)
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    out = tmp_path / "out"
    assert main(["run", large, "-o", str(out), "device=cpu"]) == 2
    said = capsys.readouterr().err
    assert not out.exists()
    assert main(["plan", large, "-o", str(out), "device=cpu"]) == 0
    words = re.search(r"teacher takes [\d.]+ GiB \(one device;", said)
    assert words
    assert "a small machine has 1.0" in said
    assert "--anyway" in said
    assert "✗ teacher takes" in capsys.readouterr().out
    begins(monkeypatch)
    assert main(["run", large, "-o", str(out), "device=cpu", "--anyway"]) == 2
    assert "evokd: ran" in capsys.readouterr().err


def test_run_begins_where_it_isnt_clear_or_not_known(large, tmp_path, monkeypatch, capsys):
    begins(monkeypatch)
    tree = planned(large, "--pairs", "200", "-o", str(tmp_path), capsys=capsys)
    largest = max(row["per_device_gib"]["total"] for row in tree["stages"])
    near = Device("nearly", "cpu", largest / 1.05 * GIB, 1e10, 1e10)
    monkeypatch.setattr(devices, "cpu", lambda: near)
    assert main(["run", large, "-o", str(tmp_path / "out"), "device=cpu"]) == 2
    assert "evokd: ran" in capsys.readouterr().err
    monkeypatch.setattr(devices, "cpu", lambda: replace(near, memory=1e6))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    unknown = [large, "-o", str(tmp_path / "out"), "device=cpu", "teacher.model=nobody/knows-this"]
    assert main(["run", *unknown]) == 2
    assert "evokd: ran" in capsys.readouterr().err


def test_a_cluster_is_no_matter_of_this_machines_memory(large, tmp_path, monkeypatch, capsys):
    def make_stages(*_):
        raise InputError("handed over")

    monkeypatch.setattr("evokd.study.jobs.make_stages", make_stages)
    monkeypatch.setattr("evokd.cli.studies._executor", lambda *_: "it")  # submitit may not be here
    monkeypatch.setattr(devices, "cpu", lambda: Device("login", "cpu", 1.0 * GIB, 1e10, 1e10))
    assert main(["run", large, "-o", str(tmp_path / "out"), "device=cpu", "--on", "slurm"]) == 2
    assert "evokd: handed over" in capsys.readouterr().err


def finished(folder, place):
    """A stage that somebody finished."""
    stage = Stage(place, folder, place, {})
    stage.begin()
    stage.finish({})


def test_a_stage_that_stands_there_isnt_asked_about(large, tmp_path, monkeypatch, capsys):
    begins(monkeypatch)
    monkeypatch.setattr(devices, "cpu", lambda: Device("small", "cpu", 1.0 * GIB, 1e10, 1e10))
    out, store = tmp_path / "out", tmp_path / "store"
    words = ["run", large, "-o", str(out), "device=cpu", "methods=[noevo, seq_kd]"]
    words += ["teacher.signal=hidden"]

    def said(*more):
        assert main([*words, *more]) == 2
        return capsys.readouterr().err

    places = ["teacher", "gate", "teacher_text/teacher", "cache/hidden", "translations"]
    asked = ["teacher", "check", "teacher's text (teacher)", "cache (hidden)", "translations of"]
    for place in places[:-1]:
        finished(out, place)
    (out / "translations").mkdir()
    (out / "translations/phrases.en-de.teacher.json").write_text("{}")
    assert "evokd: ran" in said()
    for place, name in zip(places, asked, strict=True):
        (out / place).rename(tmp_path / "aside")
        assert f"evokd: {name}" in said()
        (tmp_path / "aside").rename(out / place)
    (out / "teacher").rename(tmp_path / "aside")
    finished(store, "teacher/0123")
    assert "evokd: ran" in said("--store", str(store))
    assert "evokd: teacher takes" in said("--store", str(tmp_path / "empty"))
