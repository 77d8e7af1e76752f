"""Scores equal sacreBLEU's and hand arithmetic; a metric is added by one row of one table."""

import json
import math
from pathlib import Path

import pytest
import sacrebleu
from sacrebleu.metrics.base import Metric, Score, Signature

from evokd.errors import InputError
from evokd.evaluate.comparison import (
    SystemOutput,
    TestSet,
    compare_all,
    gap_closed,
    score_all,
    summarise,
)
from evokd.evaluate.scores import metric_scorers
from evokd.recipe.file import check_recipe
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS, MetricSpec
from evokd.report.page import build_report
from fake_run import make_run
from small_study import evokd, recipe

HYPOTHESES = ["the cat sat on the mat", "Hello, world!", "", "a man rides a red bicycle"]
REFERENCES = ["the cat sat on a mat", "Hello world!", "nothing", "A man is riding a red bike"]
SECOND = ["a cat sat on the mat", "Hi, world!", "no thing", "a man rides his red bicycle"]


def score_system(hypotheses, documents, target_language, metrics=DEFAULT_METRICS, tokenizer=None):
    """Rows of one system alone."""
    direction = f"cs-{target_language}"
    output = SystemOutput("system", None, "test", direction, hypotheses)
    test_set = TestSet("test", direction, None, documents)
    return score_all([output], [test_set], metrics, tokenizer=tokenizer)


def test_bleu_by_hand():
    # n-gram precisions 5/6, 3/5, 2/4, 1/3; equal lengths, so no brevity penalty
    (score,) = score_system(HYPOTHESES[:1], [REFERENCES[:1]], "en", ["bleu"])
    assert score["score"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, abs=1e-9)


def test_scores_equal_sacrebleu_to_the_last_digit():
    for documents in ([REFERENCES], [REFERENCES, SECOND]):
        found = {
            score["metric"]: score["score"]
            for score in score_system(
                HYPOTHESES, documents, "de", ["bleu", "chrf", "chrf++", "ter"]
            )
        }
        assert found == {
            "bleu": sacrebleu.corpus_bleu(HYPOTHESES, documents).score,
            "chrf": sacrebleu.corpus_chrf(HYPOTHESES, documents).score,
            "chrf++": sacrebleu.corpus_chrf(HYPOTHESES, documents, word_order=2).score,
            "ter": sacrebleu.corpus_ter(HYPOTHESES, documents).score,
        }


def test_signatures_tell_the_settings():
    bleu, chrf = score_system(HYPOTHESES, [REFERENCES, SECOND], "de")
    version = sacrebleu.__version__
    assert bleu["signature"] == f"nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert chrf["signature"] == f"nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"


def test_chinese_is_scored_by_characters():
    # 13a sees one wrong word; zh sees 4 of 5 characters right (precisions 4/5, 3/4, 2/3, 1/2)
    (zh,) = score_system(["我喜欢小猫"], [["我喜欢小狗"]], "zh", ["bleu"])
    assert "tok:zh" in zh["signature"]
    assert zh["score"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, abs=1e-9)
    (other,) = score_system(["我喜欢小猫"], [["我喜欢小狗"]], "zh", ["bleu"], tokenizer="13a")
    assert other["score"] == 0


def test_empty_outputs_score_zero():
    assert [score["score"] for score in score_system(["", ""], [["a b", "c"]], "en")] == [0, 0]


def test_missing_tokenizer_is_told_before_the_work(monkeypatch):
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    with pytest.raises(InputError, match=r"ja-mecab.*pip install sacrebleu\[ja\]"):
        metric_scorers(["bleu"], "ja")
    metric_scorers(["chrf"], "ja")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            ["blue"],
            r"unknown metric 'blue'; did you mean 'bleu'. accepted: bleu, chrf, chrf\+\+, ter",
        ),
        (["bleu", "bleu"], "given twice"),
        ([], "no metric given"),
    ],
)
def test_wrong_metrics_are_refused(metrics, message):
    with pytest.raises(InputError, match=message):
        score_system(["a"], [["a"]], "en", metrics)


def test_unknown_tokenizer_is_refused_with_the_list():
    with pytest.raises(InputError, match=r"unknown BLEU tokenizer 'moses'; accepted:.*13a"):
        score_system(["a"], [["a"]], "en", tokenizer="moses")


def test_scores_are_plain_floats():
    for score in score_system(HYPOTHESES, [REFERENCES], "en", ["bleu", "chrf", "ter"]):
        assert type(score["score"]) is float
        assert math.isfinite(score["score"])


# A metric from outside: a class of sacreBLEU's kind, and a row of the table.


class ExactScore(Score):
    def __init__(self, score):
        super().__init__("Exact", score)


class ExactSignature(Signature):
    def __init__(self, args):
        super().__init__(args)
        self.info["space"] = "stripped"


class Mismatch(Metric):
    """How many outputs, in per cent, differ from all references: an error rate."""

    _SIGNATURE_TYPE = ExactSignature

    def __init__(self, _language, references=None, _tokenizer=None):
        super().__init__()
        if references is not None:
            self._ref_cache = self._cache_references(references)

    def _preprocess_segment(self, sent):
        return sent.strip()

    def _extract_reference_info(self, refs):
        return {"refs": refs}

    def _compute_segment_statistics(self, hypothesis, ref_kwargs):
        return [hypothesis not in ref_kwargs["refs"], 1]

    def _compute_score_from_stats(self, stats):
        return ExactScore(100 * stats[0] / stats[1])

    def _aggregate_and_compute(self, stats):
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])


@pytest.fixture
def mismatch(monkeypatch):
    row = MetricSpec("Mismatch", Mismatch, lower_is_better=True)
    monkeypatch.setitem(METRICS, "mismatch", row)
    return "mismatch"


def test_a_metric_from_outside_is_scored_tested_and_compared(mismatch):
    references = [f"line {number}" for number in range(20)]
    right = {"teacher": 18, "sft": 4, "noevo": 11}
    outputs = [
        SystemOutput(name, None, "news", "de-en", [*references[:n], *["wrong"] * (20 - n)])
        for name, n in right.items()
    ]
    test_sets = [TestSet("news", "de-en", None, [references])]
    scores = score_all(outputs, test_sets, [mismatch])
    found = {r["system"]: r["score"] for r in scores if r["metric"] == mismatch}
    assert found == {name: 5 * (20 - n) for name, n in right.items()}
    assert scores[0]["signature"].startswith("nrefs:1|space:stripped|version:")
    compared = compare_all(outputs, test_sets, "sft", [mismatch])
    assert [(r["system"], r["delta"]) for r in compared] == [("teacher", -70), ("noevo", -35)]
    assert all(r["significant"] for r in compared)
    assert "bs:1000" in compared[0]["signature"]
    assert {r["value"] for r in gap_closed(scores)} == {35 / 70}


def test_a_metric_from_outside_is_accepted_by_recipes_and_the_command_line(mismatch, tmp_path):
    assert check_recipe(recipe(scoring={"metrics": [mismatch]})).scoring.metrics == (mismatch,)
    (tmp_path / "ref").write_text("eins\nzwei\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("eins\ndrei\n", encoding="utf-8")
    files = ("--ref", tmp_path / "ref", tmp_path / "hyp")
    code, out, _ = evokd("score", "-l", "en-de", *files, "--metrics", mismatch)
    assert code == 0
    assert out.splitlines()[0].split() == ["system", "Mismatch", "↓"]
    assert out.splitlines()[2].split() == ["hyp", "50.00"]
    assert "Mismatch|nrefs:1|space:stripped" in out


def test_recipes_refuse_what_could_not_be_scored():
    for metrics, message in (
        (["blue"], "unknown metric 'blue'; did you mean 'bleu'"),
        (["ter", "ter"], "twice"),
    ):
        with pytest.raises(InputError, match=rf"scoring\.metrics.*{message}"):
            check_recipe(recipe(scoring={"metrics": metrics}))


def test_a_metric_from_outside_is_in_the_report(mismatch, tmp_path):
    run = make_run(tmp_path, directions=("en-de",), objectives=("sft", "noevo"))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["scores"] += [
        row | {"metric": mismatch, "score": 100 - row["score"]}
        for row in results["scores"]
        if row["metric"] == "bleu"
    ]
    results["summary"] = summarise(results["scores"])
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    page = build_report(run).read_text(encoding="utf-8")
    assert "Mismatch: nrefs:1" in page
    table = (run / "table.md").read_text(encoding="utf-8").splitlines()
    assert table[2] == "| system | BLEU en-de | chrF en-de | Mismatch en-de | gap closed |"
    assert "**77.70**" in next(line for line in table if line.startswith("| noevo"))


# The table is what everything else goes by.


def test_every_row_of_the_table_names_its_scorer():
    for name, row in METRICS.items():
        if name != "bleu" and not row.model:
            assert row.load_scorer()("de").corpus_score(["a b c d e"], [["a b c d e"]])
    assert METRICS["bleu"].load_scorer()("de").tokenizer.__class__.__name__ == "Tokenizer13a"


def test_documents_name_every_metric():
    root = Path(__file__).parent.parent
    for name in ("recipes/reference.yaml", "docs/evaluation.md"):
        text = (root / name).read_text(encoding="utf-8")
        for metric in METRICS:
            assert metric in text, f"{name} lacks the metric {metric}"
