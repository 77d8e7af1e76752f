"""sentences.jsonl: segments scored as sacreBLEU scores them, and read as they were written."""

import pytest
import sacrebleu

from evokd.errors import InputError
from evokd.evaluate.comparison import SystemOutput, TestSet, behaviour_all
from evokd.evaluate.scores import metric_scorers, segment_scores
from evokd.evaluate.sentences import SENTENCES, as_outputs, read_sentences, write_sentences

LINES = ["the cat sat on the mat", "Hello, world!", "", "no"]
REFERENCES = [
    ["the cat sat on a mat", "Hello world!", "nothing", "not at all"],
    ["a cat sat on the mat", "Hi, world!", "no thing", "no"],
]


def test_a_segment_has_the_score_that_sacrebleu_gives_the_sentence():
    scorers = metric_scorers(["bleu", "chrf", "chrf++", "ter"], "de", REFERENCES)
    found = {name: segment_scores(scorer, LINES) for name, scorer in scorers.items()}
    theirs = {
        "bleu": sacrebleu.sentence_bleu,
        "chrf": sacrebleu.sentence_chrf,
        "chrf++": lambda line, refs: sacrebleu.sentence_chrf(line, refs, word_order=2),
        "ter": sacrebleu.sentence_ter,
    }
    for name, score in theirs.items():
        pairs = zip(LINES, zip(*REFERENCES, strict=True), strict=True)
        assert found[name] == [score(line, list(refs)).score for line, refs in pairs], name
    # and the corpus score is still that of the whole
    assert scorers["bleu"].corpus_score(LINES, None).score == pytest.approx(
        sacrebleu.corpus_bleu(LINES, REFERENCES).score, abs=1e-12
    )


def test_what_was_written_is_read(tmp_path):
    sets = [
        TestSet("one", "en-de", ["source\u2028a", "b", "c", "d"], REFERENCES),
        TestSet("two", "de-en", None, REFERENCES[:1]),
    ]
    outputs = [
        SystemOutput("teacher", None, "one", "en-de", LINES, [False, True, False, False]),
        SystemOutput("student", 2, "one", "en-de", ["x\ry", *LINES[1:]]),
        SystemOutput("student", 2, "two", "de-en", LINES),
    ]
    write_sentences(tmp_path, outputs, sets, ["chrf"], behaviour_all(outputs, sets))
    first, second = read_sentences(tmp_path / SENTENCES)
    assert [len(row["outputs"]) for row in (first, second)] == [2, 1]
    assert first["outputs"][1]["scores"]["chrf"][1] == pytest.approx(
        sacrebleu.sentence_chrf(LINES[1], [refs[1] for refs in REFERENCES]).score, abs=0.005
    )
    found, found_sets = as_outputs([first, second])
    assert found_sets == sets
    assert [(one.system, one.seed, one.cell) for one in found] == [
        (one.system, one.seed, one.cell) for one in outputs
    ]
    assert [list(one.hypotheses) for one in found] == [list(one.hypotheses) for one in outputs]


def test_a_broken_file_is_an_error_that_says_what_to_do(tmp_path):
    for text in (None, "{"):
        if text:
            (tmp_path / SENTENCES).write_text(text)
        with pytest.raises(InputError, match=r"sentences.jsonl can.t be read .*evokd run"):
            list(read_sentences(tmp_path / SENTENCES))
