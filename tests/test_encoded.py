"""Token ids of large text: in files, by shorter ways, and still those of each pair alone."""

import random

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from evokd.data.pairs import Pair
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.models import encoded, encoding
from evokd.models.encoded import (
    EncodedPairs,
    EncodedWriter,
    LengthGroupedBatches,
    encode_corpus,
)
from evokd.models.encoding import ids_around, rendered_prompt, token_ids
from evokd.models.fresh import train_tokenizer

WORDS = [
    "Zwei",
    "Männer",
    "🙂",
    " ",
    "  ",
    "</s>",
    "<de>",
    "men",
    "12",
    "\n",
    "é",
    "<",
    "▁x",
    "\u00a0",
]


def random_pairs(seed, count=200):
    """Each sentence both ways, some of them hostile."""
    chance = random.Random(seed)
    pairs = []
    for number in range(count):
        one, other = (" ".join(chance.choices(WORDS, k=chance.randrange(9))) for _ in range(2))
        pairs += [Pair(one, other, "en", "de", f"f:{number}")]
        pairs += [Pair(other, one, "de", "en", f"f:{number}")]
    return pairs


def bpe(**parts):
    """A BPE with some merges, put together as other models' tokenizers are."""
    alphabet = sorted({*pre_tokenizers.ByteLevel.alphabet(), "▁"})
    specials = ["<s>", "</s>", *prompt_tags(["en", "de"])]
    tokens = [*specials, *alphabet, "en", "me", "Zw", "▁m"]
    merges = [("e", "n"), ("m", "e"), ("Z", "w"), ("▁", "m")]
    backend = Tokenizer(BPE({t: i for i, t in enumerate(tokens)}, merges, unk_token="<s>"))
    backend.pre_tokenizer = parts.get("cuts", pre_tokenizers.ByteLevel(add_prefix_space=False))
    if "normalizer" in parts:
        backend.normalizer = parts["normalizer"]
    backend.add_special_tokens([AddedToken(t, lstrip=parts.get("strips", False)) for t in specials])
    if parts.get("cut_off"):
        backend.enable_truncation(3)
        backend.enable_padding(length=9)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


class Odd(PreTrainedTokenizerFast):
    """One that does something of its own."""

    def _encode_plus(self, text, **kwargs):
        return super()._encode_plus([one.upper() for one in text], **kwargs)


TOKENIZERS = {
    "fresh": train_tokenizer(["Zwei junge Männer", "two men 12 🙂"] * 9, 400, ["<en>", "<de>"]),
    "byte level": bpe(),
    "prefix space": bpe(cuts=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "metaspace": bpe(cuts=pre_tokenizers.Metaspace(prepend_scheme="first")),
    "lower case": bpe(normalizer=normalizers.Lowercase()),
    "specials that strip": bpe(strips=True),
    "cut off and padded": bpe(cut_off=True),
    "own code": Odd(tokenizer_object=bpe().backend_tokenizer, bos_token="<s>", eos_token="</s>"),
}


@pytest.mark.parametrize("style", ["compact", "parrot"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_shorter_ways_lead_to_the_same_ids(name, style, tmp_path, monkeypatch):
    pairs, tokenizer, prompt = random_pairs(3), TOKENIZERS[name], load_prompt(style)
    with monkeypatch.context() as patched:
        # As transformers does it, each text of each pair for itself.
        patched.setattr(encoding, "_is_plain", lambda tokenizer: False)
        alone = [encode_corpus([pair], tokenizer, prompt)[0][0] for pair in pairs]
    longest = int(np.median([len(one["input_ids"]) for one in alone]))
    kept = [one for one in alone if len(one["input_ids"]) <= longest]
    monkeypatch.setattr(encoded, "_CHUNK", 64)
    short, left_out = encode_corpus(pairs, tokenizer, prompt, longest)
    mapped, also_left_out = encode_corpus(pairs, tokenizer, prompt, longest, tmp_path)
    assert 0 < len(kept) < len(pairs)
    for data in (short, mapped):
        assert [data[i] for i in range(len(data))] == kept
    assert left_out == also_left_out == len(pairs) - len(kept)


def test_where_the_short_way_is_taken():
    def takes_it(name, style):
        prompt = load_prompt(style)
        rendered = rendered_prompt(TOKENIZERS[name], prompt, "en", "de")
        return ids_around(TOKENIZERS[name], rendered) is not None

    assert takes_it("fresh", "compact")
    assert takes_it("byte level", "compact")
    assert not takes_it("fresh", "parrot")
    others = {*TOKENIZERS} - {"fresh", "byte level", "cut off and padded"}
    assert not any(takes_it(name, "compact") for name in others)


def test_ids_of_two_or_four_bytes(tmp_path):
    parts, sequences = [[1], [70_000], [2], [], [3], [65_535]], [[1, 70_000, 2], [], [3, 65_535]]
    table = np.array([[0, 1, 2], [3, 3, 3], [4, 3, 5]])
    for largest in (1 << 16, (1 << 16) - 1):
        ids = [[min(one, largest) for one in part] for part in parts]
        folder = tmp_path / str(largest)
        folder.mkdir()
        writer = EncodedWriter(largest, folder)
        assert writer.add(ids, table[:1]) == 1
        assert writer.add(ids, table[1:], max_length=2) == 2
        assert writer.add(ids, table, max_length=1) == 1  # the empty one
        data = writer.finish()
        assert data._ids.itemsize == (4 if largest == 1 << 16 else 2)
        assert [data[i]["input_ids"] for i in range(4)] == [
            [min(one, largest) for one in row] for row in [*sequences, []]
        ]
        assert data.response_tokens.tolist() == [2, 0, 1, 0]
    assert EncodedPairs.of(sequences, [1, 0, 1]).response_tokens.tolist() == [2, 0, 1]


def test_another_process_maps_the_same_files(tmp_path):
    import pickle

    data, _ = encode_corpus(
        random_pairs(1), TOKENIZERS["fresh"], load_prompt("compact"), 90, tmp_path
    )
    written = pickle.dumps(data)
    assert len(written) < 300  # a path
    again = pickle.loads(written)
    assert [again[i] for i in range(len(again))] == [data[i] for i in range(len(data))]


def naive_batches(lengths, size, seed, epoch):
    """All batches of an epoch as one matrix, whose rows are shuffled."""
    chance = np.random.default_rng((seed, epoch))
    shuffled = chance.permutation(len(lengths))
    full = len(shuffled) // size * size
    grouped = []
    for start in range(0, full, 50 * size):
        part = shuffled[start : min(start + 50 * size, full)]
        part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
        grouped.append(part.reshape(-1, size))
    first = chance.permutation(np.concatenate(grouped)).flatten().tolist() if grouped else []
    return first + shuffled[full:].tolist()


@pytest.mark.parametrize(("count", "size"), [(3, 8), (8, 8), (1003, 8), (2500, 3), (64, 64)])
def test_batches_come_as_those_of_a_matrix(count, size):
    lengths = np.random.default_rng(7).integers(5, 60, count)
    for seed, epoch in ((0, 0), (3, 2)):
        sampler = LengthGroupedBatches(lengths, size, seed)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler) == naive_batches(lengths, size, seed, epoch)


def test_special_tokens_are_read_or_not_as_asked_each_time():
    tokenizer = TOKENIZERS["fresh"]
    for literal in (True, False, True):
        (ids,) = token_ids(tokenizer, ["a</s>"], literal)
        assert (tokenizer.eos_token_id in ids) is not literal
    assert tokenizer("a</s>", add_special_tokens=False)["input_ids"][-1] == tokenizer.eos_token_id
