import gc
import json
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GenerationConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from evokd.data.prompts import load_prompt
from evokd.distil.memory import PeakMemory, held_mib
from evokd.errors import InputError
from evokd.models import loading
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import (
    describe,
    load_model,
    load_tokenizer,
    load_translator,
    pick_device,
    pick_dtype,
)
from evokd.models.saving import save_translator
from evokd.models.sharding import all_finite
from evokd.recipe.models import FreshModel, ModelSettings
from tiny import tiny_llama

CPU = torch.device("cpu")
TEXTS = ["Zwei junge weiße Männer sind im Freien.", "Two young white men are outside, 12 34 🙂."]
SMALL = FreshModel(hidden_size=32, layers=2, heads=2, max_positions=64)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 20, 320, ["<en>", "<de>"])


@pytest.fixture
def model(tokenizer):
    return fresh_model(SMALL, tokenizer, seed=1)


def load(where, **more):
    return load_model(ModelSettings(model=str(where), **more), CPU, torch.float32)


# Tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " two  spaces\tand\n\nnewlines ",
        "don't , stop .",
        "Größe łódź 北京 مرحبا 🙂👩‍👩‍👧 \u200b\u00a0",
        "".join(chr(i) for i in range(32, 0x250)),
        "\x00\x01\x7f",
    ],
)
def test_any_text_comes_back_exactly(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_all_bytes_and_the_specials_are_in_the_vocabulary(tokenizer):
    assert len(tokenizer) <= 320
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == [
        "<pad>", "<s>", "</s>", "<en>", "<de>",
    ]  # fmt: skip
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len({i for i in tokenizer.get_vocab().values() if i >= 5}) >= 256


def test_tags_are_one_token_and_leave_no_trace(tokenizer):
    ids = tokenizer("<de>Haus<en>", add_special_tokens=False)["input_ids"]
    assert (ids[0], ids[-1]) == (4, 3)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Haus"


def test_training_a_tokenizer_twice_gives_the_same_one(tokenizer):
    again = train_tokenizer(iter(TEXTS * 20), 320, ["<en>", "<de>"])
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_saved_tokenizer_is_the_same_beside_a_llama(tokenizer, model, tmp_path):
    save_translator(model, tokenizer, load_prompt("compact"), tmp_path / "m")
    again = AutoTokenizer.from_pretrained(tmp_path / "m")
    text = "<de> Zwei  Männer\n🙂 don't"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.decode(again(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])


# Fresh models


def test_a_fresh_model_depends_on_its_seed_alone(tokenizer):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fresh_model(SMALL, tokenizer, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = fresh_model(SMALL, tokenizer, seed=5)
    other = fresh_model(SMALL, tokenizer, seed=6)
    weights = [m.model.layers[1].mlp.up_proj.weight for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_fresh_model_is_what_its_numbers_say(tokenizer):
    settings = FreshModel(
        hidden_size=48, layers=3, heads=4, kv_heads=2, tie_embeddings=False, max_positions=99
    )
    config = fresh_model(settings, tokenizer, 1).config
    assert config.vocab_size == len(tokenizer)
    assert config.intermediate_size == 128  # 8/3 × 48, already a multiple of 32
    assert (config.num_hidden_layers, config.num_attention_heads) == (3, 4)
    assert (config.num_key_value_heads, config.max_position_embeddings) == (2, 99)
    assert config.tie_word_embeddings is False
    ends = (config.pad_token_id, config.bos_token_id, config.eos_token_id)
    assert ends == (0, 1, 2)
    wider = FreshModel(hidden_size=64, intermediate_size=100)
    assert fresh_model(wider, tokenizer, 1).config.intermediate_size == 100
    assert fresh_model(FreshModel(hidden_size=64), tokenizer, 1).config.intermediate_size == 192


def test_describe_counts_shared_weights_once(tokenizer):
    v, h = len(tokenizer), 32
    tied = describe(fresh_model(SMALL, tokenizer, 1))
    # Per layer: 4 attention and 3 feed-forward matrices, 2 norms; one norm at the end.
    body = 2 * (4 * h * h + 3 * h * 96 + 2 * h) + h
    assert tied["parameters"] == v * h + body
    assert tied["parameters_without_embeddings"] == body
    untied = describe(fresh_model(SMALL.model_copy(update={"tie_embeddings": False}), tokenizer, 1))
    assert untied["parameters"] == 2 * v * h + body
    assert untied["parameters_without_embeddings"] == body
    assert (tied["layers"], tied["hidden_size"], tied["vocabulary"]) == (2, h, v)
    assert tied["dtype"] == "float32"
    assert tied["mib"] == round(4 * tied["parameters"] / 2**20, 1)


# Saving and loading


def test_a_translator_survives_the_disk(tokenizer, model, tmp_path):
    prompt = load_prompt("compact")
    folder = tmp_path / "deep" / "model"
    save_translator(model, tokenizer, prompt, folder)
    again = load_translator(folder, CPU, torch.float32)

    ids = torch.tensor([[1, 7, 8, 9]])
    assert torch.equal(again.model(ids).logits, model.eval()(ids).logits)
    assert not again.model.training
    assert again.prompt == prompt
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    assert (folder / "model.safetensors").is_file()
    other = load_translator(folder, CPU, torch.bfloat16, load_prompt("alma"))
    assert other.prompt.style == "alma"
    assert other.model.dtype == torch.bfloat16


def test_saving_over_an_older_model_replaces_all_of_it(tokenizer, model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale.txt").write_text("old")
    save_translator(model, tokenizer, load_prompt("compact"), folder)
    assert not (folder / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_save_that_breaks_off_leaves_the_older_model(tokenizer, model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    save_translator(model, tokenizer, load_prompt("compact"), folder)
    before = (folder / "model.safetensors").read_bytes()
    other = fresh_model(SMALL, tokenizer, seed=2)
    monkeypatch.setattr(type(tokenizer), "save_pretrained", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_translator(other, tokenizer, load_prompt("compact"), folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_saved_translator_decodes_greedily_and_knows_all_its_ends(tokenizer, model, tmp_path):
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, repetition_penalty=1.2, eos_token_id=[2, 17]
    )
    own = model.generation_config
    save_translator(model, tokenizer, load_prompt("compact"), tmp_path / "m")
    saved = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    assert saved["do_sample"] is False
    assert saved["eos_token_id"] == [2, 17]
    assert not {"temperature", "top_p", "repetition_penalty"} & set(saved)
    assert model.generation_config is own


def test_a_folder_without_a_prompt_asks_for_one(tokenizer, model, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no prompt.json.*--prompt parrot"):
        load_translator(tmp_path, CPU, torch.float32)
    assert load_translator(tmp_path, CPU, torch.float32, load_prompt("alma")).prompt.style == "alma"
    with pytest.raises(InputError, match="is no folder here"):
        load_translator(tmp_path / "nothing", CPU, torch.float32)


def test_a_tokenizer_from_elsewhere(tokenizer, model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "words")
    settings = ModelSettings(model=str(tmp_path / "model"), tokenizer=str(tmp_path / "words"))
    assert len(load_tokenizer(settings)) == len(tokenizer)
    with pytest.raises(InputError, match=r"tokenizer .*model can't be loaded"):
        load_tokenizer(ModelSettings(model=str(tmp_path / "model")))
    with pytest.raises(InputError, match="train one"):
        load_tokenizer(ModelSettings())


def test_attention_is_what_was_asked_for(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert load(tmp_path, attention="eager").config._attn_implementation == "eager"
    assert load(tmp_path, attention="sdpa").config._attn_implementation == "sdpa"


# What can go wrong


def test_missing_files_are_named(tmp_path):
    for where in (tmp_path / "none", tmp_path / "none.gguf"):
        with pytest.raises(InputError, match=r"not found; accepted: a hub id.*gguf:PACKAGE"):
            load(where)
    (tmp_path / "weights.bin").write_text("x")
    with pytest.raises(InputError, match=r"no folder and no .gguf file"):
        load(tmp_path / "weights.bin")
    with pytest.raises(InputError, match="can't be loaded"):
        load(tmp_path)
    with pytest.raises(InputError, match="fresh_model"):
        load("fresh")


def test_a_hub_id_that_cannot_be_had(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(reason)

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", fail)
    reason = "We couldn't connect to 'https://huggingface.co' to load the files"
    with pytest.raises(InputError, match=r"model org/name at revision v2 can't be(.|\n)*offline"):
        load("org/name", revision="v2")
    reason = "You are trying to access a gated repo."
    with pytest.raises(InputError, match="accept its licence"):
        load("org/name")
    reason = "contains custom code; pass trust_remote_code=True"
    with pytest.raises(InputError, match="trust_remote_code: true"):
        load("org/name")


def test_other_kinds_of_models_are_refused(model, tmp_path):
    bert = BertForMaskedLM(
        BertConfig(
            vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=8,
        )
    )  # fmt: skip
    bert.save_pretrained(tmp_path / "bert")
    t5 = T5ForConditionalGeneration(
        T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    t5.save_pretrained(tmp_path / "t5")
    model.model.save_pretrained(tmp_path / "headless")
    for name in ("bert", "t5", "headless"):
        with pytest.raises(InputError):
            load(tmp_path / name)


def test_missing_weights_are_refused(model, tmp_path):
    from safetensors.torch import save_file

    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys() if "q_proj" not in name}  # noqa: SIM118
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 2 of its weights .*q_proj"):
        load(tmp_path)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that would break if it were imported."""
    folder = tmp_path / "site" / "some_weights"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    sys.modules.pop("some_weights", None)


def test_a_gguf_file_is_found_in_a_package(package):
    (package / "data" / "one.gguf").write_bytes(b"GGUF")
    assert loading.file_in_package("some-weights") == package / "data" / "one.gguf"
    with pytest.raises(InputError, match="model gguf:some-weights can't be loaded"):
        load("gguf:some-weights")


def test_several_or_no_gguf_files_in_a_package(package):
    with pytest.raises(InputError, match=r"holds 0 .gguf files"):
        load("gguf:some-weights")
    for name in ("one.gguf", "two.gguf"):
        (package / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"2 .gguf files(.|\n)*model: .*one.gguf\n.*two.gguf"):
        load("gguf:some-weights")
    with pytest.raises(InputError, match="no installed package 'not-there-at-all'"):
        load("gguf:not-there-at-all")


# Device and number format


def test_devices():
    assert pick_device("cpu") == (CPU, "as asked for")
    device, reason = pick_device()
    assert reason
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        assert device == CPU
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        pick_device("gpu")
    with pytest.raises(InputError, match="cuda:99 isn't there"):
        pick_device("cuda:99")


def test_number_formats():
    assert pick_dtype("auto", CPU)[0] == torch.float32
    assert pick_dtype("auto", torch.device("cuda"))[0] == torch.bfloat16
    assert pick_dtype("float16", CPU) == (torch.float16, "as asked for")
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        pick_dtype("int8", CPU)


# Memory


class AnonymousPeak:
    """Most memory of the process's own inside a `with`, beyond what was there before, in MiB; pages
    of mapped files, which the kernel takes back when it wants to, don't count."""

    def __enter__(self):
        gc.collect()  # or what was left before goes away meanwhile
        self.before, self.peak, self.going = self.now(), 0.0, True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *problem):
        self.going = False
        self.thread.join()
        self.peak = max(self.peak, self.now()) - self.before

    def watch(self):
        while self.going:
            self.peak = max(self.peak, self.now())
            time.sleep(0.001)

    @staticmethod
    def now():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="as Linux tells it")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_read_straight_into_their_place(tmp_path, dtype):
    """Files in bfloat16: at most the model and one of its tensors stand in memory."""
    made = tiny_llama(1, hidden_size=512, vocab_size=8000, num_hidden_layers=4)
    made.bfloat16().save_pretrained(tmp_path / "model", max_shard_size="8MB")
    load(tmp_path / "model")  # what the libraries take the first time
    held_mib("cpu")
    for _ in range(5):  # a kernel that is short of memory takes other pages away meanwhile
        with AnonymousPeak() as known:
            block = torch.ones(50, 2**18)  # 50 MiB, gone before the end
            time.sleep(0.1)
            del block
        if known.peak > 49:
            break
    assert 49 < known.peak < 54, "the watch sees it"
    with AnonymousPeak() as memory:
        model = load_model(ModelSettings(model=str(tmp_path / "model")), CPU, dtype)
    sizes = [weight.nbytes / 2**20 for weight in model.parameters()]
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert sum(sizes) > (50 if dtype == torch.float32 else 25)
    assert memory.peak < sum(sizes) + max(sizes) + 4


def test_a_look_for_weights_that_are_no_numbers_takes_no_memory():
    layer = torch.nn.Linear(4096, 4096)  # 64 MiB
    assert all_finite(layer)  # what torch takes the first time
    with PeakMemory() as memory:
        assert all_finite(layer)
    if memory.mib is not None:
        assert memory.mib < 1
    for value in (torch.nan, torch.inf, -torch.inf):
        with torch.no_grad():
            layer.weight[17, 5] = value
        assert not all_finite(layer)
    assert all_finite(layer.requires_grad_(False)), "what isn't trained isn't looked at"


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_model_for_another_device_never_stands_in_the_cpus_memory(
    model, kind, tmp_path, monkeypatch
):
    model.save_pretrained(tmp_path / "model")
    asked, loader = {}, loading.AutoModelForCausalLM.from_pretrained

    def from_pretrained(name, **how):
        asked.update(how)
        return loader(name, **{**how, "device_map": None})

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    where = ModelSettings(model=str(tmp_path / "model"))
    load_model(where, torch.device(kind), torch.float32)
    assert asked["device_map"] == {"": torch.device(kind)}
    asked.clear()
    load_model(where, CPU, torch.float32)
    assert "device_map" not in asked
