import pytest
import torch
from transformers import GenerationConfig, LlamaForCausalLM

from evokd.data.pairs import Pair
from evokd.data.prompts import answer_line, load_prompt, prompt_tags
from evokd.errors import InputError
from evokd.models.encoded import collate, encode_corpus
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import Translator
from evokd.progress import progress_bar
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.models import FreshModel
from evokd.translate import decoding
from evokd.translate.decoding import joined, translate
from evokd.translate.stopping import Ends
from tiny import encode_prompt

WORDS = ["rot", "blau", "grün", "gelb", "Haus", "Baum", "Hund", "Katze", "läuft", "steht"]
LINES = [
    "rot blau", "Haus", "Katze läuft grün", "Baum Hund gelb steht rot", "gelb gelb",
    "Hund steht", "blau", "läuft läuft läuft", "grün Baum", "steht Katze Haus Hund",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS), *LINES] * 10, 330, prompt_tags(["en", "de"]))


def make(tokenizer, seed=3, positions=256):
    settings = FreshModel(
        hidden_size=64, layers=2, heads=2, max_positions=positions, tie_embeddings=False
    )
    model = fresh_model(settings, tokenizer, seed).eval()
    with torch.no_grad():  # larger than fresh weights, so that outputs vary and logits don't tie
        for weight in model.parameters():
            weight.mul_(6 if weight.dim() == 2 else 1)
    return Translator(model, tokenizer, load_prompt("compact"))


@pytest.fixture(scope="module")
def untrained(tokenizer):
    return make(tokenizer)


@pytest.fixture(scope="module")
def copier(tokenizer):
    """A model that has learnt to copy LINES."""
    translator = Translator(
        fresh_model(FreshModel(hidden_size=64, layers=2, heads=2), tokenizer, 1),
        tokenizer,
        load_prompt("compact"),
    )
    pairs = [Pair(line, line, "en", "de", "x:1") for line in LINES]
    data, _ = encode_corpus(pairs, tokenizer, translator.prompt, 100)
    batch = collate([data[i] for i in range(len(data))])
    optimizer = torch.optim.AdamW(translator.model.parameters(), lr=5e-3)
    for _ in range(150):
        loss = translator.model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.02
    return translator


def by_hand(translator, line, settings=None):
    """One sentence, one argmax after the other, no cache, no padding."""
    settings = settings or DecodingSettings()
    tokenizer = translator.tokenizer
    ids = encode_prompt(tokenizer, translator.prompt, line, "en", "de")
    tokens = tokenizer(line, add_special_tokens=False)["input_ids"]
    cap = settings.extra_tokens + int(settings.tokens_per_source_token * len(tokens))
    out = []
    while len(out) < cap:
        with torch.no_grad():
            best = int(translator.model(torch.tensor([ids + out])).logits[0, -1].argmax())
        if best == tokenizer.eos_token_id:
            return answer_line(tokenizer.decode(out, skip_special_tokens=True)), "eos"
        out.append(best)
        text = tokenizer.decode(out, skip_special_tokens=True)
        if "\n" in text.lstrip():
            return answer_line(text), "newline"
    return answer_line(tokenizer.decode(out, skip_special_tokens=True)), "cap"


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_an_untrained_model_decodes_as_by_hand_in_any_batch(untrained, batch_size):
    result = translate(untrained, LINES, "en", "de", DecodingSettings(batch_size=batch_size))
    expected = [by_hand(untrained, line) for line in LINES]
    assert result.lines == [text for text, _ in expected]
    assert result.cut_off == [reason == "cap" for _, reason in expected]
    assert len(set(result.lines)) > 5


@pytest.mark.parametrize("count", [1, 3, len(LINES) + 2])
def test_lines_that_were_shared_out_are_those_of_one(copier, count):
    lines = [*LINES, "", "rot " * 1000]  # blank, and longer than the model
    whole = translate(copier, lines, "en", "de")
    parts = [translate(copier, lines[place::count], "en", "de") for place in range(count)]
    assert vars(joined(parts, whole.seconds)) == vars(whole)
    assert whole.shortened == 1
    assert sum(map(bool, whole.stopped_by.values())) > 1


class OwnKind(LlamaForCausalLM):
    """A class that evokd doesn't know: it is left to transformers' generate."""


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_a_model_of_any_kind_decodes_the_same_under_any_budget(untrained, batch_tokens):
    other = OwnKind(untrained.model.config).eval()
    other.load_state_dict(untrained.model.state_dict())
    other = Translator(other, untrained.tokenizer, untrained.prompt)
    expected = translate(untrained, LINES, "en", "de", DecodingSettings())
    sizes = []
    other.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    settings = DecodingSettings(batch_size=6, batch_tokens=batch_tokens)
    result = translate(other, LINES, "en", "de", settings)
    assert result.lines == expected.lines
    assert result.stopped_by == expected.stopped_by
    assert result.output_tokens == expected.output_tokens
    most = {1: 1, 100: 4, 10_000: 6}[batch_tokens]
    assert max(rows for rows, _ in sizes) == most


def test_beams_count_as_rows(untrained):
    rows = []
    handle = untrained.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    translate(untrained, LINES, "en", "de", DecodingSettings(beam=3, batch_tokens=200))
    handle.remove()
    assert 3 <= max(rows) <= 6


def test_a_trained_model_decodes_as_by_hand_and_stops_by_itself(copier):
    expected = [by_hand(copier, line) for line in LINES]
    assert expected == [(line, "eos") for line in LINES]
    for batch_size in (1, 8):
        result = translate(copier, LINES, "en", "de", DecodingSettings(batch_size=batch_size))
        assert result.lines == LINES
        assert result.stopped_by == {"eos": len(LINES), "newline": 0, "cap": 0}
        assert not any(result.cut_off)
        tokens = [copier.tokenizer(line, add_special_tokens=False)["input_ids"] for line in LINES]
        assert result.output_tokens == sum(len(ids) + 1 for ids in tokens)


def test_beams_agree_with_greedy_where_the_model_is_sure(copier):
    result = translate(copier, LINES, "en", "de", DecodingSettings(beam=3, batch_size=4))
    assert result.lines == LINES
    assert result.beam == 3


def test_a_beam_never_depends_on_the_batch(untrained):
    results = [
        translate(untrained, LINES, "en", "de", DecodingSettings(beam=3, batch_size=size))
        for size in (1, 8)
    ]
    assert results[0].lines == results[1].lines
    assert results[0].cut_off == results[1].cut_off


def test_blank_lines_stay_blank_and_never_reach_the_model(copier, monkeypatch):
    lines = ["", "rot blau", "  \t", "Haus", ""]
    result = translate(copier, lines, "en", "de")
    assert result.lines == ["", "rot blau", "", "Haus", ""]
    assert result.cut_off == [False] * 5
    monkeypatch.setattr(copier.model, "forward", None)
    assert translate(copier, ["", " "], "en", "de").lines == ["", ""]
    assert translate(copier, [], "en", "de").lines == []


def test_each_line_is_cut_at_a_cap_of_its_own(untrained):
    settings = DecodingSettings(extra_tokens=2, tokens_per_source_token=1.5, batch_size=8)
    result = translate_without_ends(untrained, settings)
    tokens = [len(untrained.tokenizer(t, add_special_tokens=False)["input_ids"]) for t in LINES]
    assert all(result.cut_off)
    assert result.output_tokens == sum(2 + -(-3 * n // 2) for n in tokens)
    assert result.facts()["cut_off"] == list(range(1, len(LINES) + 1))


def translate_without_ends(translator, settings):
    """translate() with a model whose end token and newlines have no chance."""
    vocabulary = translator.tokenizer.get_vocab()
    barred = [i for token, i in vocabulary.items() if "Ċ" in token or token == "</s>"]
    head = translator.model.lm_head
    handle = head.register_forward_hook(
        lambda module, inputs, logits: logits.index_fill(-1, torch.tensor(barred), -1e9)
    )
    try:
        return translate(translator, LINES, "en", "de", settings)
    finally:
        handle.remove()


class Script:
    """Makes a model say given tokens, whatever it is asked."""

    def __init__(self, translator, text):
        self.translator = translator
        tokenizer = translator.tokenizer
        self.ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        self.step = 0

    def __enter__(self):
        self.handle = self.translator.model.lm_head.register_forward_hook(self.say)

    def __exit__(self, *error):
        self.handle.remove()

    def say(self, module, inputs, logits):
        wanted = self.ids[min(self.step, len(self.ids) - 1)]
        self.step += 1
        forced = torch.full_like(logits, -50.0)
        forced[..., wanted] = 50.0
        return forced


@pytest.mark.parametrize(
    ("said", "line", "reason"),
    [
        ("Haus\nBaum</s>", "Haus", "newline"),
        ("\n\n Haus\nBaum</s>", "Haus", "newline"),
        ("Haus</s>", "Haus", "eos"),
        ("\n</s>", "", "eos"),
        ("</s>", "", "eos"),
        ("<de>Haus</s>", "Haus", "eos"),
        ("a\rb\u2028c\x85d</s>", "a b c d", "eos"),
        ("\n", "", "cap"),
    ],
)
@pytest.mark.parametrize("beam", [1, 2])
def test_where_an_answer_ends(untrained, said, line, reason, beam):
    with Script(untrained, said):
        result = translate(untrained, ["rot", "blau grün"], "en", "de", DecodingSettings(beam=beam))
    assert result.lines == [line, line]
    assert {k: v for k, v in result.stopped_by.items() if v} == {reason: 2}
    assert result.cut_off == [reason == "cap"] * 2


def test_a_token_with_text_before_its_newline_ends_an_answer():
    tokens = [". \n", "\nA", " \n", "A", " "]
    ends = Ends(
        ids=(),
        newline=torch.tensor(["\n" in t for t in tokens]),
        text=torch.tensor([bool(t.strip()) for t in tokens]),
        text_first=torch.tensor([bool(t.partition("\n")[0].strip()) for t in tokens]),
    )
    rows = torch.tensor([[4, 0], [4, 1], [4, 2], [3, 1], [3, 2], [1, 2], [2, 4], [3, 4]])
    expected = [True, False, False, True, True, True, False, False]
    assert ends.newlines(rows)[:, -1].tolist() == expected


def test_the_models_own_generation_settings_are_set_aside(copier):
    own = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=3.0, no_repeat_ngram_size=1,
        max_new_tokens=1, eos_token_id=2,
    )  # fmt: skip
    before = copier.model.generation_config
    copier.model.generation_config = own
    copier.model.train()
    try:
        assert translate(copier, LINES, "en", "de").lines == LINES
        assert copier.model.generation_config is own
        assert copier.model.training
    finally:
        copier.model.generation_config = before
        copier.model.eval()


def test_spaces_before_signs_stay(untrained):
    untrained.tokenizer.clean_up_tokenization_spaces = True
    try:
        with Script(untrained, "Ça va ? n't Oui !</s>"):
            assert translate(untrained, ["rot"], "en", "de").lines == ["Ça va ? n't Oui !"]
    finally:
        untrained.tokenizer.clean_up_tokenization_spaces = False


def test_all_end_tokens_of_the_model_count(untrained):
    extra = untrained.tokenizer.convert_tokens_to_ids("<pad>")
    before = untrained.model.generation_config
    untrained.model.generation_config = GenerationConfig(eos_token_id=[2, extra])
    try:
        with Script(untrained, "Haus<pad>Baum</s>"):
            assert translate(untrained, ["rot"], "en", "de").lines == ["Haus"]
    finally:
        untrained.model.generation_config = before


def test_long_lines_are_shortened_with_a_warning(tokenizer, capsys):
    narrow = make(tokenizer, positions=32)
    result = translate(narrow, ["rot " * 100, "Haus"], "en", "de", DecodingSettings(extra_tokens=4))
    assert len(result.lines) == 2
    assert result.shortened == 1
    assert (
        "warning: 1 of 2 lines are longer than the model's 32 positions" in capsys.readouterr().err
    )


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer):
    narrow = make(tokenizer, positions=16)
    wordy = Translator(narrow.model, tokenizer, load_prompt("parrot"))
    with pytest.raises(InputError, match="take a shorter prompt"):
        translate(wordy, ["Haus"], "en", "de")


def test_progress_and_facts(copier, capsys, monkeypatch):
    seen = []
    settings = DecodingSettings(batch_size=4)
    result = translate(
        copier, ["", *LINES], "en", "de", settings, lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (1, 11)
    assert seen[-1] == (11, 11)
    assert len(seen) > 3
    assert seen == sorted(seen)
    facts = result.facts()
    assert facts["source_words"] == sum(len(line.split()) for line in LINES)
    assert facts["words_per_s"] == pytest.approx(facts["source_words"] / result.seconds, rel=0.01)
    assert (facts["batch_size"], facts["batch_tokens"], facts["beam"]) == (4, 8192, 1)
    assert (facts["dtype"], facts["device"]) == ("float32", "cpu")
    assert facts["cut_off"] == []
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("evokd.progress.EVERY", 0.0)
    translate(copier, LINES, "en", "de", settings, progress_bar("lines"))
    assert "lines: 10 of 10 lines" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["a\nb", "a\r", "a\u2028b", "\n", "a\x0bb"])
def test_a_translation_is_one_line(copier, broken, monkeypatch):
    monkeypatch.setattr(decoding, "answer_line", lambda text: broken)
    with pytest.raises(AssertionError, match="more than one line"):
        translate(copier, ["rot"], "en", "de")
