"""What a plan proposes: it fits, and a run takes it."""

from unittest import mock

import pytest

from evokd.plan.changes import smallest_changes
from evokd.plan.devices import GIB
from evokd.plan.known import KNOWN
from evokd.plan.plan import make_plan
from evokd.plan.stages import planned_stages
from evokd.recipe.file import check_recipe, load_recipe
from evokd.recipe.shipped import shipped_recipe, shipped_recipes
from evokd.recipe.sweep import without_swept
from evokd.recipe.training import micro_batches
from evokd.study.spreading import sharding
from test_plan import ground_of


def changes_of(made, memory):
    """Stage → what is proposed for it on one card of so many bytes."""
    ground = ground_of(made, memory / GIB)
    stages = planned_stages(made, ground, "none")
    return {one.name: one for one in stages}, smallest_changes(stages, made, ground)


def as_typed(made, change):
    """The recipe with a change, and what a run of it asks of each training."""
    tree = without_swept(made.model_dump(mode="json", exclude={"grid"}))
    other = check_recipe(tree, list(change.typed), "test")
    with mock.patch("evokd.processes.count", return_value=change.devices):
        for training, _ in other.trainings().values():
            assert (sharding(other, training) == "fsdp2") == (change.devices > 1)
            micro_batches(training, change.devices)
    return other


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_run_takes_every_change_that_is_proposed_and_then_it_fits(name):
    made = load_recipe(shipped_recipe(name))
    totals = {
        one.name: one.parts.total
        for one in planned_stages(made, ground_of(made), "none")
        if one.training is not None
    }
    proposed = 0
    for share in (0.95, 0.6):
        # 1.5 GiB of any are CUDA's own.
        memory = 1.5 * GIB + share * (max(totals.values()) - 1.5 * GIB)
        _, changes = changes_of(made, memory)
        assert {*changes} == {name for name, total in totals.items() if total > memory}
        for stage, ones in changes.items():
            for change in ones:
                other = as_typed(made, change)
                tree = make_plan(other, ground_of(other, memory / GIB, change.devices))
                row = next(row for row in tree["stages"] if row["name"] == stage)
                assert row["fits"]
                assert row["per_device_gib"]["total"] == pytest.approx(change.total / GIB, abs=0.01)
                proposed += 1
    assert proposed


def test_what_a_run_refuses_or_ignores_isnt_proposed():
    """An on-policy student reads a live teacher whatever the signal is; a quantized teacher isn't
    laid out in parts; a batch has to be shared out; a method's own size of micro-batches stays."""
    on_policy = ["methods=[{name: gkd, objective: jsd, on_policy: {}}]", "teacher.sft=false"]

    def proposed(*words, gib=3.0):
        made = load_recipe(shipped_recipe("smollm2"), [*on_policy, *words])
        return [word for one in changes_of(made, gib * GIB)[1]["student gkd"] for word in one.typed]

    hidden, shards = "teacher.signal=hidden", "training.sharding=fsdp2"
    assert shards in proposed()
    assert hidden not in proposed()
    assert proposed("teacher.quantize=4bit")
    words = ("teacher.quantize=4bit", "training.optimizer=adamw_8bit", "training.compile=true")
    for refused in (*words, "training.batch_size=33"):
        assert shards not in proposed(refused)
    assert any("micro_batch_size" in word for word in proposed(gib=4.6))
    own = proposed("student.training.micro_batch_size=8", gib=4.6)
    assert own
    assert not any("micro_batch_size" in word for word in own)


def test_smaller_micro_batches_change_methods_that_rank_each():
    words = ["methods=[noevo, {name: ranked, objective: self_evolution_topk}]"]
    made = load_recipe(shipped_recipe("smollm2"), words)
    stages, _ = changes_of(made, 1e15)
    _, changes = changes_of(made, stages["student noevo"].parts.total - 1)
    (plain,), ranked = changes["student noevo"], changes["student ranked"]
    assert plain.typed[0].startswith("training.micro_batch_size=")
    assert not plain.changes_result
    for change in ranked:
        cut = any("micro_batch_size" in word for word in change.typed)
        assert change.changes_result or not cut


def test_the_smallest_change_leaves_results_as_they_are_where_it_can():
    made = load_recipe(shipped_recipe("smollm2"))
    name = "student self_evolution"
    total = changes_of(made, 1e15)[0][name].parts.total
    (first,) = changes_of(made, total - 1)[1][name]
    assert first.typed[0].startswith("training.micro_batch_size=")
    assert not first.changes_result
    least = 16 * KNOWN["smollm2-135m"].parameters + 1.5 * GIB  # of weights, and CUDA's own
    (first, more) = changes_of(made, least)[1][name]
    assert first.changes_result
    assert more.typed[0] == "training.sharding=fsdp2"
    assert more.devices == 2
    assert changes_of(made, 1e6)[1][name] == []
