"""What runs in the environments of neural metrics says what the libraries themselves say.

EVOKD_TEST_COMET names a Python that has unbabel-comet, as `evokd metrics install` makes one, and
EVOKD_TEST_MARIAN one that has pymarian. Without them only MetricX is tested, for which transformers
will do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import MT5Config, MT5ForConditionalGeneration, PreTrainedTokenizerFast

from evokd.errors import InputError
from evokd.evaluate import neural, neural_install
from evokd.evaluate.neural import Segment, judged
from evokd.evaluate.neural_runner import SCORE_TOKEN
from evokd.recipe.metrics import METRICS
from neural_models import SEGMENTS, WORDS

COMET = os.environ.get("EVOKD_TEST_COMET")
MARIAN = os.environ.get("EVOKD_TEST_MARIAN")


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOKD_METRICS", str(tmp_path / "metrics"))
    monkeypatch.setattr(neural, "_judged", {})


def ours(metric, rows=SEGMENTS):
    """The same segments through evokd."""
    needs = METRICS[metric].needs
    return judged(
        metric,
        [
            Segment(row["src"], row["mt"], row["ref"] if "reference" in needs else "")
            for row in rows
        ],
    )


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Tiny models, and what the library says by each of every segment by itself."""
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("neural_models.py")
    command = [str(COMET), str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.skipif(not COMET, reason="EVOKD_TEST_COMET names no Python with unbabel-comet")
def test_comets_are_those_of_the_library(theirs, monkeypatch):
    """However they are batched."""
    folder, found = theirs
    monkeypatch.setattr(neural_install, "environment", lambda say: Path(str(COMET)))
    assert {*found} == {"comet", "cometkiwi", "xcomet"}
    for metric, scores in found.items():
        signature = neural_install.install(metric, str(folder / metric), print)
        assert signature.split("|")[1].startswith("Comet2.")
        assert signature.split("|")[2:4] == ["fp32", metric]
        assert ours(metric) == pytest.approx(scores, abs=5e-5)
        assert len({round(score, 4) for score in scores}) > 20  # the model tells segments apart
    # another checkpoint of that name is another model
    checkpoint = folder / "comet/checkpoints/model.ckpt"
    before = checkpoint.read_bytes()
    checkpoint.write_bytes(before + b"\0")
    again = neural_install.install("comet", str(folder / "comet"), print)
    assert again != neural._judged["comet"].signature
    checkpoint.write_bytes(b"torn")
    with pytest.raises(InputError, match="comet doesn't work with"):
        neural_install.install("comet", str(folder / "comet"), print)
    checkpoint.write_bytes(before)


@pytest.mark.skipif(
    not (COMET and MARIAN), reason="EVOKD_TEST_MARIAN names no Python, or the other"
)
def test_marians_are_those_of_the_library(theirs, monkeypatch):
    folder, found = theirs
    monkeypatch.setattr(neural_install, "find_spec", lambda name: name)
    monkeypatch.setattr(neural_install.sys, "executable", MARIAN)
    signature = neural_install.install("comet", str(folder / "marian/comet.npz"), print)
    assert signature.split("|")[1].startswith("pymarian")
    assert ours("comet") == pytest.approx(found["comet"], abs=5e-4)


@pytest.fixture
def metricx(tmp_path):
    """A tiny mT5 and its tokenizer."""
    words = {word: n for n, word in enumerate(["<pad>", "</s>", "<unk>", "source", *WORDS])}
    words |= {word: len(words) + n for n, word in enumerate(["candidate", "reference", ":"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "metricx")
    torch.manual_seed(1)
    config = MT5Config(
        vocab_size=SCORE_TOKEN + 1,
        **{"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2},
        initializer_factor=3.0,
    )
    model = MT5ForConditionalGeneration(config).eval()
    with torch.no_grad():  # scores within 0 to 25, and above
        model.lm_head.weight[SCORE_TOKEN] = torch.randn(16)
        ids = torch.randint(3, len(words), (50, 20))
        some = model(input_ids=ids, decoder_input_ids=torch.zeros(50, 1, dtype=torch.long)).logits
        of_score = some[:, 0, SCORE_TOKEN]
        model.lm_head.weight[SCORE_TOKEN] *= 20 / of_score.median()
    model.save_pretrained(tmp_path / "metricx")
    return tmp_path / "metricx", model, words


def test_metricx_is_the_first_answer_at_one_token(metricx, monkeypatch):
    folder, model, words = metricx
    monkeypatch.setattr(neural_install, "environment", lambda say: Path(sys.executable))
    signature = neural_install.install("metricx", str(folder), print)
    assert signature.split("|")[1].startswith("transformers")
    found = ours("metricx")
    expected = []
    for row in SEGMENTS:  # one by one, without padding or end of sentence
        text = f"source : {row['src']} candidate : {row['mt']} reference : {row['ref']}"
        ids = torch.tensor([[words[word] for word in text.split()]])
        with torch.no_grad():
            hidden = model.encoder(ids).last_hidden_state
            start = torch.tensor([[0]])
            state = model.decoder(start, encoder_hidden_states=hidden).last_hidden_state[0, 0]
            expected.append(float(state @ model.lm_head.weight[SCORE_TOKEN]))
    assert found == pytest.approx([min(max(score, 0.0), 25.0) for score in expected], abs=1e-3)
    assert min(expected) < 25 < max(expected)
    assert len({round(score, 3) for score in found}) > 5
