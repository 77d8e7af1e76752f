"""Validation sentences token by token, before training and after."""

from __future__ import annotations

from pathlib import Path

from evokd.report.hard_tokens import hard_tokens, shade
from evokd.report.results import Results
from fake_run import SENTENCES, make_run


def test_shades_by_hand() -> None:
    assert shade(0) == "0.000"
    assert shade(9) == "0.600"


def test_two_sentences_of_each_direction_before_and_after(tmp_path: Path) -> None:
    tokens = hard_tokens(Results.read(make_run(tmp_path)))
    assert tokens is not None
    sources = [sentence["source"] for sentence in tokens["sentences"]]
    assert sources == [text[0] for texts in SENTENCES.values() for text in texts[:2]]
    for sentence in tokens["sentences"]:
        before, after = sentence["versions"]
        assert (before["name"], after["name"]) == ("start", "self_evolution")
        assert after["hard"] == sum(token["hard"] for token in after["tokens"])
        assert len(before["tokens"]) == len(after["tokens"])
    scale = [(step["text"], bool(step["hard"])) for step in tokens["scale"]]
    assert scale == [("0", False), ("0.4 = Γ", False), ("1", True), ("2+", True)]


def test_nothing_to_show_is_none(tmp_path: Path) -> None:
    assert hard_tokens(Results({})) is None
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/diagnostics.json").write_text('{"gamma": 0.4}', encoding="utf-8")
    assert hard_tokens(Results({}, tmp_path)) is None
