"""Tests run on two cores, offline, one thread each."""

import gc
import os
import tempfile
from pathlib import Path

import pytest

gc.set_threshold(20_000)  # imports make a million objects, and keep them
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / "evokd-tests")

LONGEST = (
    *("test_processes", "test_jobs", "test_sharding", "test_study", "test_plan_memory"),
    *("test_faults", "test_export_onnx", "test_sifting", "test_engines", "test_trainer"),
    *("test_examples", "test_run_folder"),
)
"""Modules that go first, so that no process is left with one of them in the end."""


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True, scope="module")
def _only_what_tests_make_is_searched_for_garbage():
    """Each training collects garbage twice; looking through all objects of torch and transformers
    took more than half of a small study's time. What is here between two modules stays anyway."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()  # or libraries complain of it in the end
