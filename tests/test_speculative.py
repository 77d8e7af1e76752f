"""Drafted translations against the teacher alone, and the two ways to count what was accepted."""

import copy
import itertools
from functools import partial

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MiniMaxConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from evokd.data.prompts import load_prompt, prompt_tags
from evokd.errors import InputError
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.acceptance import Drafting, acceptance, count_drafts, greedy_answers
from evokd.translate.decoding import translate
from evokd.translate.speculative import Passes, translate_with_draft
from evokd.translate.stopping import Ends
from tiny import encode_prompt

WORDS = ["rot", "blau", "grün", "gelb", "Haus", "Baum", "Hund", "Katze", "läuft", "steht"]
LINES = [
    "rot blau", "", "Haus", "Katze läuft grün", "Baum Hund gelb steht rot", "gelb gelb", " ",
    "Hund steht", "blau", "läuft läuft läuft", "grün Baum", "steht Katze Haus Hund", "gelb",
]  # fmt: skip
ANSWERED = sum(bool(line.strip()) for line in LINES)
VOCABULARY = 330
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
WINDOW = {"sliding_window": 12}
FAMILIES = {
    "llama": LlamaConfig(**SHAPE),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3, one layer with a window": Qwen3Config(
        **SHAPE,
        **WINDOW,
        use_sliding_window=True,
        layer_types=["full_attention", "sliding_attention"],
    ),
    "mistral with a window": MistralConfig(**SHAPE, **WINDOW),
    "gemma2": Gemma2Config(**SHAPE, **WINDOW, query_pre_attn_scalar=8),
    "gemma3": Gemma3TextConfig(
        **SHAPE, **WINDOW, layer_types=["sliding_attention", "full_attention"]
    ),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        tie_word_embeddings=False,
    ),
}
SHORT = DecodingSettings(extra_tokens=8, tokens_per_source_token=0.5)
COUNTED = (
    "draft_tokens", "lines", "lines_without_draft", "tokens", "teacher_passes", "drafted",
    "accepted", "acceptance", "tokens_per_pass",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    """Some twenty of its tokens hold a newline."""
    breaks = ["\n" * i + " " + "\n" * j for i in range(5) for j in range(5)]
    texts = [" ".join(WORDS), *LINES, *breaks]
    return train_tokenizer(texts * 10, VOCABULARY, prompt_tags(["en", "de"]))


def build(tokenizer, config=FAMILIES["llama"], seed=5, ends=10):
    """A translator with random weights, larger than fresh ones so that outputs vary and logits
    don't tie; so many of its tokens end a sentence."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() == 2:
                    weight.normal_(std=0.35)
    model.generation_config = GenerationConfig(eos_token_id=list(range(20, 20 + ends)))
    return Translator(model, tokenizer, load_prompt("compact"))


def disturbed(translator, share=0.05, seed=7):
    """A copy whose weights are off by some noise: it agrees with the original now and then."""
    model = copy.deepcopy(translator.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(noise * weight.std(correction=0) * share)
    return Translator(model, translator.tokenizer, translator.prompt)


def both_ways(teacher, student, settings=SHORT, draft_tokens=5, lines=LINES):
    """Translations, what drafting counted, and what was counted without drafting."""
    made, drafting = translate_with_draft(
        teacher, student, lines, "en", "de", settings, draft_tokens=draft_tokens
    )
    answers = greedy_answers(teacher, lines, "en", "de", settings)
    facts = acceptance(teacher, student, answers, settings, draft_tokens)
    return made, {name: drafting.facts()[name] for name in COUNTED}, facts


@pytest.mark.parametrize("family", FAMILIES)
def test_lines_are_the_teachers_and_both_ways_count_alike(tokenizer, family):
    teacher = build(tokenizer, FAMILIES[family])
    student = disturbed(teacher)
    expected = translate(teacher, LINES, "en", "de", SHORT)
    assert min(expected.stopped_by.values()) > 0, expected.stopped_by
    made, counted, facts = both_ways(teacher, student)
    assert made.lines == expected.lines
    assert made.stopped_by == expected.stopped_by
    assert made.output_tokens == expected.output_tokens == counted["tokens"]
    assert counted == {name: facts[name] for name in COUNTED}
    assert counted["lines"] == ANSWERED
    assert 0.1 < counted["acceptance"] < 0.95
    assert 1 < counted["tokens_per_pass"] < 6
    assert 0.1 < facts["agreement"] < 0.99


@pytest.mark.parametrize("draft_tokens", [1, 2, 50])
def test_any_number_of_drafted_tokens_and_any_cap(tokenizer, draft_tokens):
    teacher = build(tokenizer)
    student = disturbed(teacher)
    agreements = set()
    for extra_tokens in (1, 8):
        settings = DecodingSettings(extra_tokens=extra_tokens, tokens_per_source_token=0.5)
        expected = translate(teacher, LINES, "en", "de", settings)
        made, counted, facts = both_ways(teacher, student, settings, draft_tokens)
        assert made.lines == expected.lines
        assert made.cut_off == expected.cut_off
        assert counted == {name: facts[name] for name in COUNTED}
        agreements.add((extra_tokens, facts["agreement"]))
    assert len(agreements) == 2


def test_a_draft_of_another_family_and_shape(tokenizer):
    teacher = build(tokenizer)
    shape = {**SHAPE, "hidden_size": 16, "num_hidden_layers": 1}
    student = build(tokenizer, Gemma3TextConfig(**shape, **WINDOW), seed=1)
    made, counted, facts = both_ways(teacher, student)
    assert made.lines == translate(teacher, LINES, "en", "de", SHORT).lines
    assert counted == {name: facts[name] for name in COUNTED}
    assert counted["acceptance"] < 0.1


def test_a_copy_of_the_teacher_has_everything_accepted(tokenizer):
    teacher = build(tokenizer)
    student = disturbed(teacher, share=0)
    for draft_tokens in (1, 5):
        made, counted, facts = both_ways(teacher, student, draft_tokens=draft_tokens)
        assert counted["acceptance"] == facts["acceptance"] == facts["agreement"] == 1
        answers = greedy_answers(teacher, LINES, "en", "de", SHORT)
        # A pass for each draft that is full; its last token may end the answer, or be the cap's.
        passes = sum(-(-len(each.ids) // (draft_tokens + 1)) for each in answers)
        assert counted["teacher_passes"] == passes
        assert made.output_tokens == sum(len(each.ids) for each in answers)


def test_agreement_is_that_of_the_models_own_logits(tokenizer):
    teacher = build(tokenizer)
    student = disturbed(teacher)
    right = []
    for line in LINES:
        if line.strip():
            answer = greedy_answers(teacher, [line], "en", "de", SHORT)[0]
            prompt_ids = answer.job.prompt_ids
            assert prompt_ids == encode_prompt(tokenizer, teacher.prompt, line, "en", "de")
            for i, token in enumerate(answer.ids):
                with torch.no_grad():
                    ids = torch.tensor([prompt_ids + answer.ids[:i]])
                    right.append(int(student.model(ids).logits[0, -1].argmax()) == token)
    expected = sum(right) / len(right)
    for batch_size, batch_tokens in ((1, 8192), (4, 100), (64, 8192)):
        settings = SHORT.model_copy(update={"batch_size": batch_size, "batch_tokens": batch_tokens})
        answers = greedy_answers(teacher, LINES, "en", "de", settings)
        facts = acceptance(teacher, student, answers, settings)
        assert facts["agreement"] == pytest.approx(expected, abs=1e-9)


def test_answers_that_are_known_needn_t_be_made_again(tokenizer, monkeypatch):
    teacher = build(tokenizer)
    student = disturbed(teacher)
    answers = greedy_answers(teacher, LINES, "en", "de", SHORT)
    expected = acceptance(teacher, student, answers, SHORT)
    monkeypatch.setattr(teacher.model, "forward", None)
    assert acceptance(teacher, student, answers, SHORT) == expected


@pytest.mark.parametrize(
    ("agrees", "cap", "draft_tokens", "counts"),
    [
        ("1111111111", 99, 5, (10, 2, 5 + 4, 5 + 4)),
        ("111111", 99, 5, (6, 1, 5, 5)),
        ("11111", 5, 5, (5, 1, 4, 4)),
        ("11111", 6, 5, (5, 1, 5, 5)),
        ("0000", 99, 5, (4, 4, 4 + 3 + 2 + 1, 0)),
        ("0000", 4, 2, (4, 4, 2 + 2 + 1 + 0, 0)),
        ("1011011", 99, 3, (7, 3, 3 + 3 + 2, 1 + 2 + 2)),
        ("110", 99, 1, (3, 2, 1 + 1, 1 + 0)),
        ("1", 1, 5, (1, 1, 0, 0)),
    ],
)
def test_counts_by_hand(agrees, cap, draft_tokens, counts):
    drafting = count_drafts([each == "1" for each in agrees], cap, draft_tokens)
    assert drafting == Drafting(draft_tokens, *counts, lines=1, lines_without_draft=0)


def test_a_newline_is_found_wherever_a_pass_put_it():
    tokens = ["A", " ", "\n", "\n\n", "\nA", "A\n", "A\nA"]
    ends = Ends(
        ids=(),
        newline=torch.tensor(["\n" in token for token in tokens]),
        text=torch.tensor([bool(token.strip()) for token in tokens]),
        text_first=torch.tensor([bool(token.partition("\n")[0].strip()) for token in tokens]),
    )
    cases = set()
    for length in (1, 2, 3, 4):
        for answer in itertools.product(range(len(tokens)), repeat=length):
            row = torch.tensor([[0, 0, *answer]])
            (ended,) = Passes(ends, prompt_width=2)(row, None).tolist()
            assert ended == (ends.end_of(answer, length)[0] == "newline"), answer
            cases.add((length, ended))
    assert len(cases) == 8


@pytest.mark.parametrize("wider", ["teacher", "student"])
def test_embeddings_may_be_padded_to_different_widths(tokenizer, wider):
    narrow, wide = FAMILIES["llama"], LlamaConfig(**{**SHAPE, "vocab_size": VOCABULARY + 22})
    teacher = build(tokenizer, wide if wider == "teacher" else narrow)
    student = disturbed(teacher)
    student.model.resize_token_embeddings(
        VOCABULARY + 22 * (wider == "student"), mean_resizing=False
    )
    with torch.no_grad():  # ids that no text needs are said now and then
        for translator in (teacher, student):
            translator.model.get_output_embeddings().weight[VOCABULARY:].normal_(std=0.5)
    width = student.model.config.vocab_size
    expected = translate(teacher, LINES, "en", "de", SHORT)
    made, counted, facts = both_ways(teacher, student)
    assert made.lines == expected.lines
    assert made.stopped_by == expected.stopped_by
    assert counted == {name: facts[name] for name in COUNTED}
    assert counted["accepted"] > 0
    assert student.model.config.vocab_size == width
    answers = greedy_answers(teacher, LINES, "en", "de", SHORT)
    beyond = sum(token >= VOCABULARY for each in answers for token in each.ids)
    assert (beyond > 0) == (wider == "teacher")


def test_long_lines_are_shortened_as_for_the_teacher_alone(tokenizer):
    teacher = build(tokenizer, LlamaConfig(**{**SHAPE, "max_position_embeddings": 40}))
    lines = ["rot blau grün " * 30, *LINES]
    expected = translate(teacher, lines, "en", "de", SHORT)
    assert expected.shortened == 1
    made, counted, facts = both_ways(teacher, disturbed(teacher), lines=lines)
    assert made.lines == expected.lines
    assert made.shortened == 1
    assert counted == {name: facts[name] for name in COUNTED}
    assert counted["lines_without_draft"] == 0


def test_lines_too_long_for_the_draft_are_left_to_the_teacher(tokenizer):
    teacher = build(tokenizer, FAMILIES["gpt2"])
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=24)
    student = build(tokenizer, config)
    settings = DecodingSettings(extra_tokens=4)
    lines = [*LINES, "rot blau grün " * 4]
    made, counted, facts = both_ways(teacher, student, settings, lines=lines)
    assert made.lines == translate(teacher, lines, "en", "de", settings).lines
    assert counted == {name: facts[name] for name in COUNTED}
    assert 0 < counted["lines_without_draft"] < ANSWERED


def test_nothing_to_translate(tokenizer):
    teacher = build(tokenizer)
    made, drafting = translate_with_draft(teacher, disturbed(teacher), ["", " "], "en", "de")
    assert made.lines == ["", ""]
    assert (drafting.acceptance, drafting.tokens_per_pass, drafting.lines) == (None, None, 0)
    assert str(drafting) == "nothing was drafted"
    facts = acceptance(teacher, disturbed(teacher), [])
    assert (facts["acceptance"], facts["agreement"]) == (None, None)


def test_models_are_left_as_they_were(tokenizer):
    teacher, own = build(tokenizer), GenerationConfig(num_assistant_tokens=3, do_sample=True)
    student = disturbed(teacher)
    student.model.generation_config = own
    student.model.train()
    expected = translate(teacher, LINES, "en", "de", SHORT).lines
    assert both_ways(teacher, student)[0].lines == expected
    assert student.model.generation_config is own
    assert student.model.training
    assert not teacher.model._forward_pre_hooks


def test_the_speed_stands_beside_the_teachers_own(tokenizer):
    teacher = build(tokenizer)
    made, drafting = translate_with_draft(
        teacher, disturbed(teacher), LINES, "en", "de", SHORT, timed_lines=3
    )
    assert made.batch_size == 1
    assert made.seconds > 0
    assert 0.01 < drafting.speedup < 100
    assert f"{drafting.speedup:.2f} × the speed of the teacher alone" in str(drafting)
    assert f"{drafting.acceptance:.0%} of {drafting.drafted} drafted tokens" in str(drafting)


def test_what_can_t_be_a_draft_is_refused(tokenizer):
    teacher = build(tokenizer)
    student = disturbed(teacher)
    with pytest.raises(AssertionError, match="greedy"):
        translate_with_draft(teacher, student, LINES, "en", "de", DecodingSettings(beam=2))
    other = train_tokenizer(["ganz andere Worte"] * 10, VOCABULARY, prompt_tags(["en", "fr"]))
    foreign = Translator(student.model, other, student.prompt)
    parroting = Translator(student.model, tokenizer, load_prompt("parrot"))
    for draft, problem in (
        (foreign, "different tokenizers"),
        (parroting, "is compact.* parrot"),
    ):
        for ask in (
            partial(translate_with_draft, lines=LINES, source_code="en", target_code="de"),
            partial(acceptance, answers=[]),
        ):
            with pytest.raises(InputError, match=problem) as refusal:
                ask(teacher, draft)
            assert "student.tokenizer" not in str(refusal.value)


@pytest.mark.parametrize("place", ["teacher", "draft"])
@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4),
        MiniMaxConfig(**SHAPE, num_local_experts=2, num_experts_per_tok=1),
    ],
    ids=["mamba", "minimax"],
)
def test_memory_that_can_t_be_taken_back_is_refused(tokenizer, config, place):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    recurrent = Translator(model, tokenizer, load_prompt("compact"))
    plain = build(tokenizer)
    pair = (recurrent, plain) if place == "teacher" else (plain, recurrent)
    with pytest.raises(InputError, match=f"the {place} is a M.*can't be taken back"):
        translate_with_draft(*pair, LINES, "en", "de")
