import copy

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evokd.errors import InputError
from evokd.models.fresh import train_tokenizer
from evokd.models.vocabulary import fingerprint, shared_vocabulary

TEXTS = ["Zwei junge weiße Männer sind im Freien.", "Two young white men are outside."] * 20


def make(texts=TEXTS, size=400, tags=("<de>",)):
    return train_tokenizer(texts, size, tags)


@pytest.fixture(scope="module")
def tokenizer():
    return make()


def test_a_fingerprint_is_that_of_the_content(tokenizer, tmp_path):
    mark = fingerprint(tokenizer)
    assert fingerprint(make()) == mark

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    loaded(["a", "a longer one"], padding=True, truncation=True, max_length=4)
    loaded.chat_template = "{{ messages }}"
    loaded.pad_token = loaded.eos_token
    assert fingerprint(loaded) == mark


def test_a_fingerprint_sees_merges_added_tokens_and_ends(tokenizer):
    mark = fingerprint(tokenizer)
    assert fingerprint(make(size=305)) != mark
    assert fingerprint(make(tags=("<fr>",))) != mark
    more = copy.deepcopy(tokenizer)
    more.add_tokens(["<extra>"])
    assert fingerprint(more) != mark
    other_end = copy.deepcopy(tokenizer)
    other_end.eos_token = "<pad>"
    assert fingerprint(other_end) != mark


def test_a_tokenizer_shares_all_with_itself(tokenizer):
    shared = shared_vocabulary(tokenizer, len(tokenizer), make(), len(tokenizer))
    assert shared.size == len(tokenizer)
    assert not shared.note


def test_padded_widths_are_cut_to_the_narrower_one(tokenizer):
    n = len(tokenizer)
    shared = shared_vocabulary(tokenizer, n + 40, make(), n + 8)
    assert shared.size == n + 8
    assert f"32 of the teacher's {n + 40} (no tokens)" in shared.note
    assert "student" not in shared.note


def test_added_tokens_beyond_the_shared_start_fall_away(tokenizer):
    n = len(tokenizer)
    more = copy.deepcopy(tokenizer)
    more.add_tokens(["<tool>", "<call>"], special_tokens=True)
    for teacher, student, who in [(more, tokenizer, "teacher"), (tokenizer, more, "student")]:
        shared = shared_vocabulary(teacher, n + 16, student, n + 16)
        assert shared.size == n
        assert f"16 of the {who}'s {n + 16} (2 of them added tokens" in shared.note
        assert "<tool>, <call>" in shared.note


def test_added_tokens_that_a_text_needs_are_refused(tokenizer):
    n = len(tokenizer)
    more = copy.deepcopy(tokenizer)
    more.add_tokens(["fox"])
    with pytest.raises(InputError, match=r"different tokenizers.*quick brown fox"):
        shared_vocabulary(more, n + 1, tokenizer, n)
    tagged = copy.deepcopy(tokenizer)
    tagged.add_tokens(["<xx>"], special_tokens=True)
    assert shared_vocabulary(tagged, n + 1, tokenizer, n).size == n
    with pytest.raises(InputError, match="<xx>"):
        shared_vocabulary(tagged, n + 1, tokenizer, n, texts=["<xx>Hello"])


def test_equal_sizes_are_no_proof(tokenizer):
    other = make(["Deux jeunes hommes blancs sont dehors."] * 20, len(tokenizer))
    n = min(len(tokenizer), len(other))
    with pytest.raises(InputError) as error:
        shared_vocabulary(tokenizer, n, other, n)
    assert fingerprint(tokenizer) in str(error.value)
    assert fingerprint(other) in str(error.value)
    assert "ids stand for different tokens" in str(error.value)


def test_inverted_ids_are_refused_and_named(tokenizer):
    import json

    from tokenizers import Tokenizer

    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tree["model"]["vocab"]
    vocabulary["Q"], vocabulary["Z"] = vocabulary["Z"], vocabulary["Q"]
    inverted = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tree)), bos_token="<s>", eos_token="</s>"
    )
    n = len(tokenizer)
    with pytest.raises(InputError, match=r"2 ids stand for different tokens.*'Q' and 'Z'"):
        shared_vocabulary(tokenizer, n, inverted, n)


def test_one_vocabulary_cut_differently_is_refused(tokenizer):
    from tokenizers import normalizers

    lower = copy.deepcopy(tokenizer)
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(InputError, match="gives"):
        shared_vocabulary(tokenizer, len(tokenizer), lower, len(tokenizer))


def test_different_end_tokens_are_refused(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.eos_token = "<pad>"
    with pytest.raises(InputError, match=r"ends a text with '</s>' \(2\).*'<pad>' \(0\)"):
        shared_vocabulary(tokenizer, len(tokenizer), other, len(tokenizer))
