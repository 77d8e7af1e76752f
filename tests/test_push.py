"""`evokd push` against a hub on this machine: the client is the real one, the server isn't."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from evokd.report.card import model_card
from evokd.report.results import Results
from fake_run import make_run
from small_study import evokd


@pytest.fixture
def run(tmp_path):
    """A run of made-up results, with the files of one student."""
    folder = make_run(tmp_path / "run")
    tree = Results.read(folder)
    model = folder / f"students/{tree.focus}.seed{tree.seeds[0]}/model"
    model.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "config.json": "{}",
        "directions.json": json.dumps(tree.directions),
        "README.md": "# Translator\n\n```sh\nevokd translate FOLDER -l en-de\n```\n",
        "model.safetensors": "weights",
    }.items():
        (model / name).write_text(text, encoding="utf-8")
    return folder, model


def test_a_dry_run_says_what_would_go_and_its_card_is_valid(run):
    folder, model = run
    code, card, err = evokd("push", folder, "me/small", "--dry-run", "--license", "apache-2.0")
    assert code == 0, err
    assert "model.safetensors" in err
    assert "nothing was sent" in err
    parsed = ModelCard(card)  # the hub's own reader; raises where the metadata won't do
    data, results = parsed.data, Results.read(folder)
    assert data.language == list(dict.fromkeys("-".join(results.directions).split("-")))
    head = data.to_dict()
    assert (head["license"], head["library_name"]) == ("apache-2.0", "transformers")
    assert data.pipeline_tag == "translation"
    head = yaml.safe_load(card.split("---")[1])
    name, entries = model_index_to_eval_results(head["model-index"])
    own = [
        one
        for (system, _, metric, direction), rows in results.scores.items()
        if system == results.focus and metric != "bleu_vs_teacher" and direction != "average"
        for one in rows
        if one["seed"] == results.seeds[0]
    ]
    assert name == "small"
    assert len(entries) == len(own) > 0
    for entry, score in zip(entries, own, strict=True):
        assert (entry.metric_value, entry.dataset_config) == (
            round(score["score"], 2),
            score["direction"],
        )
    assert "hf download me/small --local-dir small\nevokd translate small -l en-de" in card
    assert "## Scores on" in card
    assert str(folder) not in card
    code, same, _ = evokd("push", model, "me/small", "--dry-run", "--license", "apache-2.0")
    assert (code, same) == (0, card)


def test_what_cant_be_pushed(run, tmp_path):
    folder, model = run
    for argv, complaint in (
        ((folder, "not a name/at all/x"), "REPO_ID: "),
        ((folder, "alone"), "ORG/NAME is accepted"),
        ((tmp_path / "nowhere", "me/small"), "holds no model and no finished run"),
        ((folder, "me/small", "--system", "other"), "has no student other.seed"),
        ((model, "me/small", "--seed", 3), "is one model; --system and --seed are of a run"),
    ):
        code, _, err = evokd("push", *argv, "--dry-run")
        assert (code, complaint in err) == (2, True), err
    (model / "directions.json").unlink()
    code, _, err = evokd("push", model, "me/small", "--dry-run")
    assert (code, "doesn't say what it translates" in err) == (2, True), err


def test_links_and_data_sets_of_the_hub_are_told_and_paths_of_the_machine_are_not(run):
    folder, model = run
    results = Results.read(folder)
    recipe = {
        "teacher": {"model": "/secret/place/big"},
        "student": {"model": "org/small-base"},
        "corpus": {"train": [{"path": "hub:wmt/wmt19:train"}, {"path": "/secret/mine"}]},
    }
    tree = results.tree | {"recipe": recipe}
    card = model_card(model, "me/x", ["en-pt_BR"], "gguf", None, Results(tree, folder), "sft", 1)
    data = ModelCard(card).data
    assert (data.base_model, data.datasets) == ("org/small-base", ["wmt/wmt19"])
    assert data.language == ["en", "pt"]
    assert "- teacher: big" in card
    assert "secret" not in card


def test_an_exports_scores_are_those_of_its_own_files(run):
    _, model = run
    text = {"text": "wmt", "direction": "en-de", "lines": 300, "same_lines": 290}
    scores = {"bleu_float": 20.0, "bleu_export": 19.5, "chrf_float": 50.0, "chrf_export": 49.75}
    (model / "export.json").write_text('{"format": "ctranslate2"}', encoding="utf-8")
    parity = json.dumps({"texts": [text | scores]})
    (model / "parity.json").write_text(parity, encoding="utf-8")
    code, card, err = evokd("push", model, "me/small", "--dry-run")
    assert code == 0, err
    data = ModelCard(card).data
    assert data.to_dict()["library_name"] == "ctranslate2"
    assert [(one.metric_type, one.metric_value) for one in data.eval_results] == [
        ("bleu", 19.5),
        ("chrf", 49.75),
    ]
    assert "| 300 | 290 | 20.0 | 19.5 | 50.0 | 49.75 |" in card
    assert ", before export" in card


class Hub(BaseHTTPRequestHandler):
    """As much of one as takes a commit of small files."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub = self.server
        if hub.refuses:
            return self.answer({"error": "You can't write there"}, 403)
        if self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            return self.answer({"url": f"{hub.url}/me/small", "id": "1", "name": "me/small"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            files = [{**one, "uploadMode": "regular", "shouldIgnore": False} for one in asked]
            return self.answer({"files": files})
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines:
            if line["key"] == "file":
                value = line["value"]
                hub.files[value["path"]] = base64.b64decode(value["content"])
        commit = {"commitUrl": f"{hub.url}/me/small/commit/1", "commitOid": "1", "success": True}
        return self.answer({**commit, "hookOutput": ""})

    def answer(self, tree, code=200):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(tree).encode())

    def log_message(self, *_):
        pass


def test_all_files_and_the_card_arrive_in_one_commit(run):
    folder, model = run
    (model / ".cache/huggingface").mkdir(parents=True)
    (model / ".cache/huggingface/CACHEDIR.TAG").write_text("of who downloaded it")
    hub = HTTPServer(("127.0.0.1", 0), Hub)
    hub.url, hub.files, hub.created, hub.refuses = f"http://127.0.0.1:{hub.server_port}", {}, [], 0
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "evokd", "push", folder, "me/small", "--private"]
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_abc", "HF_HUB_OFFLINE": "0"}

    def pushed():
        return subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=120
        )

    done = pushed()
    assert done.returncode == 0, done.stderr
    assert hub.created[0]["name"] == "small"
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    there = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    card = hub.files.pop("README.md")
    assert hub.files == {name: there[name] for name in there if name != "README.md"}
    assert ModelCard(card.decode()).data.pipeline_tag == "translation"
    hub.refuses = 1
    done = pushed()
    hub.shutdown()
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "the hub said" in done.stderr
