"""A saved translator as others read it: keys of earlier versions, file modes, its README's code."""

from __future__ import annotations

import json
import os
import re

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from evokd.data.prompts import load_prompt, prompt_tags
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import Translator, load_translator
from evokd.models.saving import EXAMPLE, save_translator, trained_directions
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import translate
from small_study import sentences

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer():
    texts = [text for pair in sentences(30) for text in pair]
    return train_tokenizer(texts, 400, prompt_tags(["en", "de"]))


def model_of(tokenizer, rope, kind=LlamaForCausalLM, config=LlamaConfig, **more):
    sizes = SIZES | {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1}
    torch.manual_seed(3)
    made = kind(config(**sizes, eos_token_id=2, rope_parameters=rope, **more)).eval()
    for weight in made.parameters():
        weight.data.mul_(4)
    return made


def saved(tokenizer, made, folder, prompt="compact", directions=("en-de", "de-en")):
    made.config.use_cache = False  # as after training
    save_translator(made, tokenizer, load_prompt(prompt), folder, directions)
    return json.loads((folder / "config.json").read_text())


def test_theta_and_scaling_stand_where_earlier_versions_look_for_them(tokenizer, tmp_path):
    default = {"rope_type": "default", "rope_theta": 12345.0}
    config = saved(tokenizer, model_of(tokenizer, default), tmp_path / "a")
    assert (config["rope_theta"], config["use_cache"]) == (12345.0, True)
    assert config["torch_dtype"] == "float32"
    assert "rope_scaling" not in config
    config = saved(tokenizer, model_of(tokenizer, LLAMA3), tmp_path / "b")
    assert config["rope_theta"] == 500000.0
    assert config["rope_scaling"] == {k: v for k, v in LLAMA3.items() if k != "rope_theta"}
    by_layer = {"full_attention": default, "sliding_attention": {**default, "rope_theta": 99.0}}
    gemma = model_of(
        tokenizer,
        by_layer,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        head_dim=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = saved(tokenizer, gemma, tmp_path / "c")
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (12345.0, 99.0)


@pytest.mark.parametrize("rope", [{"rope_type": "default", "rope_theta": 12345.0}, LLAMA3])
def test_the_added_keys_change_nothing_here(tokenizer, rope, tmp_path):
    made = model_of(tokenizer, rope)
    saved(tokenizer, made, tmp_path / "m")
    again = load_translator(tmp_path / "m", CPU, torch.float32)
    ids = torch.arange(3, 60)[None]
    assert torch.equal(again.model(ids).logits, made(ids).logits)
    assert again.model.config.use_cache


def test_others_may_read_the_files_and_know_the_tokenizer(tokenizer, tmp_path):
    umask = os.umask(0o022)
    try:
        saved(tokenizer, model_of(tokenizer, None), tmp_path / "m")
    finally:
        os.umask(umask)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "m").iterdir()} == {"0o644"}
    named = json.loads((tmp_path / "m/tokenizer_config.json").read_text())["tokenizer_class"]
    assert named == "PreTrainedTokenizerFast"
    again = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert again("<en>The train.")["input_ids"] == tokenizer("<en>The train.")["input_ids"]


CHAT = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "


@pytest.mark.parametrize("prompt", ["compact", "alma", "chat"])
def test_the_code_in_its_readme_translates_as_evokd_does(tokenizer, prompt, tmp_path, capsys):
    folder = tmp_path / "m"
    tokenizer = AutoTokenizer.from_pretrained(_written(tokenizer, tmp_path / "t"))
    if prompt == "chat":
        tokenizer.chat_template = CHAT
    made = model_of(tokenizer, None)
    saved(tokenizer, made, folder, prompt)
    card = (folder / "README.md").read_text()
    assert "English to German, German to English" in card
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config.get("chat_template") == (CHAT if prompt == "chat" else None)
    code = re.search(r"```python\n(.*?)```", card, re.S)[1].replace("FOLDER", str(folder))
    exec(compile(code.replace("max_new_tokens=100", "max_new_tokens=12"), "README", "exec"), {})
    said = capsys.readouterr().out
    translator = Translator(made, tokenizer, load_prompt(prompt))
    settings = DecodingSettings(extra_tokens=11, tokens_per_source_token=1e-6)
    (line,) = translate(translator, [EXAMPLE], "en", "de", settings).lines
    assert said.strip().split("\n")[0].strip()[:20] == line[:20]
    assert line


def _written(tokenizer, folder):
    tokenizer.save_pretrained(folder)
    return folder


def test_a_folder_knows_its_directions(tokenizer, tmp_path):
    saved(tokenizer, model_of(tokenizer, None), tmp_path / "m")
    assert trained_directions(tmp_path / "m") == ["en-de", "de-en"]
    assert trained_directions(tmp_path) == []
    saved(tokenizer, model_of(tokenizer, None), tmp_path / "n", directions=())
    assert not (tmp_path / "n/README.md").exists()
