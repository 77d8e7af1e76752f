"""What was exported says what the model said, and a folder of it is a translator."""

import copy
import json
import re
import sys
from dataclasses import replace

import pytest
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

import evokd as evokd_package
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.errors import InputError
from evokd.export import parity
from evokd.export.exported import export, load_export
from evokd.export.gguf_format import dense
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import Translator
from evokd.models.saving import save_translator
from evokd.recipe.exports import FORMATS
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import translate
from evokd.translate.engines.engine import generate_by
from evokd.translate.lengths import size_by
from small_study import evokd

CPU = torch.device("cpu")
LINES = ["Zwei junge Männer", "12 men", "", "two  young men outside 12", "é 🙂"]
TOKENIZER = train_tokenizer(
    ["Zwei junge Männer sind im Freien", "two young men outside 12"] * 9, 400, ["<en>", "<de>"]
)
SHAPE = {
    "vocab_size": len(TOKENIZER) + 3,  # padded, as many are
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEAD = {"head_dim": 16, "query_pre_attn_scalar": 16}
MODELS = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama tied, scaled": LlamaConfig(
        **SHAPE,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
    ),
    "mistral": MistralConfig(**SHAPE, sliding_window=None, head_dim=16),
    "qwen2": Qwen2Config(**SHAPE),
    "llama 3": LlamaConfig(
        **SHAPE,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "qwen2, yarn": Qwen2Config(
        **SHAPE,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "gemma2": Gemma2Config(**SHAPE, **HEAD),
    "gemma3": Gemma3TextConfig(
        **SHAPE | {"num_hidden_layers": 3},
        **HEAD,
        sliding_window=8,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
        },
    ),
}


def translator(config, seed=1):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    for weight in model.parameters():
        if weight.ndim == 1:  # norms and biases, which begin as 1 and 0
            weight.data += 0.1 * torch.randn_like(weight)
    return Translator(model, TOKENIZER, load_prompt("compact"))


@pytest.mark.parametrize("name", MODELS)
def test_gguf_is_read_back_to_the_same_logits(name, tmp_path):
    made = translator(MODELS[name])
    facts = export(made, tmp_path / "x", "gguf", "none", ["en-de"])
    assert facts["tool"].startswith("gguf ")
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        ours, theirs = made.model(ids).logits, dense(tmp_path / "x", CPU)(ids).logits
    assert torch.equal(ours, theirs)
    whole = (tmp_path / "x/model.gguf").stat().st_size
    export(made, tmp_path / "x", "gguf", "q8_0", ["en-de"])
    assert (tmp_path / "x/model.gguf").stat().st_size < 0.6 * whole
    with torch.no_grad():
        theirs = dense(tmp_path / "x", CPU)(ids).logits
    assert 0 < (ours - theirs).abs().max() < 0.03 * ours.abs().max()


def test_gguf_names_what_it_holds(tmp_path):
    """As llama.cpp looks for it: tokens in order, kinds of tokens, merges, the end of an answer."""
    import gguf

    export(translator(MODELS["qwen2"]), tmp_path / "x", "gguf")
    reader = gguf.GGUFReader(tmp_path / "x/model.gguf")

    def value(key):
        return reader.fields[key].contents()

    tokens = value("tokenizer.ggml.tokens")
    assert tokens[: len(TOKENIZER)] == TOKENIZER.convert_ids_to_tokens(range(len(TOKENIZER)))
    assert len(tokens) == SHAPE["vocab_size"]
    special = set(TOKENIZER.all_special_tokens) | set(prompt_tags(["en", "de"]))
    kinds = value("tokenizer.ggml.token_type")
    assert {t for t, kind in zip(tokens, kinds, strict=True) if kind == 3} >= special
    assert value("tokenizer.ggml.eos_token_id") == TOKENIZER.eos_token_id
    assert value("general.architecture") == "qwen2"
    assert value("qwen2.attention.head_count_kv") == 2
    assert not value("tokenizer.ggml.add_bos_token")


@pytest.mark.parametrize(
    "cut",
    [
        pre_tokenizers.Whitespace(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\p{N}{1,3}|\s+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    ],
)
def test_tokenizers_that_llama_cpp_has_no_name_for_leave_nothing(cut, tmp_path):
    made = translator(MODELS["llama"])
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.backend_tokenizer.pre_tokenizer = cut
    with pytest.raises(InputError, match="--to gguf: found a tokenizer"):
        export(replace(made, tokenizer=tokenizer), tmp_path / "x", "gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "config",
    [
        PhiConfig(**SHAPE),
        MistralConfig(**SHAPE, sliding_window=8),
        Gemma2Config(**SHAPE, head_dim=16, query_pre_attn_scalar=8),
        Qwen3Config(**SHAPE, rope_parameters=MODELS["llama 3"].rope_parameters),
    ],
)
def test_models_that_llama_cpp_would_read_otherwise_leave_nothing(config, tmp_path):
    with pytest.raises(InputError, match="--to gguf: found"):
        export(translator(config), tmp_path / "x", "gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_safetensors_in_another_number_format(dtype, tmp_path):
    made = translator(MODELS["qwen3"])
    export(made, tmp_path / "x", "safetensors", dtype, ["en-de"])
    again = load_export(tmp_path / "x", CPU).translator
    assert again.model.dtype == getattr(torch, dtype)
    for name, weight in made.model.state_dict().items():  # rounded in place
        assert torch.equal(weight, again.model.state_dict()[name])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "x")  # as its card says
    assert plain.generation_config.eos_token_id == [2]


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_ctranslate2_says_the_same_with_and_without_the_model(quantization, tmp_path):
    config, settings = MODELS["llama"], DecodingSettings(extra_tokens=8)
    ours = translate(translator(config), LINES, "de", "en", settings).lines
    facts = export(translator(config), tmp_path / "x", "ctranslate2", quantization, ["de-en"])
    again = load_export(tmp_path / "x", CPU)
    with again.at_work() as engine:
        generate = generate_by(engine, settings)
        theirs = translate(again.translator, LINES, "de", "en", settings, None, generate)
    assert sum(a == b for a, b in zip(ours, theirs.lines, strict=True)) >= 4
    assert theirs.lines[2] == ""
    assert again.facts == facts
    assert again.precision == ("float32" if quantization == "none" else "int8")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved model, in what looks like a run."""
    run = tmp_path_factory.mktemp("run")
    tests = run / "corpus/test"
    tests.mkdir(parents=True)
    (tests / "few.de-en.src").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (tests / "few.de-en.ref").write_text("two men\n" * len(LINES), encoding="utf-8")
    made = translator(MODELS["llama"])
    save_translator(*vars(made).values(), run / "students/a/model", ["de-en"])
    return run / "students/a/model"


def test_the_peak_is_of_the_process_that_translates_and_not_of_this_one(model, tmp_path):
    """This one is made to hold more than it; the text's size is nothing to that."""
    export(translator(MODELS["llama"]), tmp_path / "x", "safetensors", "none", ["de-en"])
    here = torch.ones(2**28)  # a gibibyte
    text = parity.TestText("t", "de-en", LINES, LINES)
    assert 50 < parity.peak_mib(tmp_path / "x", text) < here.nbytes / 2**20


@pytest.fixture
def unmeasured(monkeypatch):
    """Memory is measured in a process of its own, which takes seconds."""
    monkeypatch.setattr(parity, "peak_mib", lambda *_: None)


def test_the_command_exports_compares_and_translates(model, tmp_path):
    out = tmp_path / "x"
    code, _, err = evokd("export", model, "--to", "ctranslate2", "--quantize", "int8", "-o", out)
    assert code == 0, err
    assert "few de-en: " in err
    facts = json.loads((out / "parity.json").read_text("utf-8"))
    assert facts.keys() >= {"agreement", "bleu_float", "bleu_export", "words_per_s", "size_mib"}
    assert facts["peak_mib"] > 50
    assert 0.6 <= facts["agreement"] <= 1
    (row,) = facts["texts"]
    assert (row["text"], row["lines"]) == ("few", len(LINES) - 1)  # one is blank
    card = (out / "README.md").read_text("utf-8")
    assert "ctranslate2.Generator" in card
    code, said, err = evokd(
        "translate", out, "-l", "de-en", "-i", model.parents[2] / "corpus/test/few.de-en.src"
    )
    assert (code, len(said.splitlines())) == (0, len(LINES)), err
    assert "int8 on cpu" in err
    code, _, err = evokd("translate", out, "-l", "de-en", "--int8")
    assert (code, "leave --int8 out" in err) == (2, True)


def test_the_same_translator_in_python(model, tmp_path):
    with evokd_package.Translator.load(model) as ours:
        lines = ours.translate(LINES, "de", "en")
        assert ours.directions == ["de-en"]
        assert ours.translate(LINES, "de", "en", beam=2, batch_size=1)[2] == ""
    export(translator(MODELS["llama"]), tmp_path / "x", "gguf", "none", ["de-en"])
    with evokd_package.Translator.load(tmp_path / "x", device="cpu") as theirs:
        assert theirs.translate(LINES, "de", "en") == lines
        assert theirs.translations(LINES, "de", "en").source_words == sum(
            len(x.split()) for x in LINES
        )
        page = theirs.translate_document("<p>12 <b>men</b></p>", "html", "de", "en")
        assert re.fullmatch("<p>.*<b>.*</b>.*</p>", page.text)
        halves, size = (
            ["two young men.", "Zwei Männer sind outside."],
            size_by(translator(MODELS["llama"])),
        )
        longest = max(map(size, halves))
        assert longest < size(" ".join(halves))
        long = theirs.translate_document(" ".join(halves), "text", "de", "en", longest=longest)
        assert long.text == " ".join(theirs.translate(halves, "de", "en"))
        with pytest.raises(InputError, match="a list of lines"):
            theirs.translate(LINES[0], "de", "en")
    with pytest.raises(InputError, match="no folder here"):
        evokd_package.Translator.load("nowhere/such/thing")


@pytest.mark.usefixtures("unmeasured")
def test_a_text_of_ones_own_and_what_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # as where it isn't installed
    source = model.parents[2] / "corpus/test/few.de-en.src"
    to = ("export", model, "--to", "gguf", "-o", tmp_path / "x")
    code, _, err = evokd(*to, "--src", source)
    assert (code, "go together" in err) == (2, True)
    (tmp_path / "blank").write_text(" \n\n", encoding="utf-8")
    blank = ("--src", tmp_path / "blank", "--ref", tmp_path / "blank", "-l")
    code, _, err = evokd(*to, *blank, "de-en")
    assert (code, "no line with text" in err) == (2, True)
    code, _, err = evokd(*to, *blank, "deen")
    assert (code, "Traceback" in err) == (2, False)
    code, _, err = evokd(*to, "--quantize", "q9_0")
    assert (code, "q8_0" in err) == (2, True)
    code, _, err = evokd(*to, "--quantize", "q4_k_m")
    assert (code, "pip install 'evokd[llama_cpp]'" in err) == (2, True)
    code, _, err = evokd("export", model, "--to", "tflite", "-o", tmp_path / "x")
    assert (code, "accepted are ctranslate2, gguf, onnx, safetensors" in err) == (2, True)
    (tmp_path / "mine").mkdir()
    code, _, err = evokd("export", model, "--to", "gguf", "-o", tmp_path / "mine")
    assert (code, "isn't an export" in err) == (2, True)
    code, _, err = evokd("export", model, "--to", "gguf", "-o", "/proc/mine/x")
    assert (code, "can't be written" in err) == (2, True)
    given = ("--src", source, "--ref", source, "-l", "de-en", "--lines", 2)
    code, _, err = evokd(*to, *given)
    assert code == 0, err
    code, _, err = evokd("export", tmp_path / "x", "--to", "gguf", "-o", tmp_path / "y")
    assert (code, "name the model that it was made from" in err) == (2, True)
    facts = json.loads((tmp_path / "x/parity.json").read_text("utf-8"))
    assert (facts["agreement"], facts["differs"]) == (1.0, False)
    assert facts["bleu_float"] == facts["bleu_export"]
    export_json = tmp_path / "x/export.json"
    export_json.write_text(export_json.read_text("utf-8").replace('"gguf"', '"later"'), "utf-8")
    code, _, err = evokd("translate", tmp_path / "x", "-l", "de-en", "-i", source)
    assert (code, "--to later: unknown" in err) == (2, True)


@pytest.mark.usefixtures("unmeasured")
def test_a_worse_export_is_marked_and_strict_refuses_it(model, tmp_path, monkeypatch):
    """One that says nothing where the model says the reference."""
    text = parity.TestText("t", "de-en", ["ein Satz"] * 40, ["one two three four five"] * 40)
    good = translate(translator(MODELS["llama"]), [""], "de", "en")
    worse = good.__class__(**{**vars(good), "lines": ["six"] * 40})
    good = good.__class__(**{**vars(good), "lines": list(text.references)})
    row = parity._row(text, good, worse)
    assert row["differs"]
    assert (row["same_lines"], row["bleu_float"]) == (0, 100.0)
    assert not parity._row(text, worse, good)["differs"]  # better isn't refused
    monkeypatch.setattr(parity, "_row", lambda *_: {**row, "lines": 5})
    to = ("export", model, "--to", "gguf", "-o", tmp_path / "x")
    alone = tmp_path / "alone"
    save_translator(*vars(translator(MODELS["llama"])).values(), alone, ["de-en"])
    code, _, err = evokd("export", alone, *to[2:], "--strict")
    assert (code, "nothing to compare on" in err) == (2, True)
    assert evokd(*to)[0] == 0
    assert evokd(*to, "--strict")[0] == 3


def test_every_format_is_in_the_help_and_the_docs():
    docs = (parity.Path(__file__).parents[1] / "docs/export.md").read_text("utf-8")
    for name, form in FORMATS.items():
        assert f"--to {name}" in docs
        assert all(f"`{one}`" in docs for one in form.quantizations), name
