"""Tests run on two cores, offline, one thread each."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / "evokd-tests")

LONGEST = (
    *("test_jobs", "test_study", "test_sharding", "test_processes", "test_faults"),
    *("test_plan_memory", "test_families", "test_readme", "test_sweep", "test_adapters"),
)
"""Modules that go first, so that no process is left with one of them in the end."""


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
