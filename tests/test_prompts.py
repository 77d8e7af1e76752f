import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.data.prompts import PROMPTS, Prompt, answer_line, load_prompt, prompt_tags
from evokd.errors import InputError


def test_parrot_is_the_alpaca_frame():
    assert load_prompt("parrot").render("Guten Tag.", "de", "en") == (
        "Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n"
        "\n"
        "### Instruction:\n"
        "Translate the following sentences from German to English.\n"
        "\n"
        "### Input:\n"
        "Guten Tag.\n"
        "\n"
        "### Response:"
    )


def test_alma():
    assert load_prompt("alma").render("Guten Tag.", "de", "en") == (
        "Translate this from German to English:\nGerman: Guten Tag.\nEnglish:"
    )


def test_chat_is_a_message():
    prompt = load_prompt("chat")
    assert prompt.chat
    assert prompt.render("Ahoj.", "cs", "en") == (
        "Translate the following sentence from Czech to English. Answer with the translation only."
        "\n\nAhoj."
    )


def test_compact_uses_the_tags_of_a_fresh_tokenizer():
    rendered = load_prompt("compact").render("Hi", "eng_Latn", "deu_Latn")
    assert rendered == "<en>Hi<de>"
    tags = prompt_tags(["en", "de", "eng_Latn"])
    assert tags == ["<en>", "<de>"]
    assert all(tag in rendered for tag in tags)


@pytest.mark.parametrize("style", PROMPTS)
def test_every_row_goes_by_its_name(style):
    assert load_prompt(style).style == style
    assert load_prompt(style).chat == (style == "chat")


@given(st.text())
def test_the_sentence_is_never_a_template(source):
    prompt = Prompt("file", "A {source_code} {source} {target_language}:")
    assert prompt.render(source, "en", "de") == f"A en {source} German:"


def test_braces_and_placeholders_in_the_sentence_are_text():
    source = "{source} {target_language} {} {0} {{x}}"
    assert load_prompt("compact").render(source, "en", "de") == f"<en>{source}<de>"


def test_template_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text('{"text": "{source}"} in {target_language} -> \n\n', encoding="utf-8")
    prompt = load_prompt(path)
    assert prompt.style == "file"
    # One final newline is the editor's; all else after {source} stands.
    assert prompt.render("Hi", "en", "de") == '{"text": "Hi"} in German -> \n'


def test_template_errors(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("{source} {langauge}", encoding="utf-8")
    with pytest.raises(InputError, match=r"unknown placeholder \{langauge\}.*\{target_language\}"):
        load_prompt(path)
    path.write_text("Translate:", encoding="utf-8")
    with pytest.raises(InputError, match=r"has no \{source\}"):
        load_prompt(path)
    with pytest.raises(InputError, match=r"'parot' is neither a style nor a file.*parrot, alma"):
        load_prompt("parot")
    with pytest.raises(InputError, match="unknown language"):
        load_prompt("alma").render("x", "xx", "en")


def test_save_and_load(tmp_path):
    prompt = Prompt("file", "ä\u2028{source}\n", chat=True)
    prompt.save(tmp_path)
    assert Prompt.load(tmp_path) == prompt
    assert json.loads((tmp_path / "prompt.json").read_text(encoding="utf-8"))["chat"] is True


def test_damaged_prompt_file(tmp_path):
    with pytest.raises(InputError, match="not found"):
        Prompt.load(tmp_path)
    for text in ("{", "[]", '{"style": "x"}', '{"style": "x", "template": "y"}'):
        (tmp_path / "prompt.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            Prompt.load(tmp_path)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (" Guten Tag.", "Guten Tag."),
        ("Guten\tTag.\r\nMore", "Guten Tag."),
        ("\n\n Guten Tag.\n### Instruction", "Guten Tag."),
        ("a\u2028b\x85c\x0bd", "a b c d"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_answer_line(answer, line):
    assert answer_line(answer) == line


@given(st.text(st.characters() | st.sampled_from("\n\r\t\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
def test_an_answer_is_one_line_for_everyone(text):
    line = answer_line(text)
    assert len(line.splitlines()) <= 1
    assert "\n" not in line
    assert "\t" not in line
    assert line == line.strip()
    assert answer_line(line) == line
