"""An ONNX graph, run by ONNX Runtime, says what the model says."""

import contextlib
import io
import re

import pytest
import torch
from transformers import DynamicCache

import evokd as evokd_package
from evokd.errors import InputError
from evokd.export.exported import export, load_export
from evokd.models.saving import EXAMPLE
from evokd.recipe.exports import FORMATS
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import translate
from test_export import CPU, LINES, MODELS, translator

for package in (*FORMATS["onnx"].reads, *FORMATS["onnx"].writes):
    pytest.importorskip(package)


@pytest.fixture(scope="module", params=["llama", "qwen3", "gemma3"])
def exported(request, tmp_path_factory):
    """A model, and a folder that it was exported to."""
    folder = tmp_path_factory.mktemp("onnx") / "x"
    made = translator(MODELS[request.param])
    export(made, folder, "onnx", "none", ["de-en"])
    return made, folder


@pytest.mark.parametrize("settings", [{}, {"batch_size": 1}, {"beam": 3}])
def test_it_says_the_same(exported, settings):
    """With padding, without, and by beam search, whose rows change places."""
    made, folder = exported
    settings = DecodingSettings(extra_tokens=8, **settings)
    ours = translate(made, LINES, "de", "en", settings)
    theirs = translate(load_export(folder, CPU).translator, LINES, "de", "en", settings)
    assert (theirs.lines, theirs.stopped_by) == (ours.lines, ours.stopped_by)
    assert len(set(ours.lines)) >= 4


def test_its_card_works_and_so_does_evokd(exported):
    import onnx

    made, folder = exported
    card = (folder / "README.md").read_text("utf-8").replace("FOLDER", str(folder))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(re.search(r"```python\n(.*?)```", card, re.S)[1], {})
    with evokd_package.Translator.load(folder, device="cpu") as again:
        (line,) = again.translate([EXAMPLE], "de", "en")
    assert line == translate(made, [EXAMPLE], "de", "en").lines[0]
    assert said.getvalue().strip().startswith(line[:20])
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    assert [one.name for one in graph.input][:4] == [
        *("input_ids", "attention_mask", "position_ids", "past_key_values.0.key")
    ]
    assert [one.name for one in graph.output][:3] == ["logits", "present.0.key", "present.0.value"]
    assert str(folder.parents[3]) not in str(graph)  # nor any path of this machine
    assert "site-packages" not in str(graph)


def test_int8_is_smaller_and_close(tmp_path):
    made = translator(MODELS["llama"])
    export(translator(MODELS["llama"]), tmp_path / "x", "onnx", "int8")
    size = (tmp_path / "x/model.onnx.data").stat().st_size
    whole = 4 * sum(weight.numel() for weight in made.model.parameters())
    assert size < 0.35 * whole  # the head, which is tied to the table, is written for itself
    again, ids = load_export(tmp_path / "x", CPU).translator, torch.arange(3, 30)[None]
    with torch.no_grad():
        ours = made.model(ids).logits[:, -1]
        theirs = again.model(ids, torch.arange(27)[None], DynamicCache()).logits[:, 0]
    assert 0 < (ours - theirs).abs().max() < 0.05 * ours.abs().max()


def test_bfloat16_is_refused(tmp_path):
    made = translator(MODELS["llama"])
    made.model.bfloat16()
    with pytest.raises(InputError, match="bfloat16"):
        export(made, tmp_path / "x", "onnx")
    assert list(tmp_path.iterdir()) == []
