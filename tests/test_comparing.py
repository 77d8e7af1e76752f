"""compare, list and cite: runs beside runs, and what they owe to whom."""

import json
import re
import shutil

import pytest
import sacrebleu

from evokd.evaluate.sentences import read_sentences
from evokd.recipe.metrics import BUILT_IN
from evokd.recipe.objectives import OBJECTIVES
from evokd.report.citations import OF_METRIC, OF_OBJECTIVE, OF_TEST, references
from small_study import evokd, recipe, without_figures, write_recipe

DIRECTIONS = ("en-de", "de-en")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two studies of one teacher and one start: the second has another Γ and one method more."""
    folder = tmp_path_factory.mktemp("compare")
    path = write_recipe(folder / "tiny.yaml", recipe(methods=["sft", "self_evolution"]))
    with without_figures():
        assert evokd("run", path, "-o", folder / "one")[0] == 0
        shutil.copytree(folder / "one", folder / "two")
        more = "methods=[sft, {name: self_evolution, gamma: 9.0}, noevo]"
        code, _, err = evokd("run", path, "-o", folder / "two", more)
        assert code == 0, err
    return folder


def lines_of(run, direction, system):
    path = run / f"translations/phrases.{direction}.{system}.txt"
    return path.read_text(encoding="utf-8").splitlines()


def references_of(run, direction):
    return (run / f"corpus/test/phrases.{direction}.ref").read_text(encoding="utf-8").splitlines()


def test_what_runs_share_stands_once_and_what_differs_is_named_after_its_run(runs, tmp_path):
    with without_figures():
        code, out, err = evokd("compare", runs / "one", runs / "two", "-o", tmp_path / "both")
    assert code == 0, err
    results = json.loads((tmp_path / "both/results.json").read_text(encoding="utf-8"))
    names = {row["system"] for row in results["scores"]}
    assert names == {"teacher", "sft", "one/self_evolution", "two/self_evolution", "noevo"}
    for row in results["scores"]:
        if row["metric"] != "bleu":
            continue
        run, _, system = row["system"].rpartition("/")
        label = system if row["seed"] is None else f"{system}.seed{row['seed']}"
        lines = lines_of(runs / (run or "two"), row["direction"], label)
        refs = [references_of(runs / "one", row["direction"])]
        assert row["score"] == sacrebleu.corpus_bleu(lines, refs).score
    compared = {(r["system"], r["baseline"], r["direction"]) for r in results["comparisons"]}
    assert compared == {(n, "sft", d) for n in names - {"sft"} for d in DIRECTIONS}
    trained = {row["system"]: row["settings"].get("gamma") for row in results["systems"]}
    assert trained["two/self_evolution"] == 9.0 != trained["one/self_evolution"]
    assert set(trained) == names
    assert "two/self_evolution" in out
    page = (tmp_path / "both/report.html").read_text(encoding="utf-8")
    assert "one/self_evolution" in page
    assert [row["direction"] for row in read_sentences(tmp_path / "both/sentences.jsonl")] == [
        *DIRECTIONS
    ]
    # what was laid side by side is laid beside another
    code, out, err = evokd("compare", tmp_path / "both", runs / "one", "--baseline", "teacher")
    assert code == 0, err
    assert "one/self_evolution" in out


def test_pooled_seeds_and_holm(runs):
    code, out, err = evokd(
        *("compare", runs / "one", runs / "two", "--baseline", "sft"),
        *("--significance", "randomization", "--correction", "holm"),
    )
    assert code == 0, err
    assert "randomization" in out
    assert "Holm" in out


def test_a_systems_output_takes_part(runs, tmp_path):
    perfect = tmp_path / "perfect.en-de.txt"
    perfect.write_text("\n".join(references_of(runs / "one", "en-de")) + "\n", encoding="utf-8")
    code, out, err = evokd("compare", runs / "one", perfect, "--baseline", "sft", "-m", "bleu")
    assert code == 0, err
    (row,) = (line.split() for line in out.splitlines() if line.startswith("perfect"))
    assert row[1].startswith("100.00")
    assert "phrases de-en was translated in one alone" in err
    perfect.write_text("one line\n")
    code, _, err = evokd("compare", runs / "one", perfect)
    assert code == 2
    assert "1 lines" in err


def test_runs_that_cannot_be_compared_say_why(runs, tmp_path):
    other = shutil.copytree(runs / "one", tmp_path / "other")
    path = other / "sentences.jsonl"
    text = path.read_text(encoding="utf-8")
    first = json.loads(text.splitlines()[0])
    first["references"][0][3] = "ganz anders"
    path.write_text(json.dumps(first) + "\n", encoding="utf-8")
    code, _, err = evokd("compare", runs / "one", other)
    assert code == 2
    assert "phrases en-de isn't the same text in one and in other: line 4 is" in err
    (other / "results.json").unlink()
    code, _, err = evokd("compare", runs / "one", other)
    assert code == 2
    assert "other isn't finished" in err
    code, _, err = evokd("compare", tmp_path / "nothing")
    assert code == 2
    assert "is the folder of a finished run" in err
    code, _, err = evokd("compare", runs / "one", "--baseline", "best")
    assert code == 2
    assert "accepted: teacher, sft, self_evolution" in err


def test_the_list_says_what_each_run_is_and_where_it_stands(runs, tmp_path):
    shutil.copytree(runs / "one", tmp_path / "deep/one")
    shutil.copytree(runs / "one", tmp_path / "half")
    (tmp_path / "half/results.json").unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/recipe.yaml").write_text("nonsense: 1\n")
    code, out, _ = evokd("list", tmp_path)
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert list(rows) == ["broken", "deep/one", "half"]
    assert re.search(
        r"tiny +en → de, de → en +2 +finished .* (sft|self_evolution) \d", rows["deep/one"]
    )
    assert "stopped" in rows["half"]
    assert "unreadable" in rows["broken"]
    code, _, err = evokd("list", tmp_path / "nothing")
    assert code == 2
    assert "not found" in err


def test_a_run_is_cited_by_what_it_used(runs):
    code, out, _ = evokd("cite", runs / "two")
    assert code == 0
    keys = re.findall(r"^@\w+\{(.*),$", out, flags=re.MULTILINE)
    assert "song-etal-2025-self" in keys
    assert {"papineni-etal-2002-bleu", "popovic-2015-chrf", "post-2018-call"} <= {*keys}
    assert "koehn-2004-statistical" in keys
    assert len(keys) == len({*keys})
    assert not {"ko-etal-2024-distillm", "see-etal-2016-compression"} & {*keys}


def test_every_objective_and_metric_has_its_entry():
    known = references()
    assert OF_OBJECTIVE.keys() >= OBJECTIVES.keys() - {"sft"}
    assert OF_METRIC.keys() >= BUILT_IN
    used = {*OF_OBJECTIVE.values(), *(key for keys in OF_METRIC.values() for key in keys)}
    used |= {key for keys in OF_TEST.values() for key in keys}
    assert used <= known.keys()
    for key, entry in known.items():
        assert {"title", "author", "year"} <= set(
            re.findall(r"^  (\w+) = \{.+\},$", entry, re.M)
        ), key
        assert entry.count("{") == entry.count("}"), key
