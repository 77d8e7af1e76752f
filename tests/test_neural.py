"""Neural metrics: called by file, kept, gone on with, left out with a word where they can't run.

A stand-in for their environment speaks the runner's protocol; the libraries themselves are tested
where EVOKD_TEST_COMET, or EVOKD_TEST_MARIAN, names a Python that has them.
"""

from __future__ import annotations

import json
import stat
import sys

import numpy as np
import pytest

from evokd.evaluate import neural
from evokd.evaluate.comparison import SystemOutput, TestSet, compare_all
from evokd.evaluate.neural import Segment, Unavailable, judge, judged, segments_of
from evokd.evaluate.neural_runner import MOST, ROOM, batches
from evokd.evaluate.scores import metric_scorers, segment_scores
from evokd.recipe.file import check_recipe
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS
from evokd.rundir.verify import verify
from evokd.study.cleanup import unused
from evokd.study.run import dry_run, run
from small_study import evokd, recipe, without_figures

SOURCES = ["a dog", "two cats sat", "three", "no\u2028line"]
REFERENCES = ["ein Hund", "zwei Katzen saßen", "drei", "kein Umbruch"]
LINES = ["ein Hund", "zwei Katzen", "", "x"]

STAND_IN = """#!{python}
import json, os, sys
with open({calls!r}, "a") as calls:
    rows = [json.loads(line) for line in sys.stdin]
    calls.write(json.dumps([sys.argv[3:], os.environ.get("HF_HUB_OFFLINE"), rows]) + "\\n")
print(json.dumps({{"facts": "Python3|Fake1|fp32"}}), flush=True)
stop = {stop}
for number, row in enumerate(rows):
    if number == stop:
        print("some line\\nMemoryError: too much", file=sys.stderr)
        sys.exit(1)
    print(json.dumps({{"score": {score}}}), flush=True)
"""
OWN = "len(row['mt']) / 100 + (row.get('ref') == row['mt'])"


def own_score(segment):
    """What the stand-in says."""
    return len(segment.mt) / 100 + (segment.ref == segment.mt)


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOKD_METRICS", str(tmp_path / "metrics"))
    monkeypatch.setattr(neural, "_judged", {})


@pytest.fixture
def environment(tmp_path):
    """A function that makes one, in which a metric is installed; it gives the file of calls."""

    def make(metric="comet", stop=None, score=OWN, signature="Python3|Fake1|fp32|fake|1"):
        python, calls = tmp_path / "python", tmp_path / "calls"
        python.write_text(
            STAND_IN.format(python=sys.executable, calls=str(calls), stop=stop, score=score)
        )
        python.chmod(python.stat().st_mode | stat.S_IEXEC)
        note = {"kind": "comet", "python": str(python), "model": str(tmp_path)}
        note |= {"facts": "Python3|Fake1|fp32", "signature": signature}
        (tmp_path / "metrics" / metric).mkdir(parents=True, exist_ok=True)
        (tmp_path / "metrics" / metric / "installed.json").write_text(json.dumps(note))
        return calls

    return make


def calls_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_score_is_the_mean_over_segments_in_points(environment):
    calls = environment()
    scorer = metric_scorers(["comet"], "de", [REFERENCES], None, SOURCES)["comet"]
    expected = [100 * own_score(Segment("", m, r)) for m, r in zip(LINES, REFERENCES, strict=True)]
    assert segment_scores(scorer, LINES) == pytest.approx(expected)
    assert scorer.corpus_score(LINES, None).score == pytest.approx(np.mean(expected))
    assert str(scorer.get_signature()) == "Python3|Fake1|fp32|fake|1"
    ((argv, offline, rows),) = calls_in(calls)
    assert (argv[0], offline) == ("comet", "1")
    lengths = [sum(map(len, row.values())) for row in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert [row["src"] for row in rows if "\u2028" in row["src"]] == [SOURCES[3]]


def test_each_metric_is_given_what_it_needs(environment):
    for metric, fields in (("cometkiwi", {"src", "mt"}), ("metricx", {"src", "mt", "ref"})):
        calls = environment(metric)
        scorer = metric_scorers([metric], "de", [REFERENCES, LINES], None, SOURCES)[metric]
        found = segment_scores(scorer, LINES)
        *_, (_, _, rows) = calls_in(calls)
        assert {*rows[0]} == fields
        if metric == "cometkiwi":  # no reference: each line once
            assert len(rows) == len(LINES)
            assert found == [len(line) for line in LINES]
        else:  # the mean of two references, the second of which is the line itself
            ours = [own_score(Segment("", m, r)) for m, r in zip(LINES, REFERENCES, strict=True)]
            again = [own_score(Segment("", m, m)) for m in LINES]
            assert found == pytest.approx([(a + b) / 2 for a, b in zip(ours, again, strict=True)])
            assert str(scorer.get_signature()).endswith("|nrefs:2")


def test_what_was_said_is_kept_and_asked_once(environment, monkeypatch):
    calls = environment()
    texts = (SOURCES, LINES, [REFERENCES])
    segments = [segment for row in segments_of("comet", *texts) for segment in row]
    first = judged("comet", [*segments, *segments])  # the same twice is asked once
    assert first == [own_score(segment) for segment in [*segments, *segments]]
    monkeypatch.setattr(neural, "_judged", {})  # another process
    new = Segment("a", "longer than before", "b")
    assert judged("comet", [new, *segments]) == [own_score(new), *first[: len(segments)]]
    asked = [[row["mt"] for row in rows] for _, _, rows in calls_in(calls)]
    assert sorted(asked[0]) == sorted(LINES)
    assert asked[1:] == [["longer than before"]]
    # another model is asked anew
    environment(signature="Python3|Fake1|fp32|fake|2")
    judged("comet", segments)
    assert len(calls_in(calls)) == 3


def test_a_run_that_was_killed_goes_on(environment, monkeypatch):
    calls = environment(stop=2)
    segments = [Segment("", "m" * length, "") for length in range(1, 6)]
    with pytest.raises(Unavailable, match=r"comet failed: MemoryError: too much .*log\.txt"):
        judged("comet", segments)
    kept = neural.Kept("comet", "Python3|Fake1|fp32|fake|1")
    assert len(kept.read()) == 2
    with kept.path.open("a") as file:  # and a line of the next was torn
        file.write('\n{"of": "0123')
    monkeypatch.setattr(neural, "_judged", {})
    environment()
    assert judged("comet", segments) == [length / 100 for length in range(1, 6)]
    asked = [len(rows) for _, _, rows in calls_in(calls)]
    assert asked == [5, 3]
    assert {*kept.read()} == {segment.key for segment in segments}


@pytest.mark.parametrize(
    ("score", "words"),
    [("float('nan')", "gives nan for"), ("'much'", "isn't a score"), ("1/0", "ZeroDivisionError")],
)
def test_what_isnt_a_score_is_said(environment, score, words):
    environment(score=score)
    with pytest.raises(Unavailable, match=words):
        judged("comet", [Segment("a", "b", "c")])


def test_an_environment_that_was_changed_is_refused(environment, tmp_path):
    environment()
    note = tmp_path / "metrics/comet/installed.json"
    note.write_text(note.read_text().replace('Fake1|fp32"', 'Fake0|fp32"'))
    with pytest.raises(Unavailable, match=r"installed as .*Fake0.* is .*Fake1.*install comet"):
        judged("comet", [Segment("a", "b", "c")])


def test_an_environment_that_cant_be_started_is_said(environment, tmp_path):
    environment()
    (tmp_path / "python").chmod(0o600)
    with pytest.raises(Unavailable, match=r"comet failed: .*Permission denied"):
        judged("comet", [Segment("a", "b", "c")])


def test_tests_of_significance_take_it_like_any_other(environment):
    environment()
    rng = np.random.default_rng(3)
    good, bad = (
        [w * int(n) for w, n in zip("ab" * 30, rng.integers(lo, 40, 60), strict=True)]
        for lo in (20, 1)
    )
    tests = [TestSet("own", "en-de", ["s"] * 60, [["r"] * 60])]
    outputs = [SystemOutput(n, None, "own", "en-de", o) for n, o in (("a", bad), ("b", good))]
    metrics, lines = judge(["comet", "chrf"], outputs, tests)
    assert (metrics, lines) == (["comet", "chrf"], [])
    (row,) = [r for r in compare_all(outputs, tests, "a", metrics) if r["metric"] == "comet"]
    means = [np.mean([len(line) for line in lines]) for lines in (bad, good)]
    assert row["delta"] == pytest.approx(means[1] - means[0])
    # the same by hand: resampled means, and how often they differ by more than the outputs do
    order = np.random.default_rng(12345).choice(60, size=(1000, 60), replace=True)
    stats = [
        np.array([len(x) for x in lines], dtype="float32")[order].mean(1) for lines in (bad, good)
    ]
    differences = np.abs(stats[1] - stats[0])
    p = (np.sum(differences - differences.mean() > abs(row["delta"])) + 1) / 1001
    assert row["p_value"] == pytest.approx(p)
    assert row["signature"] == "Python3|Fake1|fp32|fake|1|bs:1000|seed:12345"


def test_what_isnt_here_leaves_all_other_scores(tmp_path, environment):
    for name, lines in (("ref", REFERENCES), ("src", SOURCES), ("a", LINES), ("b", REFERENCES)):
        (tmp_path / name).write_text(
            "\n".join(line.replace("\u2028", " ") for line in lines) + "\n"
        )
    files = ("-l", "en-de", "--ref", tmp_path / "ref", tmp_path / "a", tmp_path / "b")
    code, plain, _ = evokd("score", *files)
    assert code == 0
    code, out, err = evokd("score", *files, "-m", "bleu", "chrf", "comet")
    assert (code, out) == (0, plain)
    assert err == "comet judges a translation by its source; --src FILE gives that\n"
    files = ("--src", tmp_path / "src", *files)
    for metrics in (["bleu", "comet"], ["comet"]):
        code, out, _ = evokd("score", *files, "-m", *metrics, "--format", "json")
        found = json.loads(out)
        assert code == 0
        assert found["notes"][0] == "comet isn't installed; `evokd metrics install comet` does it"
        scored = list(dict.fromkeys(row["metric"] for row in found["scores"]))
        assert scored == (["bleu"] if "bleu" in metrics else list(DEFAULT_METRICS))
    environment()
    code, out, _ = evokd("score", *files, "-m", "chrf", "comet")
    assert code == 0
    assert out.split("\n")[0].split() == [
        *["system", "chrF2", "Δ", "95", "%", "p"],
        *["COMET", "Δ", "95", "%", "p"],
    ]
    assert "COMET|Python3|Fake1|fp32|fake|1" in out


def test_a_study_is_finished_without_it_and_takes_it_up(environment, tmp_path, monkeypatch):
    """The run's own records hold where nothing is installed any more, and are sound files of it."""
    folder, said = tmp_path / "run", []

    def of(*metrics):
        scoring = {"bootstrap_samples": 20, "metrics": metrics}
        return check_recipe(recipe(directions=["en-de"], methods=["sft", "noevo"], scoring=scoring))

    def results(*metrics):
        said.clear()
        with without_figures():
            run(of(*metrics), folder, said.append)
        found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        page = (folder / "report.html").read_text(encoding="utf-8")
        return found, {row["metric"] for row in found["scores"]} - {"bleu_vs_teacher"}, page

    plain, _, _ = results("chrf")
    assert "judged" not in plain["made_of"]
    note = "comet isn't installed; `evokd metrics install comet` does it"
    for _ in range(2):  # made, and kept
        without, scored, page = results("chrf", "comet")
        assert scored == {"chrf"}
        assert note in page.replace("&#39;", "'")
        assert note in without["notes"]
        assert f"note: {note}" in said
    assert without["made_of"]["judged"] == {"comet": None}
    calls = environment()
    assert "results" in [
        s.name for s in dry_run(of("chrf", "comet"), folder).steps if s.action == "remake"
    ]
    found, scored, page = results("chrf", "comet")
    assert scored == {"chrf", "comet"}
    assert (len(calls_in(calls)), found["notes"].count(note)) == (1, 0)
    assert "COMET: Python3|Fake1|fp32|fake|1" in page
    row = next(json.loads(line) for line in (folder / "sentences.jsonl").open(encoding="utf-8"))
    for output in row["outputs"]:
        texts = zip(row["sources"], output["lines"], row["references"][0], strict=True)
        ours = [100 * own_score(Segment(*text)) for text in texts]
        assert output["scores"]["comet"] == pytest.approx(ours, abs=0.006)
        (score,) = [
            one["score"]
            for one in found["scores"]
            if (one["system"], one["seed"], one["metric"])
            == (output["system"], output["seed"], "comet")
        ]
        assert score == pytest.approx(np.mean(ours))
    (folder / "results.json").unlink()
    monkeypatch.setenv("EVOKD_METRICS", str(tmp_path / "another machine"))
    monkeypatch.setattr(neural, "_judged", {})
    again, scored, _ = results("chrf", "comet")
    assert again["scores"] == found["scores"]
    assert verify(folder) == []
    assert not [place for place in unused(folder) if not place.startswith("kept/")]


def test_the_list_says_what_is_here(environment):
    code, out, _ = evokd("metrics")
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert code == 0
    assert list(rows) == list(METRICS)
    assert "evokd metrics install comet" in rows["comet"]
    assert "lower" in rows["metricx"]
    environment()
    _, out, _ = evokd("metrics")
    assert "Python3|Fake1|fp32|fake|1" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["install"], "name a metric"),
        (["install", "bleu"], "nothing to install; accepted: comet, cometkiwi, xcomet, metricx"),
        (["install", "comet", "--model", "nowhere"], "nowhere not found"),
    ],
)
def test_what_cant_be_installed(argv, words):
    code, _, err = evokd("metrics", *argv)
    assert code == 2
    assert words in err


def test_batches_are_of_one_length_and_fit():
    rows = [{"mt": "m" * length} for length in [ROOM + 1, ROOM // 3, 9, *[8] * 200]]
    made = list(batches(rows))
    assert [row for batch in made for row in batch] == rows
    assert [len(batch) for batch in made] == [1, 3, *[MOST] * 3, 200 - 1 - 3 * MOST]
    for batch in made[1:]:
        assert len(batch) * len(batch[0]["mt"]) <= ROOM
