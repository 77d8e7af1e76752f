"""The documentation as a site: links lead somewhere, and the reference leaves nothing out."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import evokd
from evokd.distil.objectives import LOSSES
from evokd.recipe.recipe import Recipe

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages, by name → the ids that can be linked to; a warning stops the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", "tools/mkdocs.yml"]
    done = subprocess.run(
        [*command, "--site-dir", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pages = {
        path.parent.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("index.html")
    }
    return {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in pages.items()}, pages


def test_every_page_is_in_the_navigation(site):
    """And nothing of it is fetched from elsewhere."""
    _, pages = site
    written = {
        path.relative_to(ROOT / "docs").with_suffix("").as_posix().removesuffix("index").strip("/")
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert {name.strip(".") for name in pages} == written
    for name in written - {""}:
        assert re.search(rf'href="[^"]*\b{name}/"', pages["."]), name
    for text in pages.values():
        assert not re.search(r'<(?:script|link|img)\b[^>]*(?:src|href)="(?:https?:)?//', text)


def test_the_reference_names_what_there_is():
    """mkdocs leaves out silently what it doesn't find."""
    named = 0
    for page in (ROOT / "docs/api").glob("*.md"):
        block = r"^::: (\S+)\n((?:[ ]+.*\n)+)"
        for module, options in re.findall(block, page.read_text(encoding="utf-8"), re.MULTILINE):
            for members in re.findall(r"members: \[(.*)\]", options):
                there = dir(importlib.import_module(module))
                assert {*members.split(", ")} <= {*there}, (page.name, module)
                named += 1
    assert named > 10


def test_the_reference_has_what_may_be_imported(site):
    ids, _ = site
    assert {f"evokd.{name}" for name in evokd.__all__} <= ids["api"]
    assert {f"evokd.distil.objectives.{name}" for name in LOSSES} <= ids["api/objectives"]
    sections = {f"evokd.recipe.recipe.Recipe.{key}" for key in Recipe.model_fields}
    assert sections <= ids["api/recipe"]
