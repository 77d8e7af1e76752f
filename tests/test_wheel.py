"""What a wheel holds that is built from a clean clone; `make wheel-test` installs and runs one."""

from __future__ import annotations

import re
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.metadata.custom import CustomMetadataHook

ROOT = Path(__file__).parent.parent
DATA = {
    *("evokd/py.typed", "evokd/data/phrasebook.tsv.xz", "evokd/data/languages.tsv"),
    "evokd/distil/row_loss/rows.c",
    *("evokd/report/page.html.jinja", "evokd/report/map.html.jinja", "evokd/report/page.css"),
    "evokd/report/macros.html.jinja",
}


def run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what is committed, by the installed hatchling: a test needs no network."""
    folder = tmp_path_factory.mktemp("wheel")
    run("git", "clone", "--quiet", ROOT, folder / "clone")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--quiet", "--wheel-dir", folder, folder / "clone")
    (path,) = folder.glob("evokd-*.whl")
    with ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def committed():
    return run("git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD").splitlines()


def test_a_wheel_holds_every_module_and_what_they_read(wheel, committed):
    folders = {"src/": "", "extras/": "", "recipes/": "evokd/recipes/"}
    expected = {
        place + path.removeprefix(folder)
        for path in committed
        for folder, place in folders.items()
        if path.startswith(folder)
    }
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert names > DATA
    assert "evokd/recipes/demo.yaml" in names


def test_a_wheel_says_what_it_is(wheel):
    files = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "evokd = evokd.cli:main" in wheel.read(files["entry_points.txt"]).decode()
    assert wheel.read(files["LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    about = message_from_bytes(wheel.read(files["METADATA"]))
    assert about["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in about.get_all("Classifier")
    text = about.get_payload(decode=True).decode()
    assert text.lstrip().startswith("# evokd\n")
    assert "docs/results.md" in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)


@pytest.mark.parametrize(
    ("repository", "seen"),
    [
        (None, "a file, [a site](https://a.b/c) and [a place](#here)"),
        (
            "https://host/us/evokd/",
            "[a file](https://host/us/evokd/blob/HEAD/docs/a.md#b), [a site](https://a.b/c) and "
            "[a place](#here)",
        ),
    ],
)
def test_links_to_files_lead_to_the_repository_or_are_words(tmp_path, repository, seen):
    text = "[a file](docs/a.md#b), [a site](https://a.b/c) and [a place](#here)"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    hook = CustomMetadataHook(str(tmp_path), {"path": str(ROOT / "tools/package_readme.py")})
    metadata = {"name": "evokd"} | ({"urls": {"Repository": repository}} if repository else {})
    hook.update(metadata)
    assert metadata["readme"] == {"content-type": "text/markdown", "text": seen}
