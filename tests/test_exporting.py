"""Exports as a part of a study: stages, results, the page and the map."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from evokd.cli.shipping import _noted_in_run
from evokd.errors import InputError
from evokd.recipe.file import check_recipe
from evokd.report.exports import Exported, exports_grid, shipping_figures
from evokd.report.map import Map
from evokd.report.results import Results
from evokd.rundir.verify import verify
from evokd.study import exporting
from small_study import evokd, recipe, write_recipe

INT8 = {"to": "ctranslate2", "quantize": "int8", "lines": 4}
RECORD = {
    **{"format": "ctranslate2", "quantization": "int8", "dtype": "float32", "agreement": 0.5},
    **{"bleu_float": 20.0, "bleu_export": 19.0, "chrf_float": 50.0, "chrf_export": 50.5},
    **{"differs": True, "words_per_s": 300.0, "words_per_s_float": 100.0, "seconds_alone": 0.012},
    **{"load_seconds": 0.25, "size_mib": 1.5, "peak_mib": 700.0},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A grid of one point, whose only student is exported."""
    folder = tmp_path_factory.mktemp("exporting")
    tree = recipe(directions=["en-de"], methods=["sft"], exports=INT8, grid={"size": {"small": {}}})
    path = write_recipe(folder / "recipe.yaml", tree)
    code, _, err = evokd("run", path, "-o", folder / "run")
    assert code == 0, err
    return path, folder / "run"


def test_a_study_exports_its_students_and_shows_what_they_became(study):
    path, grid = study
    run = grid / "small"
    stage = run / "exports/sft.seed1/ctranslate2-int8"
    facts = json.loads((stage / "model/parity.json").read_text("utf-8"))
    (row,) = Results.read(run).exports
    assert row == {"system": "sft", "seed": 1, **facts}
    assert (row["texts"][0]["text"], row["texts"][0]["lines"]) == ("phrases", 4)
    for page in (run / "report.html", run / "table.md", grid / "report.html", grid / "map.md"):
        assert "ctranslate2, int8" in page.read_text("utf-8")
    (tree,) = json.loads((grid / "map.json").read_text("utf-8"))["exports"]
    assert (tree["point"], tree["size_mib"]) == ("small", facts["size_mib"])
    assert Map(grid).exports[0].name == "small"
    _, out, _ = evokd("run", path, "-o", grid, "--dry-run")
    assert "0 to make, 0 to make anew" in out
    code, said, _ = evokd("translate", stage / "model", "-l", "en-de", stdin=b"One sentence.\n")
    assert (code, said.count("\n")) == (0, 1)


def test_what_the_command_exports_is_shown_on_the_page_of_its_run(study, tmp_path, monkeypatch):
    monkeypatch.setattr("evokd.export.parity.peak_mib", lambda *_: None)  # it can't be told
    run = study[1] / "small"
    model = run / "students/sft.seed1/model"
    code, _, err = evokd(
        "export", model, "--to", "gguf", "--quantize", "q8_0", "-o", tmp_path / "x", "--lines", 4
    )
    assert code == 0, err
    assert f"shown on {run / 'report.html'}" in err
    assert "gguf, q8_0" in (run / "report.html").read_text("utf-8")
    assert [row["format"] for row in Results.read(run).exports] == ["ctranslate2", "gguf"]
    assert verify(run) == []
    tree = Results.read(run).tree | {"exports": []}
    assert len(Results(tree, run).exports) == 1
    tree["stages"]["students/sft.seed1"]["fingerprint"] = "another"  # it was trained anew since
    assert Results(tree, run).exports == []


def test_a_model_at_the_root_of_a_disk_is_in_no_run():
    assert _noted_in_run(Path("/model"), {}) is None


def test_a_format_that_cant_be_written_is_refused_before_anything_is_made(tmp_path):
    for exports, complaint in (
        ({"to": "tflite"}, "unknown format 'tflite'"),
        ({"to": "gguf", "quantize": "int8"}, "int8: gguf is written here in none, q8_0"),
        ([INT8, {**INT8, "lines": 2}], "exports: 'ctranslate2-int8' appears twice"),
    ):
        with pytest.raises(InputError, match=complaint):
            check_recipe(recipe(exports=exports))


@pytest.mark.parametrize("is_here", [True, False])
def test_a_beam_that_llama_cpp_cant_have_is_refused_before_anything_is_made(monkeypatch, is_here):
    monkeypatch.setattr(exporting, "find_spec", lambda name: is_here)
    made = check_recipe(recipe(exports={"to": "gguf"}, decoding={"beam": 2}))
    with pytest.raises(InputError, match="beam=2") if is_here else nullcontext():
        exporting.check_exports(made)


def test_the_table_and_the_figures():
    """By hand: 300 words/s are three times 100; 19 BLEU are one less than 20."""
    one = Exported("ctranslate2, int8", "sft", "sft", RECORD)
    (row,) = exports_grid([one]).groups[""]
    assert row[2:6] == ["50 %", "19.00", "−1.0‡", "+0.5"]
    assert row[6:] == ["1.5", "300 (3.0×)", "100", "12.0", "0.25", "700"]
    uncompared = {k: RECORD[k] for k in ("format", "quantization", "dtype")}
    assert exports_grid([one._replace(record=uncompared)]).groups[""][0][2:] == ["–"] * 10
    assert shipping_figures([one], {}) == {}
    larger = one._replace(name="m", record={**RECORD, "words_per_s": 150.0, "size_mib": 12.0})
    speed, size = shipping_figures([one, larger], {"teacher": 25.0}).values()
    assert ">150<" in speed
    assert ">300<" in speed
    assert ">12<" in size
