"""Scores of plain files: unrounded in JSON, readable as a table, errors that name the files."""

import hashlib
import json

import pytest
import sacrebleu

from evokd.cli import main
from evokd.errors import InputError
from evokd.evaluate.files import as_table, score_files, system_names
from evokd.evaluate.sentences import read_sentences
from evokd.report.headline import headline
from evokd.report.results import Results

SOURCES = ["a dog runs across the meadow", "two children play at the sea", "a man sings a song"]
REFERENCES = ["ein Hund rennt über die Wiese", "zwei Kinder spielen am Meer", "ein Mann singt laut"]
GOOD = ["ein Hund läuft über die Wiese", "zwei Kinder spielen am Meer", "ein Mann singt"]
BAD = ["ein Hund", "two children play at the sea", ""]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lines in {
        "src.en": SOURCES, "ref.de": REFERENCES, "good.en-de.de": GOOD, "bad.en-de.de": BAD,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes("".join(line + "\n" for line in lines).encode())
    return tmp_path


def run(**changes):
    arguments = {
        "direction": "en-de",
        "source_path": "src.en",
        "reference_paths": ["ref.de"],
        "hypothesis_paths": ["bad.en-de.de", "good.en-de.de"],
        "n_samples": 100,
    }
    return score_files(**(arguments | changes))


def test_numbers_survive_json_unrounded(folder):
    result = json.loads(json.dumps(run()))
    assert [(r["system"], r["metric"], r["score"]) for r in result["scores"]] == [
        ("bad", "bleu", sacrebleu.corpus_bleu(BAD, [REFERENCES]).score),
        ("bad", "chrf", sacrebleu.corpus_chrf(BAD, [REFERENCES]).score),
        ("good", "bleu", sacrebleu.corpus_bleu(GOOD, [REFERENCES]).score),
        ("good", "chrf", sacrebleu.corpus_chrf(GOOD, [REFERENCES]).score),
    ]
    assert {(r["test_set"], r["direction"], r["seed"]) for r in result["scores"]} == {
        ("ref.de", "en-de", None)
    }
    assert [(r["system"], r["baseline"]) for r in result["comparisons"]] == [("good", "bad")] * 2
    assert [(r["empty"], r["copied"], r["cut_off"]) for r in result["behaviour"]] == [
        (1, 1, None),
        (0, 0, None),
    ]
    assert result["significance"] == {
        "test": "bootstrap", "baseline": "bad", "n_samples": 100, "seed": 12345,
        "correction": "none",
    }  # fmt: skip
    assert result["versions"]["sacrebleu"] == sacrebleu.__version__


def test_files_are_named_by_content(folder):
    files = run()["files"]
    assert [(f["role"], f["path"], f["lines"]) for f in files] == [
        ("source", "src.en", 3),
        ("reference", "ref.de", 3),
        ("bad", "bad.en-de.de", 3),
        ("good", "good.en-de.de", 3),
    ]
    content = (folder / "ref.de").read_bytes()
    assert files[1]["sha256"] == hashlib.sha256(content).hexdigest()


def test_one_system_without_source(folder):
    result = run(source_path=None, hypothesis_paths=["good.en-de.de"])
    assert result["comparisons"] == []
    assert result["significance"] is None
    assert result["behaviour"][0]["copied"] is None
    table = as_table(result)
    assert "copied" not in table
    assert "Δ" not in table


def test_two_references(folder):
    (folder / "ref2.de").write_text("\n".join(GOOD), encoding="utf-8")
    result = run(reference_paths=["ref.de", "ref2.de"])
    assert result["scores"][2]["score"] == pytest.approx(100)
    assert "nrefs:2" in result["scores"][2]["signature"]


@pytest.mark.parametrize("baseline", ["good", "good.en-de.de"])
def test_the_baseline_can_be_chosen_by_name_or_path(folder, baseline):
    forth, back = run(), run(baseline=baseline)
    for one, other in zip(forth["comparisons"], back["comparisons"], strict=True):
        assert (other["system"], other["baseline"]) == ("bad", "good")
        assert other["delta"] == -one["delta"]
        assert other["p_value"] == one["p_value"]


def test_the_table_says_what_makes_it_repeatable(folder):
    result = run(metrics=["bleu", "ter"])
    table = as_table(result)
    lines = table.splitlines()
    assert lines[0].split() == [
        *["system", "BLEU", "Δ", "95", "%", "p"],
        *["TER", "↓", "Δ", "95", "%", "p"],
    ]
    assert lines[2].split()[:2] == ["bad", f"{result['scores'][0]['score']:.2f}"]
    assert f"BLEU|{result['scores'][0]['signature']}" in lines
    assert f"TER|{result['scores'][1]['signature']}" in lines
    assert "against bad, paired bootstrap, 100 samples, seed 12345" in table
    assert "bad, copied: line 2" in lines
    bleu, ter = (row["detectable"] for row in result["comparisons"])
    assert "With 3 lines, fewer than 80 % of such tests would see a difference below " in table
    assert f"{bleu:.2f} BLEU, {ter:.2f} TER." in table
    low, high = result["comparisons"][0]["delta_interval"]
    assert f"{low:+.2f} to {high:+.2f}" in lines[3]
    assert "Holm" not in table
    assert "p corrected by Holm" in as_table(run(correction="holm"))


def test_significant_differences_are_marked(folder):
    result = run()
    for row, p_value in zip(result["comparisons"], (0.0499, 0.05), strict=True):
        row["p_value"], row["significant"] = p_value, p_value < 0.05
    line = as_table(result).splitlines()[3]
    assert "0.0499*" in line
    assert "0.0500*" not in line


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.en-de.de", "y/b.en-de.de"], ["a", "b"]),
        (["model-1.txt", "model-2.txt"], ["model-1", "model-2"]),
        (["a.de", "b.txt"], ["a.de", "b.txt"]),
        (["x/en-de.de", "y/en-de.de"], ["x", "y"]),
        (["x/1/en-de.de", "y/1/en-de.de"], ["x/1/en-de.de", "y/1/en-de.de"]),
        (["x/a.de", "y/a.de", "y/b.de"], ["x/a.de", "y/a.de", "y/b.de"]),
        (["out/hyp.de"], ["hyp"]),
        (["hyp"], ["hyp"]),
    ],
)
def test_systems_have_short_names_that_differ(paths, names):
    assert system_names(paths) == names


def test_errors_name_files_and_counts(folder):
    (folder / "short.de").write_text("eins\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"short\.de has 1 lines and ref\.de has 3"):
        run(hypothesis_paths=["good.en-de.de", "short.de"])
    with pytest.raises(InputError, match=r"short\.de has 1 lines and ref\.de has 3"):
        run(source_path="short.de")
    with pytest.raises(InputError, match=r"src\.en has 3 lines and short\.de has 1"):
        run(reference_paths=["short.de"])
    with pytest.raises(InputError, match="given twice"):
        run(hypothesis_paths=["good.en-de.de", "good.en-de.de"])
    with pytest.raises(InputError, match=r"baseline 'best' isn't.*accepted: bad, good"):
        run(baseline="best")
    with pytest.raises(InputError, match="no translations given"):
        run(hypothesis_paths=[])
    with pytest.raises(InputError, match="no reference given"):
        run(reference_paths=[])
    with pytest.raises(InputError, match="deutsch"):
        run(direction="deutsch")


def test_several_directions_are_read_from_folders_and_laid_out_as_a_run(folder, capsys):
    pairs = [{"translation": {"en": s, "de": r}} for s, r in zip(SOURCES, REFERENCES, strict=True)]
    (folder / "tests").mkdir()
    for direction in ("en-de", "de-en"):
        (folder / f"tests/news.{direction}.json").write_text(json.dumps(pairs))
    for system, german, english in (("good", GOOD, SOURCES), ("bad", BAD, BAD)):
        (folder / system).mkdir()
        (folder / system / "en-de.de").write_text("\n".join(german) + "\n", encoding="utf-8")
        (folder / system / "de-en.en").write_text("\n".join(english) + "\n", encoding="utf-8")
    asked = ["score", "-l", "en-de,de-en", "--test", "tests", "good", "bad", "-o", "out"]
    assert main([*asked, "--baseline", "bad"]) == 0
    said = capsys.readouterr().out
    assert "en-de, 3 segments" in said
    assert "de-en, 3 segments" in said
    results = json.loads((folder / "out/results.json").read_text(encoding="utf-8"))
    scores = {(r["system"], r["direction"], r["metric"]): r["score"] for r in results["scores"]}
    assert scores["good", "en-de", "bleu"] == sacrebleu.corpus_bleu(GOOD, [REFERENCES]).score
    assert scores["good", "de-en", "bleu"] == pytest.approx(100)
    assert {(r["system"], r["test_set"]) for r in results["comparisons"]} == {("good", "news")}
    assert "average" in {row["direction"] for row in results["summary"]}
    first, second = read_sentences(folder / "out/sentences.jsonl")
    assert (first["sources"], second["sources"]) == (SOURCES, REFERENCES)
    assert [one["lines"] for one in second["outputs"]] == [SOURCES, BAD]
    assert "only 3 segments" in (folder / "out/report.html").read_text(encoding="utf-8")

    (folder / "good/old.en-de.de").write_text("x\n")
    assert main(asked) == 2
    assert "several files with en-de in their names: en-de.de, old" in capsys.readouterr().err
    (folder / "good/old.en-de.de").unlink()
    (folder / "good/de-en.en").unlink()
    assert main(asked) == 2
    assert "good has no file with de-en in its name" in capsys.readouterr().err
    assert main(["score", "-l", "en-de,de-en", "--test", "tests", "good/en-de.de"]) == 2
    assert "is one file, and 2 directions are named" in capsys.readouterr().err
    assert main(["score", "-l", "en-de", "--test", "tests", "--ref", "ref.de", "good"]) == 2
    assert "found --test beside --src or --ref" in capsys.readouterr().err


def test_the_page_of_a_comparison_begins_with_the_order(folder):
    score_files(
        "en-de", "src.en", ["ref.de"], ["bad.en-de.de", "good.en-de.de"], out=folder / "out"
    )
    (line,) = headline(Results.read(folder / "out"))
    found = [sacrebleu.corpus_bleu(lines, [REFERENCES]).score for lines in (GOOD, BAD)]
    assert line == f"ref.de, en → de: good {found[0]:.2f} BLEU, bad {found[1]:.2f}."
