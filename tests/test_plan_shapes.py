"""Shapes and their weights, against what publishers count and what transformers builds."""

import json
import struct
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from evokd.errors import InputError
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.structured_pruning import cut
from evokd.plan.known import KNOWN, known_shape
from evokd.plan.models import shape_of_gguf, shapes_of
from evokd.plan.placement import adapter_weights
from evokd.plan.shapes import Shape, cut_shape, fresh_shape, shape_of_config
from evokd.recipe.file import check_recipe
from evokd.recipe.models import CutModel, FreshModel
from plan_trace import config_of
from small_study import recipe
from tiny import tiny_llama

PUBLISHED = {
    # as the hub counts the weights of these models
    **{"llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192},
    **{"llama-30b": 32_528_943_616, "llama-65b": 65_285_660_672},
    **{"llama-3-8b": 8_030_261_248, "llama-3-70b": 70_553_706_496},
    **{"llama-3.1-405b": 405_853_388_800, "llama-3.2-1b": 1_235_814_400},
    **{"llama-3.2-3b": 3_212_749_824, "tinyllama-1.1b": 1_100_048_384},
    **{"smollm2-135m": 134_515_008, "smollm2-360m": 361_821_120, "smollm2-1.7b": 1_711_376_384},
    **{"mistral-7b": 7_241_732_096, "mistral-7b-v0.3": 7_248_023_552},
    **{"mistral-nemo": 12_247_782_400, "gemma-2-2b": 2_614_341_888, "gemma-2-9b": 9_241_705_984},
    **{"gemma-2-27b": 27_227_128_320, "gemma-3-270m": 268_098_176, "gemma-3-1b": 999_885_952},
    **{"qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-3b": 3_085_938_688},
    **{"qwen2.5-7b": 7_615_616_512, "qwen2.5-14b": 14_770_033_664},
    **{"qwen2.5-32b": 32_763_876_352, "qwen2.5-72b": 72_706_203_648},
    **{"qwen3-0.6b": 596_049_920, "qwen3-1.7b": 1_720_574_976, "qwen3-4b": 4_022_468_096},
    **{"qwen3-8b": 8_190_735_360, "qwen3-14b": 14_768_307_200, "qwen3-32b": 32_762_123_264},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_known_model_has_as_many_weights_as_are_published(name):
    assert KNOWN[name].parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", KNOWN)
def test_transformers_builds_as_many(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(KNOWN[name]))
    assert sum(p.numel() for p in model.parameters()) == KNOWN[name].parameters
    layer = sum(p.numel() for p in model.get_decoder().layers[0].parameters())
    assert layer == KNOWN[name].layer
    assert shape_of_config(model.config.to_dict(), name) == KNOWN[name]


@pytest.mark.parametrize("family", ["phi3", "granite", "smollm3", "gemma"])
def test_so_it_does_of_other_families(family):
    shape = Shape(family, 2, 64, 96, 4, 2, 16, 200, family == "gemma")
    config = config_of(shape)
    config.tie_word_embeddings = shape.tied
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("huggyllama/llama-13b", "llama-13b"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("haoranxu/ALMA-13B-R", "alma-13b"),
        ("Unbabel/TowerInstruct-7B-v0.2", "towerinstruct-7b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b"),
        ("google/gemma-2-2b-it", "gemma-2-2b"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
        ("Unbabel/TowerInstruct-Mistral-7B-v0.2", None),
        ("openai-community/gpt2", None),
    ],
)
def test_a_hub_id_is_known_however_it_was_tuned(model, name):
    assert known_shape(model) == (None if name is None else KNOWN[name])


def test_fresh_and_cut_models_have_the_shape_that_is_planned():
    tokenizer = train_tokenizer(["some text of a few words"], 300, ["<de>"])
    settings = FreshModel(hidden_size=32, layers=2, heads=4, kv_heads=2, tie_embeddings=False)
    shape = fresh_shape(settings, len(tokenizer))
    model = fresh_model(settings, tokenizer, seed=1)
    assert shape.parameters == model.num_parameters()
    assert shape == shape_of_config(model.config.to_dict(), "fresh")
    llama = tiny_llama(hidden_size=32, num_hidden_layers=4, num_attention_heads=4)
    smaller = CutModel(layers=[0, 3], heads=2, intermediate_size=16, by="weight")
    planned = cut_shape(shape_of_config(llama.config.to_dict(), "llama"), smaller, 0)
    assert planned.parameters == cut(llama, smaller).num_parameters()


def test_a_lora_has_as_many_weights_as_its_two_factors():
    shape = Shape("llama", 3, 32, 48, 4, 2, 8, 100, False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(shape))
    linear = [m for m in model.get_decoder().modules() if isinstance(m, torch.nn.Linear)]
    rank = 4
    factors = sum(rank * (m.in_features + m.out_features) for m in linear)
    assert adapter_weights(shape, rank) == factors


def gguf(path, architecture, numbers, tensors):
    """A header as llama.cpp writes it, without weights."""

    def text(words):
        return struct.pack("<Q", len(words)) + words.encode()

    keys = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    keys += [text(f"{architecture}.{k}") + struct.pack("<II", 4, n) for k, n in numbers.items()]
    words = b"".join(map(text, ("a", "b", "c")))
    keys.append(text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + words)
    keys.append(text("some.floats") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<2f", 1, 2))
    infos = [text(name) + struct.pack("<IQQIQ", 2, 8, 8, 0, 0) for name in tensors]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys))
    path.write_bytes(head + b"".join([*keys, *infos]))


def test_a_gguf_file_tells_its_shape_in_its_header(tmp_path):
    numbers = {"embedding_length": 64, "feed_forward_length": 96, "block_count": 2}
    numbers |= {"attention.head_count": 4, "attention.head_count_kv": 2}
    gguf(tmp_path / "a.gguf", "llama", numbers, ["token_embd.weight"])
    assert shape_of_gguf(tmp_path / "a.gguf") == Shape("llama", 2, 64, 96, 4, 2, 16, 3, True)
    gguf(tmp_path / "b.gguf", "qwen2", numbers, ["token_embd.weight", "output.weight"])
    assert not shape_of_gguf(tmp_path / "b.gguf").tied
    (tmp_path / "c.gguf").write_bytes(b"GGUF\x01")
    (tmp_path / "d.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))  # has no keys
    for name in ("c.gguf", "d.gguf"):
        with pytest.raises(InputError, match="header"):
            shape_of_gguf(tmp_path / name)


def test_an_unknown_model_takes_a_config_that_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = recipe(teacher={"model": "nobody/knows-this"}, student={"model": "nobody/nor-this"})
    made = check_recipe(asked, [], origin="test")
    with pytest.raises(InputError, match=r"--config teacher=config\.json"):
        shapes_of(made)
    config = config_of(replace(KNOWN["smollm2-135m"], layers=2)).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = dict.fromkeys(("teacher", "student"), tmp_path / "config.json")
    assert shapes_of(made, given).student == replace(KNOWN["smollm2-135m"], layers=2)
    del config["hidden_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="hidden_size"):
        shapes_of(made, given)
    for wrong in ([config], {"text_config": [1]}, {**config, "hidden_size": {}}, "llama", None):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="isn't the config of a decoder"):
            shapes_of(made, given)
