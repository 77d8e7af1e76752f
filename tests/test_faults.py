"""What a run survives: bench/faults.py, a little of each fault."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from evokd.errors import InputError
from evokd.models.fresh import fresh_config, fresh_model, train_tokenizer
from evokd.recipe.models import FreshModel
from evokd.rundir.files import telling_of_full_disks
from small_study import evokd, recipe, write_recipe

FAULTS = Path(__file__).parents[1] / "bench" / "faults.py"
FEW = (
    *("--kills=1", "--disks=1", "--clocks=1", "--folders=1", "--files=12", "--recipes=8"),
    *("--corpora=20", "--seed=7", "--smaller"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The tallies by what was tried first, of the command as it is typed."""
    file = tmp_path_factory.mktemp("faults") / "faults.json"
    said = subprocess.run(
        [sys.executable, FAULTS, *FEW, "--json", file], capture_output=True, text=True, check=False
    )
    assert file.exists(), said.stderr
    faults = json.loads(file.read_text(encoding="utf-8"))["faults"]
    return {one["fault"].split()[0]: one for one in faults}


@pytest.mark.parametrize(
    ("fault", "tried"),
    [("killed", 1), ("disk", 1), ("clock", 1), ("two", 1), ("recipes", 8), ("corpus", 20)],
)
def test_nothing_is_lost(found, fault, tried):
    assert found[fault]["failures"] == []
    assert found[fault]["tried"] >= tried


def test_a_folder_that_can_only_be_read_is_named_and_left_alone(found):
    assert found["folder"]["failures"] == []
    assert found["folder"]["tried"] or "may not mount" in found["folder"]["notes"][0]


def test_each_damaged_file_is_found(found):
    assert found["file"]["failures"] == []
    assert found["file"]["tried"] == 24


def test_what_fails_for_want_of_room_says_so(tmp_path, monkeypatch):
    """torch.save says no more than that a position is unexpected."""

    def refuse(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RuntimeError, match="unexpected pos"), telling_of_full_disks(tmp_path):
        raise RuntimeError("unexpected pos 356096 vs 355984")
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="No space left"), telling_of_full_disks(tmp_path):
        raise RuntimeError("unexpected pos 356096 vs 355984")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[…] DefaultCPUAllocator: can't allocate memory: …")]
)
def test_want_of_memory_is_said_in_words(tmp_path, monkeypatch, error):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    monkeypatch.setattr("evokd.study.preparation.build_corpus", mock.Mock(side_effect=error))
    code, _, err = evokd("run", path, "-o", tmp_path / "run")
    assert (code, "takes more memory than there is" in err) == (2, True)


def test_models_and_vocabularies_beyond_all_measure(tmp_path):
    texts = ["Der Hund schläft.", "The dog sleeps."]
    tokenizer = train_tokenizer(texts, 10**12, ["<de>", "<en>"])
    assert len(tokenizer) < 400
    assert fresh_config(FreshModel(layers=10**9), tokenizer).num_hidden_layers == 10**9
    for settings in (FreshModel(layers=10**12), FreshModel(hidden_size=8 * 10**12)):
        with pytest.raises(InputError, match=r"GiB, and this machine has .*make it smaller"):
            fresh_model(settings, tokenizer, seed=1)
