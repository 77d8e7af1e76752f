"""A smaller vocabulary: the same tokens for the same text, and the teacher's word on them alone."""

import json
import random

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainingArguments,
)

from evokd.data.pairs import Pair
from evokd.data.prompts import load_prompt
from evokd.distil.teacher.precompute import cache_spec, write_cache
from evokd.distil.teacher.signal import CachedTeacher, LiveTeacher, TopKLogits
from evokd.distil.teacher.sliced import SlicedTeacher
from evokd.distil.train.trainer import DistillationTrainer
from evokd.errors import InputError
from evokd.models.encoded import collate, encode_corpus
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import load_translator
from evokd.models.saving import save_translator
from evokd.models.structured_pruning import cut
from evokd.models.vocabulary import fingerprint, shared_vocabulary
from evokd.models.vocabulary_pruning import load_kept_ids, save_kept_ids, slice_vocabulary, used_ids
from evokd.recipe.models import CutModel
from evokd.recipe.objectives import IGNORED
from tiny import tiny_llama

LARGE = [line for n in range(60) for line in (f"Zug {n} fährt um {n % 24} Uhr nach Köln ab.",
         f"Train {n} leaves platform {n % 9}; isn't it later than the other trains?")]  # fmt: skip
SMALL = ["Der Zug nach Köln fährt ab.", "The train isn't leaving, is it?", "😀 aaaaaa  x"]
ODD = [
    "", " ", "\n\t x", "größer", "北京 مرحبا 🙂👩‍👩‍👧", "\x00\x7f\u200b", "trainstrains Uhrzeit",
    "".join(chr(i) for i in range(32, 0x250)),
]  # fmt: skip


def byte_level(vocabulary=420, tags=("<en>", "<de>")):
    return train_tokenizer([*LARGE, *SMALL] * 3, vocabulary, tags)


def with_words_taken_whole():
    """Like Llama 3's: words of the vocabulary are found without merges, and there are several
    merges into one token."""
    tokenizer = byte_level()
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tree["model"]["vocab"]
    splits = [
        [token[:i], token[i:]]
        for token in sorted(vocabulary, key=vocabulary.get)
        if not token.startswith("<")
        for i in range(1, len(token))
        if token[:i] in vocabulary and token[i:] in vocabulary
    ]
    tree["model"] |= {"ignore_merges": True, "merges": splits}
    made = Tokenizer.from_str(json.dumps(tree))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def with_byte_fallback():
    """Like Llama 2's and Gemma's: `▁` for spaces, bytes for unknown characters."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ["<unk>", "<s>", "</s>"]
    backend.train_from_iterator(
        [*LARGE, *SMALL] * 3,
        trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=[*specials, *(f"<0x{i:02X}>" for i in range(256))],
            show_progress=False,
        ),
    )
    tree = json.loads(backend.to_str())
    tree["added_tokens"] = tree["added_tokens"][:3]  # bytes are no special tokens
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tree)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


def unigram():
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        [*LARGE, *SMALL] * 3,
        trainers.UnigramTrainer(
            vocab_size=200,
            special_tokens=["<unk>", "<s>", "</s>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


TOKENIZERS = {
    "byte-level BPE": byte_level,
    "words taken whole": with_words_taken_whole,
    "byte fallback": with_byte_fallback,
    "unigram": unigram,
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def sliced(tokenizer, texts=SMALL, **config):
    """The kept ids, the smaller model and tokenizer, and the larger model."""
    model = tiny_llama(2, vocab_size=len(tokenizer) + 3, **config)
    ids = used_ids(tokenizer, texts, width=len(tokenizer) + 3)
    return ids, *slice_vocabulary(model, tokenizer, ids), model


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


# Tokenizer


def test_the_corpus_is_cut_into_the_same_tokens(tokenizer):
    ids, _, smaller, _ = sliced(tokenizer)
    assert len(ids) == len(smaller) < len(tokenizer)
    for text in (*SMALL, *(f" {text}" for text in SMALL)):
        mapped = [ids[i] for i in ids_of(smaller, text)]
        assert mapped == ids_of(tokenizer, text)
    with_specials = smaller("Zug")["input_ids"]
    assert [ids[i] for i in with_specials] == tokenizer("Zug")["input_ids"]


def test_other_text_is_as_readable_as_before(tokenizer):
    """Whatever the larger tokenizer gives back whole, the smaller one does, too."""
    _, _, smaller, _ = sliced(tokenizer)
    draw = random.Random(4)
    signs = [*range(32, 127), *range(160, 0xD800, 40), *range(0xE000, 0x20000, 40)]
    anything = ["".join(map(chr, draw.choices(signs, k=20))) for _ in range(50)]
    whole = 0
    for text in (*ODD, *LARGE, *anything):
        back = [one.decode(ids_of(one, text)) for one in (tokenizer, smaller)]
        assert back[1] == back[0]
        whole += back[0] == text
    kinds = {"Unigram": len(LARGE)}
    kind = type(tokenizer.backend_tokenizer.model).__name__
    assert whole >= kinds.get(kind, len(LARGE) + len(anything))


def test_random_corpora_and_vocabularies():
    """Every kept token stays reachable, by the same merges, whatever the corpus."""
    tokenizer = byte_level(600)
    draw = random.Random(9)
    for _ in range(20):
        texts = [
            " ".join("".join(draw.choices("aeinrstZugKö", k=draw.randint(1, 9))) for _ in range(9))
            for _ in range(3)
        ] + draw.sample(LARGE, 2)
        ids, _, smaller, _ = sliced(tokenizer, texts)
        for text in texts:
            assert [ids[i] for i in ids_of(smaller, text)] == ids_of(tokenizer, text)


def test_special_tokens_and_tags_keep_their_meaning(tmp_path):
    tokenizer = byte_level()
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.model_max_length = 77
    ids, _, smaller, _ = sliced(tokenizer)
    for name in ("bos_token", "eos_token", "pad_token", "chat_template", "model_max_length"):
        assert getattr(smaller, name) == getattr(tokenizer, name)
    assert ids[smaller.eos_token_id] == tokenizer.eos_token_id
    tags = smaller("<de>Zug<en>", add_special_tokens=False)["input_ids"]
    assert [smaller.convert_ids_to_tokens(tags[i]) for i in (0, -1)] == ["<de>", "<en>"]
    assert smaller.decode(tags, skip_special_tokens=True) == "Zug"

    smaller.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert fingerprint(again) == fingerprint(smaller)
    assert again.chat_template == tokenizer.chat_template


def test_added_tokens_behind_the_vocabulary_move_up():
    tokenizer = byte_level()
    tokenizer.add_tokens(["<extra>"])
    tokenizer.add_special_tokens({"extra_special_tokens": ["<call>"]})
    last = len(tokenizer) - 1
    ids = used_ids(tokenizer, SMALL)
    assert ids[-2:] == [last - 1, last]
    _, smaller = slice_vocabulary(tiny_llama(vocab_size=len(tokenizer)), tokenizer, ids)
    assert ids_of(smaller, "<extra><call>") == [len(ids) - 2, len(ids) - 1]
    assert smaller.extra_special_tokens == ["<call>"]

    narrow = used_ids(tokenizer, SMALL, width=last)  # the model has no weights for the last one
    _, smaller = slice_vocabulary(tiny_llama(vocab_size=last), tokenizer, narrow)
    assert len(ids_of(smaller, "<call>")) > 1
    assert len(smaller) == len(narrow) == len(ids) - 1


def test_training_pairs_with_their_prompt_stay_as_they_are():
    tokenizer = byte_level(500)
    pairs = [
        Pair(LARGE[0], LARGE[1], "de", "en", "x:1"),
        Pair(SMALL[0], SMALL[1], "de", "en", "x:2"),
    ]
    for style in ("alma", "compact"):
        prompt = load_prompt(style)
        data, _ = encode_corpus(pairs, tokenizer, prompt, 10_000)
        ids = used_ids(tokenizer, [], (example["input_ids"] for example in data))
        _, smaller = slice_vocabulary(tiny_llama(vocab_size=len(tokenizer)), tokenizer, ids)
        ours, _ = encode_corpus(pairs, smaller, prompt, 10_000)
        for old, new in zip(data, ours, strict=True):
            assert [ids[i] for i in new["input_ids"]] == old["input_ids"]
            assert [IGNORED if i == IGNORED else ids[i] for i in new["labels"]] == old["labels"]


# Model


def build(kind, width, **config):
    sizes = {
        "vocab_size": width, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(6)
    if kind == "phi":  # its head has a bias
        model = PhiForCausalLM(PhiConfig(**sizes))
        torch.nn.init.normal_(model.lm_head.bias)
        return model.eval()
    if kind == "gemma2":
        more = {"num_key_value_heads": 1, "head_dim": 8, "final_logit_softcapping": 2.0}
        return Gemma2ForCausalLM(Gemma2Config(**sizes, **more)).eval()
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=1)).eval()
    if kind == "mistral":
        return MistralForCausalLM(MistralConfig(**sizes, num_key_value_heads=1)).eval()
    return tiny_llama(1, vocab_size=width, tie_word_embeddings=kind == "tied").eval()


@pytest.fixture(params=["tied", "untied", "gemma2", "phi", "qwen2", "mistral"])
def larger(request):
    return build(request.param, 430)


@pytest.fixture(scope="module")
def words():
    """A tokenizer, and the ids that some text needs."""
    tokenizer = byte_level()
    return tokenizer, used_ids(tokenizer, SMALL)


def test_logits_are_those_of_the_kept_tokens(larger, words, tmp_path):
    tokenizer, ids = words
    student, smaller = slice_vocabulary(larger, tokenizer, ids)
    batch = torch.randint(0, len(ids), (2, 7))
    with torch.no_grad():
        ours, theirs = student(batch).logits, larger(torch.tensor(ids)[batch]).logits
    assert torch.allclose(ours, theirs[..., ids], atol=1e-6)
    assert student.config.vocab_size == len(ids) == ours.shape[-1]
    tied = larger.config.tie_word_embeddings
    assert (student.lm_head.weight is student.get_input_embeddings().weight) == tied
    assert all(weight.requires_grad for weight in student.parameters())
    assert not {p.data_ptr() for p in student.parameters()} & {
        p.data_ptr() for p in larger.parameters()
    }

    save_translator(student, smaller, load_prompt("compact"), tmp_path / "model")
    again = load_translator(tmp_path / "model", torch.device("cpu"), torch.float32)
    with torch.no_grad():
        assert torch.equal(again.model(batch).logits, ours)


@pytest.mark.parametrize(
    ("kind", "origin", "name"),
    [
        ("tied", byte_level, "PreTrainedTokenizerFast"),
        ("tied", with_byte_fallback, "LlamaTokenizer"),
        ("mistral", with_byte_fallback, "LlamaTokenizer"),
        ("gemma2", with_byte_fallback, "GemmaTokenizer"),
        ("qwen2", byte_level, "Qwen2Tokenizer"),
        ("tied", byte_level, "GPT2Tokenizer"),
    ],
)
def test_a_saved_student_comes_back_with_its_tokenizer(kind, origin, name, tmp_path):
    """transformers rebuilds some kinds of tokenizers from their vocabulary when it loads them."""
    tokenizer = origin()
    if name != "PreTrainedTokenizerFast":
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        tokenizer = getattr(transformers, name)(
            vocab=model["vocab"],
            merges=[tuple(pair) for pair in model["merges"]],
            **{f"{token}_token": "<s>" for token in ("bos", "pad", "mask")},
            eos_token="</s>",
            unk_token="</s>",
        )
    larger = build(kind, len(tokenizer))
    ids = used_ids(tokenizer, SMALL)
    student, smaller = slice_vocabulary(larger, tokenizer, ids)
    save_translator(student, smaller, load_prompt("alma"), tmp_path / "model")
    again = load_translator(tmp_path / "model", torch.device("cpu"), torch.float32).tokenizer
    for text in SMALL:
        assert [ids[i] for i in ids_of(again, text)] == ids_of(tokenizer, text)
    assert [ids[i] for i in again("Zug")["input_ids"]] == tokenizer("Zug")["input_ids"]
    for text in LARGE:
        assert ids_of(again, text) == ids_of(smaller, text)
        assert again.decode(ids_of(again, text)) == tokenizer.decode(ids_of(tokenizer, text))
    assert (again.bos_token_id, again.eos_token_id, again.pad_token_id, again.padding_side) == (
        smaller.bos_token_id, smaller.eos_token_id, smaller.pad_token_id, tokenizer.padding_side,
    )  # fmt: skip


def test_special_ids_of_configs_are_renamed():
    tokenizer = byte_level(tags=("<de>",))
    end, other = tokenizer.eos_token_id, max(used_ids(tokenizer, SMALL))
    unused = next(i for i in range(len(tokenizer)) if i not in set(used_ids(tokenizer, SMALL)))
    model = tiny_llama(vocab_size=len(tokenizer), pad_token_id=other, bos_token_id=unused)
    model.generation_config.eos_token_id = [other, unused, end]
    ids = used_ids(tokenizer, SMALL)
    student, _ = slice_vocabulary(model, tokenizer, ids)
    assert student.config.pad_token_id == student.get_input_embeddings().padding_idx == len(ids) - 1
    assert student.config.bos_token_id is None
    assert student.generation_config.eos_token_id == [len(ids) - 1, end]
    assert model.config.pad_token_id == other
    assert model.generation_config.eos_token_id == [other, unused, end]


def test_a_cut_model_is_sliced_as_well(words):
    tokenizer, ids = words
    model = tiny_llama(vocab_size=430, num_hidden_layers=3)
    student, _ = slice_vocabulary(cut(model, CutModel(layers=2)), tokenizer, ids)
    assert (student.config.num_hidden_layers, student.config.vocab_size) == (2, len(ids))


# The teacher's side


def batch_of(count, seed=0):
    """Sequences of the student's ids; the second half is the response."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for length in (4, 8, 6, 10):
        ids = torch.randint(0, count, (length,), generator=generator).tolist()
        half = length // 2
        examples.append({"input_ids": ids, "labels": [IGNORED] * half + ids[half:]})
    batch = collate(examples)
    predicts = torch.zeros_like(batch["labels"], dtype=torch.bool)
    predicts[:, :-1] = batch["labels"][:, 1:] != IGNORED
    return examples, {n: batch[n] for n in ("input_ids", "attention_mask")}, predicts


def test_a_sliced_teacher_says_what_it_says_of_the_kept_tokens(larger, words):
    ids = words[1]
    _, inputs, predicts = batch_of(len(ids))
    teacher = SlicedTeacher(LiveTeacher(larger), ids)
    said = teacher.forward(inputs, predicts)
    whole = larger(
        torch.tensor(ids)[inputs["input_ids"]], attention_mask=inputs["attention_mask"]
    ).logits[predicts][:, ids]
    assert teacher.width == len(ids)
    assert torch.allclose(said.logits(slice(None), len(ids)), whole, atol=1e-6)
    assert torch.allclose(said.logits(slice(2, 5), 50), whole[2:5, :50], atol=1e-6)
    assert teacher.forward(inputs, predicts).head.weight is said.head.weight  # sliced once
    assert teacher.model is larger


def test_a_cache_of_hidden_states_can_be_sliced(words, tmp_path):
    ids = words[1]
    model = tiny_llama(1, vocab_size=430)
    examples, inputs, predicts = batch_of(len(ids))
    theirs = [
        {**example, "input_ids": [ids[i] for i in example["input_ids"]]} for example in examples
    ]
    for kind in ("hidden", "topk"):
        contents = cache_spec(model, kind, 4, "float32")
        write_cache(tmp_path / kind, model, [theirs], contents, {}, log=lambda _text: None)
    cached = SlicedTeacher(CachedTeacher(tmp_path / "hidden"), ids)
    live = SlicedTeacher(LiveTeacher(model), ids)
    whole = slice(None), len(ids)
    assert torch.allclose(
        cached.forward(inputs, predicts).logits(*whole),
        live.forward(inputs, predicts).logits(*whole),
        atol=1e-2,
    )
    cached.check_holds(examples)
    live.check_holds(examples)
    with pytest.raises(InputError, match="1 of 5 pairs aren't in the teacher cache"):
        cached.check_holds([*examples, {"input_ids": [7, 7, 7], "labels": [IGNORED, 7, 7]}])
    few = CachedTeacher(tmp_path / "topk")
    theirs_in = {**inputs, "input_ids": torch.tensor(ids)[inputs["input_ids"]]}
    assert isinstance(few.forward(theirs_in, predicts), TopKLogits)
    with pytest.raises(InputError, match="signal=topk doesn't go with"):
        SlicedTeacher(few, ids).forward(inputs, predicts)


def test_a_student_learns_from_a_sliced_teacher(words, tmp_path):
    """With the teacher's own weights it knows as much as the teacher."""
    tokenizer, ids = words
    model = tiny_llama(1, vocab_size=430)
    student, smaller = slice_vocabulary(model, tokenizer, ids)
    assert shared_vocabulary(smaller, len(ids), smaller, len(ids)).size == len(ids)
    found = []
    for one in (student, tiny_llama(5, vocab_size=len(ids))):
        arguments = TrainingArguments(
            str(tmp_path),
            max_steps=1,
            learning_rate=0.0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        teacher = SlicedTeacher(LiveTeacher(model), ids)
        trainer = DistillationTrainer(one, teacher, "forward_kd", arguments, batch_of(len(ids))[0])
        trainer.train()
        logged = trainer.state.log_history[0]
        found.append((logged["student_nll"], logged["teacher_nll"]))
    assert found[0][0] == pytest.approx(found[0][1], rel=1e-5)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-5)
    assert found[1][0] != pytest.approx(found[0][1], rel=1e-3)


# What isn't accepted


def test_the_kept_ids_are_written_down(words, tmp_path):
    tokenizer, ids = words
    with pytest.raises(InputError, match="nothing says which tokens"):
        load_kept_ids(tmp_path, tokenizer)
    save_kept_ids(tmp_path, ids, tokenizer)
    assert load_kept_ids(tmp_path, tokenizer) == ids
    with pytest.raises(InputError, match="speaks of the tokenizer"):
        load_kept_ids(tmp_path, byte_level(330))
    (tmp_path / "kept_ids.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        load_kept_ids(tmp_path, tokenizer)


def test_other_kinds_of_tokenizers_are_refused():
    pieces = {"[UNK]": 0, "a": 1, "##b": 2}
    backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    with pytest.raises(InputError, match=r"WordPiece tokenizer .*can't be cut.*vocabulary=all"):
        used_ids(PreTrainedTokenizerFast(tokenizer_object=backend), ["a"])
    marked = Tokenizer(models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>"))
    with pytest.raises(InputError, match="with marked word parts"):
        used_ids(PreTrainedTokenizerFast(tokenizer_object=marked), ["a"])


def test_ids_that_dont_suffice_are_a_bug(words):
    tokenizer, ids = words
    model = tiny_llama(vocab_size=430)
    for wrong in ([], ids[::-1], [*ids, 999]):
        with pytest.raises(ValueError, match="distinct ids"):
            slice_vocabulary(model, tokenizer, wrong)
    letter = tokenizer.convert_tokens_to_ids("a")
    with pytest.raises(ValueError, match="1 ids that these are made of are missing"):
        slice_vocabulary(model, tokenizer, [i for i in ids if i != letter])
    with pytest.raises(ValueError, match="name its width"):
        slice_vocabulary(tiny_llama(vocab_size=ids[-1]), tokenizer, ids)
    with pytest.raises(ValueError, match="430 tokens are accepted"):
        SlicedTeacher(LiveTeacher(model), [0, 430])
