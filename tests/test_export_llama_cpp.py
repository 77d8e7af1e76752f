"""llama.cpp reads what evokd writes: tokens, logits, greedy answers, k-quants."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from evokd.export.exported import export, load_export
from evokd.export.formats import K_QUANTS
from evokd.models.encoding import encode_prompts, token_ids
from test_export import CPU, LINES, MODELS, SHAPE, TOKENIZER, translator

llama_cpp = pytest.importorskip("llama_cpp")
HARD = [
    *(
        "12 345,67 men's can't I'LL we'd",
        "  two  spaces\tand tab ",
        "é 🙂 日本語 汉字 žluťoučký kůň",
    ),
    *('„Anführung“ "quoted"', "a\nb\n\n c", "don’t ʼn ﬁ ½ ² ١٢٣ ４５", "İstanbul ı e\u0301", "   "),
]


def opened(folder, **more):
    """llama.cpp, computing in float32 all through."""
    return llama_cpp.Llama(
        str(folder / "model.gguf"), n_ctx=0, n_threads=1, verbose=False, type_k=0, type_v=0, **more
    )


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_the_same_logits(name, tmp_path):
    made = translator(MODELS[name])
    export(made, tmp_path / "x", "gguf")
    ids = list(range(3, 60))
    with contextlib.closing(opened(tmp_path / "x", logits_all=True)) as model:
        model.eval(ids)
        theirs = np.array(model.scores[: len(ids)])
    with torch.no_grad():
        ours = made.model(torch.tensor([ids])).logits[0].numpy()
    # Its GELU is a table of halves.
    close = 1e-3 if "gemma" in name else 1e-5
    assert np.abs(ours - theirs).max() < close * np.abs(ours).max()


def test_llama_cpp_cuts_text_into_the_same_tokens_and_answers_the_same(tmp_path):
    made = translator(MODELS["llama"])
    export(made, tmp_path / "x", "gguf", "none", ["de-en"])
    with contextlib.closing(opened(tmp_path / "x")) as model:
        for text in (*LINES, *HARD):
            ours = list(token_ids(TOKENIZER, [text], literal=True)[0])
            assert model.tokenize(text.encode(), add_bos=False, special=False) == ours, text
        for ids in encode_prompts(TOKENIZER, made.prompt, LINES, "de", "en"):
            text = TOKENIZER.decode(ids)
            assert model.tokenize(text.encode(), add_bos=False, special=True) == list(ids), text
    card = (tmp_path / "x/README.md").read_text("utf-8").replace("FOLDER", str(tmp_path / "x"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        exec(re.search(r"```python\n(.*?)```", card, re.S)[1], {})
    assert said.getvalue().strip()


@pytest.mark.parametrize("quantization", K_QUANTS)
def test_k_quants_are_as_close_as_their_bits(quantization, tmp_path):
    """Rows of 256, which k-quants want, and of less, which llama.cpp gives another kind."""
    import gguf

    for width, wanted in ((256, quantization[:4].upper()), (64, None)):
        made = translator(LlamaConfig(**SHAPE | {"hidden_size": width, "intermediate_size": 512}))
        facts = export(made, tmp_path / "x", "gguf", quantization)
        assert "llama-cpp-python" in facts["tool"]
        reader = gguf.GGUFReader(tmp_path / "x/model.gguf")
        kinds = {one.tensor_type.name for one in reader.tensors}
        assert (wanted in kinds) if wanted else not {k for k in kinds if k == wanted}
        ids = torch.arange(3, 30)[None]
        with torch.no_grad():
            ours = made.model(ids).logits
            theirs = load_export(tmp_path / "x", CPU).translator.model(ids).logits
        assert (ours - theirs).norm() < 2.0 ** (1 - int(quantization[1])) * 4 * ours.norm()
        assert [path.name for path in (tmp_path / "x").glob("model*")] == ["model.gguf"]
