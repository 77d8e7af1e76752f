"""Engines in the place of our decoder: the same lines, our rules for an end, what is refused."""

import importlib
import json
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from sacrebleu.metrics import CHRF
from transformers import AutoConfig, AutoModelForCausalLM

from evokd.data.prompts import load_prompt, prompt_tags
from evokd.errors import InputError
from evokd.models.batching import Budget, Request
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.engines import ENGINES
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.recipe import Recipe
from evokd.translate.decoding import answer_lines, translate
from evokd.translate.engines import agreement
from evokd.translate.engines.agreement import engine_facts, sample_of
from evokd.translate.engines.engine import generate_by, search_by, started
from evokd.translate.nbest import candidates
from evokd.translate.stopping import Ends
from small_study import evokd, recipe, write_recipe
from test_decoding import LINES, WORDS, make
from test_teacher_translations import Bench

DIRECTION = ("en", "de")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS), *LINES] * 10, 330, prompt_tags(["en", "de"]))


@pytest.fixture(scope="module")
def translator(tokenizer):
    """Random weights; some answers end by themselves, some at a newline, many begin with one."""
    made = make(tokenizer)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert len(newline) == 1
    with torch.no_grad():
        made.model.lm_head.weight[newline] *= 2.5
        made.model.lm_head.weight[tokenizer.eos_token_id] *= 3
    return made


class Naive:
    """An engine in a few lines: one argmax after the other, no cache, no rule but the stops."""

    name, version = "naive", "1"

    def __init__(self, model):
        self.model, self.asked = model, []

    def budget(self, settings):
        return Budget(settings.batch_size, sys.maxsize)

    @torch.no_grad()
    def ask(self, requests, stops, settings, best):
        self.asked.append(requests)
        answers = []
        for request in requests:
            ids = []
            while len(ids) < max(each.cap for each in requests) and not {*ids[-1:]} & {*stops}:
                logits = self.model(torch.tensor([[*request.prompt_ids, *ids]])).logits
                ids.append(int(logits[0, -1].argmax()))
            answers.append([ids])
        return answers

    def close(self):
        pass


def settings_of(engine="ctranslate2", **more):
    return DecodingSettings(engine=engine, **more)


def by_engine(translator, lines=LINES, **more):
    settings = settings_of(**more)
    with started(translator, settings) as engine:
        generate = generate_by(engine, settings)
        return translate(translator, lines, *DIRECTION, settings, generate=generate)


def facts_but_time(translations):
    return {k: v for k, v in vars(translations).items() if k != "seconds"}


def test_answers_of_an_engine_end_where_ours_do(translator):
    def answers(generate):
        settings = DecodingSettings(batch_size=3)
        made = answer_lines(translator, LINES, *DIRECTION, settings, generate=generate)
        return {one.job.line: (one.stopped_by, one.ids) for one in made}

    engine, newline = Naive(translator.model), Ends.of(translator).newline_ids
    found = answers(generate_by(engine, DecodingSettings(batch_size=3)))
    assert found == answers(None)
    assert {reason for reason, _ in found.values()} == {"eos", "newline", "cap"}
    assert any(ids[0] in newline and len(ids) > 1 for _, ids in found.values())
    assert len(engine.asked) > 4  # more than the batches: one was asked to go on


def test_ctranslate2_greedy_is_ours_for_every_batch_size(translator):
    expected = translate(translator, LINES, *DIRECTION)
    assert min(expected.stopped_by.values()) > 0
    for batch_size in (1, 3, 64):
        made = by_engine(translator, batch_size=batch_size)
        assert facts_but_time(made) == facts_but_time(expected) | {"batch_size": batch_size}


def test_ctranslate2_beam_search_is_ours(tokenizer):
    """But for when it takes a search to be over, which decides here and there."""
    plain = make(tokenizer)
    for penalty in (1.0, 0.6):
        settings = DecodingSettings(beam=4, length_penalty=penalty)
        expected = translate(plain, LINES, *DIRECTION, settings).lines
        made = by_engine(plain, beam=4, length_penalty=penalty).lines
        assert sum(a == b for a, b in zip(made, expected, strict=True)) >= len(LINES) - 1
    greedy = translate(plain, LINES, *DIRECTION).lines
    assert sum(a == b for a, b in zip(made, greedy, strict=True)) < len(LINES) / 2


def test_its_n_best_have_our_probabilities_and_begin_with_the_best(translator):
    settings = settings_of(beam=4)
    with started(translator, settings) as engine:
        made = candidates(translator, LINES, *DIRECTION, settings, 4, engine=engine)
        generate = generate_by(engine, settings)
        first = translate(translator, LINES, *DIRECTION, settings, generate=generate).lines
    assert [found[0].text for found in made] == first
    ours = candidates(translator, LINES, *DIRECTION, DecodingSettings(beam=4), 4)
    shared = 0
    for theirs, own in zip(made, ours, strict=True):
        known = {one.text: one for one in own}
        for one in theirs:
            if (twin := known.get(one.text)) and twin.tokens == one.tokens:
                assert one.log_probability == pytest.approx(twin.log_probability, abs=1e-3)
                shared += 1
    assert shared > len(LINES)


@pytest.mark.parametrize("beam", [1, 4])
def test_no_beam_goes_over_its_own_cap(translator, beam):
    """Lines of unlike length, whose caps differ, at once."""
    lines = ["rot", " ".join(LINES)]
    ends = Ends.of(translator)
    ids = translator.tokenizer(lines, add_special_tokens=False)["input_ids"]
    requests = [Request(ids[0], 3), Request(ids[1], 60)]
    settings = settings_of(beam=beam)
    with started(translator, settings) as engine:
        (group,) = search_by(engine)(translator.model, requests, ends, settings)
        alone = engine.ask(requests[:1], [*ends.ids, *ends.newline_ids], settings, 1)[0][0]
    short = dict(group)[0]
    assert short[:3] == alone[:3]
    assert beam == 1 or len(short) <= 3


FAMILIES = {
    "llama": {},
    "llama, tied head": {"tie_word_embeddings": True},
    "llama, θ": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "llama, padded vocabulary": {"vocab_size": 400},
    "mistral": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16},
    "gemma3_text": {"head_dim": 16, "query_pre_attn_scalar": 16},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_ctranslate2_takes_models_of_these_kinds(tokenizer, family):
    shape = {
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"max_position_embeddings": 256, "pad_token_id": 0},
        **{"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id},
    }
    kind = family.split(",")[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **{**shape, **FAMILIES[family]})
        model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3 if weight.dim() == 2 else 1)
    translator = Translator(model, tokenizer, load_prompt("compact"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = translate(translator, LINES, *DIRECTION).lines
    made = by_engine(translator).lines
    # Roundings differ, and one may decide between two tokens of a random model.
    assert sum(a == b for a, b in zip(made, expected, strict=True)) >= len(LINES) - 1
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert translate(translator, LINES, *DIRECTION).lines == expected  # its modules are whole


def test_int8_is_computed_and_leaves_the_model_alone(translator):
    before = {name: tensor.clone() for name, tensor in translator.model.state_dict().items()}
    small = settings_of(precision="int8")
    ids = translator.tokenizer(LINES, add_special_tokens=False)["input_ids"]
    requests = [Request(prompt, 1) for prompt in ids]
    with started(translator, settings_of()) as one, started(translator, small) as other:
        assert (one.precision, other.precision) == ("float32", "int8_float32")
        scores = [
            [made.scores[0] for made in engine.generator.generate_batch(
                [[engine.tokens[i] for i in request.prompt_ids] for request in requests],
                max_length=1, return_scores=True, include_prompt_in_result=False,
            )]
            for engine in (one, other)
        ]  # fmt: skip
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=0.5)
    after = translator.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_kind_of_model_that_it_cannot_take(tokenizer):
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **shape))
    odd = Translator(model, tokenizer, load_prompt("compact"))
    with (
        pytest.raises(
            InputError, match=r"kind mixtral: No conversion.*Type decoding\.engine=evokd"
        ),
        started(odd, settings_of()),
    ):
        pass


def test_what_an_engine_cannot_do_is_refused_in_the_recipe():
    def refusal(**changes):
        with pytest.raises(ValidationError) as found:
            Recipe(**recipe(**changes))
        return str(found.value)

    vllm = {"engine": "vllm"}
    said = refusal(decoding={"engine": "vllm", "beam": 5})
    assert "decoding.beam: found 5; engine vllm translates greedily, so 1 is accepted" in said
    assert "decoding.engine=evokd or ctranslate2" in said
    assert "analysis.beams: found 4" in refusal(decoding=vllm, analysis={"beams": [4]})
    methods = [{"name": "kd", "objective": "sft", "text": "teacher"}]
    assert "teacher_text.beam: found 5" in refusal(decoding=vllm, methods=methods)
    methods[0]["text"] = "nearest"
    assert "teacher_text.candidates: found 35" in refusal(decoding=vllm, methods=methods)
    said = refusal(decoding={"engine": "evokd", "precision": "int8"})
    assert "engine evokd has auto; take that, or decoding.engine=ctranslate2" in said
    assert "unknown engine 'vlm'; did you mean 'vllm'?" in refusal(decoding={"engine": "vlm"})
    Recipe(**recipe(decoding=vllm))
    quantized = {**recipe()["teacher"], "quantize": "4bit"}
    said = refusal(decoding={"engine": "ctranslate2"}, teacher=quantized)
    assert "teacher.quantize: found 4bit; engine ctranslate2 takes whole weights" in said
    Recipe(**recipe(teacher=quantized))


def test_what_was_made_without_engines_keeps_its_fingerprint():
    before = {
        **{"beam": 1, "batch_size": 64, "batch_tokens": 8192, "extra_tokens": 16},
        **{"tokens_per_source_token": 2.0, "length_penalty": 1.0},
    }
    assert DecodingSettings().identity() == before
    assert settings_of().identity() == before | {"engine": "ctranslate2"}
    small = settings_of(precision="int8").identity(exclude={"beam"})
    del before["beam"]
    assert small == before | {"engine": "ctranslate2", "precision": "int8"}


def test_an_engine_that_is_not_here(translator, monkeypatch):
    monkeypatch.delenv("EVOKD_VLLM_PYTHON", raising=False)
    for value, said in ((None, "not set"), ("/nowhere/python", "/nowhere/python")):
        if value:
            monkeypatch.setenv("EVOKD_VLLM_PYTHON", value)
        with (
            pytest.raises(InputError, match=f"EVOKD_VLLM_PYTHON is {said}"),
            started(translator, settings_of("vllm")),
        ):
            pass
    monkeypatch.setitem(
        ENGINES, "ctranslate2", ENGINES["ctranslate2"].__class__("x", package="no_such_package")
    )
    with (
        pytest.raises(InputError, match=r"pip install 'evokd\[no_such_package\]'"),
        started(translator, settings_of()),
    ):
        pass


# --- agreement ------------------------------------------------------------------------------------


def test_a_sample_has_lines_of_all_lengths_each_once():
    lines = [f"{'x' * (n % 100)}{n}" for n in range(1000)] * 2 + ["", " "]
    sample = sample_of(lines)
    assert 32 <= len(sample) <= 64
    assert len(set(sample)) == len(sample)
    assert sample == sample_of(lines[::-1])
    lengths = [len(line) for line in sample]
    assert lengths == sorted(lengths)
    assert lengths[0] <= 2
    assert lengths[-1] > 95
    assert sample_of(["b", "a", " "]) == ["a", "b"]
    assert sample_of([""]) == []


def test_agreement_is_counted_and_told(translator, monkeypatch):
    told = []
    note = partial(engine_facts, translator=translator, direction="en-de", log=told.append)
    settings = DecodingSettings()
    same = note(Naive(translator.model), lines=LINES, settings=settings)
    assert same == {"engine": "naive 1", "compared_lines": 10, "same_lines": 1.0, "chrf": 100.0}
    assert told == ["naive 1 (en-de, beam 1): 10 of 10 sample lines are those of evokd's own "
        "decoder, chrF 100.0"]  # fmt: skip
    assert note(None, lines=LINES, settings=settings) == {}
    assert note(Naive(translator.model), lines=["", " "], settings=settings)["chrf"] is None

    class Deaf(Naive):
        """It misreads its tokens, all of them or those of one line."""

        most = 99

        def ask(self, requests, *rest):
            wrong = [Request([i // 2 for i in r.prompt_ids], r.cap) for r in requests[: self.most]]
            return super().ask([*wrong, *requests[self.most :]], *rest)

    with pytest.raises(InputError, match=r"only [01] of 10 .* isn't used\. The first that differs"):
        note(Deaf(translator.model), lines=LINES, settings=settings)
    monkeypatch.setattr(Deaf, "most", 1)
    monkeypatch.setattr(agreement, "ALIKE", 99.0)
    near = note(Deaf(translator.model), lines=LINES, settings=settings)
    assert 0.5 < near["same_lines"] < 1
    assert 100 * near["same_lines"] < near["chrf"] < 99
    assert told[-1].startswith("warning: naive 1 (en-de, beam 1): ")


def test_agreement_is_the_mean_of_lines():
    score = CHRF().sentence_score("ein alter Hund", ["ein alter Hut"]).score
    found = agreement.chrf(["ein alter Hund", "", "rot"], ["ein alter Hut", "", "rot"])
    assert found == pytest.approx((score + 200) / 3)
    assert agreement.chrf(["rot"], [""]) == 0


# --- vLLM, by a module that takes its place -------------------------------------------------------

STAND_IN = """
import json, os, sys
import torch
from transformers import AutoModelForCausalLM

__version__ = "0.stand-in"


class SamplingParams:
    def __init__(self, *, temperature, max_tokens, stop_token_ids, detokenize):
        assert temperature == 0.0 and max_tokens > 0 and detokenize is False
        self.max_tokens, self.stops = max_tokens, set(stop_token_ids)


class Completion:
    def __init__(self, token_ids, finish_reason, stop_reason):
        self.token_ids, self.finish_reason = token_ids, finish_reason
        self.stop_reason = stop_reason


class Output:
    def __init__(self, completion):
        self.outputs = [completion]


class LLM:
    def __init__(self, model, *, dtype, skip_tokenizer_init, generation_config, max_model_len,
                 seed, tensor_parallel_size=1):
        print("vLLM prints to stdout")
        os.system("echo and so do its processes")
        assert skip_tokenizer_init and generation_config == "vllm"
        if tensor_parallel_size > 1:
            raise RuntimeError("no second GPU")
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        with open(os.environ["NOTED"], "a") as file:
            print(json.dumps({"model": model, "positions": max_model_len}), file=file)

    @torch.no_grad()
    def generate(self, prompts, params, *, use_tqdm):
        assert not use_tqdm and len(prompts) == len(params)
        return [Output(self.one(p["prompt_token_ids"], how)) for p, how in zip(prompts, params)]

    def one(self, prompt, how):
        ids = []
        while len(ids) < how.max_tokens:
            logits = self.model(torch.tensor([prompt + ids])).logits
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] in how.stops:
                kept = ids if KEEPS_STOP else ids[:-1]
                return Completion(kept, "stop", ids[-1])
        return Completion(ids, "length", None)
"""


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A folder with a Python in whose environment there is a module of that name."""

    def install(keeps_stop=True):
        folder = tmp_path / "vllm environment"
        folder.mkdir(exist_ok=True)
        text = STAND_IN.replace("KEEPS_STOP", str(keeps_stop))
        (folder / "vllm.py").write_text(text, encoding="utf-8")
        python = folder / "python"
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n', encoding="utf-8"
        )
        python.chmod(0o755)
        monkeypatch.setenv("EVOKD_VLLM_PYTHON", str(python))
        monkeypatch.setenv("NOTED", str(tmp_path / "noted"))

    install()
    return install


def noted(tmp_path):
    return [json.loads(line) for line in (tmp_path / "noted").read_text().splitlines()]


@pytest.mark.parametrize("keeps_stop", [True, False])
def test_vllm_is_asked_by_token_ids_and_ends_where_we_do(translator, vllm, tmp_path, keeps_stop):
    vllm(keeps_stop)
    expected = translate(translator, LINES, *DIRECTION)
    assert min(expected.stopped_by.values()) > 0
    settings = settings_of("vllm")
    with started(translator, settings) as engine:
        assert (engine.name, engine.version) == ("vllm", "0.stand-in")
        generate = generate_by(engine, settings)
        for _ in range(2):  # one process answers all
            made = translate(translator, LINES, *DIRECTION, settings, generate=generate)
            assert facts_but_time(made) == facts_but_time(expected)
        process, files = engine.process, engine.files.name
    assert process.returncode == 0
    (started_once,) = noted(tmp_path)
    assert started_once["positions"] == translator.model.config.max_position_embeddings
    assert started_once["model"].startswith(files)
    assert not (tmp_path / files).exists()


def test_what_goes_wrong_in_vllms_process_is_told(translator, vllm, monkeypatch, tmp_path):
    def problem():
        with pytest.raises(InputError) as found, started(translator, settings_of("vllm")):
            pass
        return str(found.value)

    monkeypatch.setenv("EVOKD_VLLM_OPTIONS", '{"tensor_parallel_size": 2}')
    assert "RuntimeError: no second GPU. docs/engines.md says how" in problem()
    monkeypatch.setenv("EVOKD_VLLM_OPTIONS", "two")
    assert "EVOKD_VLLM_OPTIONS: found 'two'; a mapping in JSON is accepted" in problem()
    monkeypatch.delenv("EVOKD_VLLM_OPTIONS")
    script = tmp_path / "vllm environment" / "vllm.py"
    script.write_text("import sys; print('CUDA is gone', file=sys.stderr); import os; os._exit(3)")
    assert "CUDA is gone" in problem()
    script.unlink()
    assert "ModuleNotFoundError: No module named 'vllm'" in problem()


CHILD = """
import atexit, os, subprocess, time
child = subprocess.Popen(["sleep", "300"])
open(os.environ["NOTED"] + ".child", "w").write(str(child.pid))
"""


@pytest.fixture
def with_child(vllm, tmp_path):
    """A vLLM that starts a process of its own, and is waited for for a second; that process's
    number, and whether it is gone."""

    def install(more):
        script = tmp_path / "vllm environment" / "vllm.py"
        script.write_text(script.read_text("utf-8") + CHILD + more, encoding="utf-8")

    def pid():
        text = (tmp_path / "noted.child").read_text() if (tmp_path / "noted.child").exists() else ""
        return int(text or 0)

    return install, pid


def is_gone(pid):
    """Or nobody has buried it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition):
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_vllms_process_started_ends_with_it(translator, with_child, monkeypatch):
    install, child = with_child
    install("atexit.register(time.sleep, 300)")
    monkeypatch.setattr("evokd.translate.engines.vllm_engine.PATIENCE", 0.5)
    with started(translator, settings_of("vllm")):
        assert not is_gone(child())
    wait_for(lambda: is_gone(child()))


def test_ctrl_c_ends_vllm_at_its_work(translator, with_child):
    """Which has a session of its own, and is in no hurry otherwise."""
    install, child = with_child
    install("time.sleep(120)")

    def interrupt():
        wait_for(child)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), started(translator, settings_of("vllm")):
        pass
    wait_for(lambda: is_gone(child()))


# --- studies and the command line -----------------------------------------------------------------


def test_a_study_by_an_engine(tmp_path):
    tree = recipe(methods=["sft"], decoding={"engine": "ctranslate2"})
    path, run = write_recipe(tmp_path / "recipe.yaml", tree), tmp_path / "run"
    code, out, err = evokd("run", path, "-o", run)
    assert code == 0, err
    assert "sample lines are those of evokd's own decoder" in out + err
    for beside in run.glob("translations/*.json"):
        record = json.loads(beside.read_text())
        assert record["engine"].startswith("ctranslate2 ")
        assert record["same_lines"] == 1.0
    speed = json.loads((run / "results.json").read_text())["speed"]
    assert {row["engine"].split()[0] for row in speed} == {"ctranslate2"}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "as evokd’s own" in page
    assert evokd("verify", run)[0] == 0
    # The same lines as our decoder's, which makes them anew.
    before = {p.name: p.read_bytes() for p in run.glob("translations/*.txt")}
    code, out, err = evokd("run", path, "-o", run, "decoding.engine=evokd")
    assert code == 0, err
    own = [p for p in run.glob("translations/*teacher.txt")]
    assert own
    assert all(p.read_bytes() == before[p.name] for p in own)
    record = json.loads(own[0].with_suffix(".json").read_text())
    assert "engine" not in record


def test_the_teachers_text_by_an_engine(tmp_path, tokenizer):
    teacher = make(tokenizer)
    with torch.no_grad():
        teacher.model.lm_head.weight[tokenizer.eos_token_id] *= 4

    def text(engine):
        (tmp_path / engine).mkdir()
        bench = Bench(tmp_path / engine, teacher, decoding={"engine": engine})
        stage, pairs = bench.make("nearest")
        return stage.facts(), pairs, bench.notes

    own, pairs, _ = text("evokd")
    facts, made, notes = text("ctranslate2")
    assert "engine" not in own
    assert facts["engine"].keys() == {"en-de", "de-en"}
    told = [note for note in notes if "sample lines" in note]
    for note, (direction, noted) in zip(told, facts["engine"].items(), strict=True):
        assert direction in note
        assert noted["same_lines"] > 0.7
    assert len({*made} & {*pairs}) > 0.7 * len(pairs)


def test_translate_by_an_engine(translator, tmp_path, monkeypatch):
    from evokd.models.saving import save_translator

    save_translator(translator.model, translator.tokenizer, translator.prompt, tmp_path / "model")
    text = "\n".join([*LINES, "", "rot"]) + "\n"
    asked = ("translate", tmp_path / "model", "-l", "en-de")
    code, expected, _ = evokd(*asked, stdin=text.encode())
    assert code == 0
    code, made, said = evokd(*asked, "--engine", "ctranslate2", stdin=text.encode())
    assert (code, made) == (0, expected)
    assert "11 of 11 sample lines" in said
    assert "ctranslate2 4" in said.splitlines()[-1]
    code, _, said = evokd(*asked, "--int8", stdin=text.encode())
    assert code == 2
    assert "--int8 together with --engine evokd; type --engine ctranslate2, or leave" in said
    code, _, said = evokd(*asked, "--engine", "vllm", "--beam", 4, stdin=text.encode())
    assert (code, "--beam 4 together with --engine vllm" in said) == (2, True)
    code, _, said = evokd(*asked, "--engine", "ctranslate2", "--draft", "x", stdin=text.encode())
    assert (code, "--draft together with --engine" in said) == (2, True)
    monkeypatch.delenv("EVOKD_VLLM_PYTHON", raising=False)
    code, _, said = evokd(*asked, "--engine", "vllm", stdin=text.encode())
    assert (code, "EVOKD_VLLM_PYTHON is not set" in said) == (2, True)


# --- the benchmark --------------------------------------------------------------------------------


def test_engines_take_turns_with_our_decoder(translator, vllm, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "bench"))
    decode = importlib.import_module("decode")
    task = decode.Task(LINES[:3], DIRECTION, DecodingSettings())
    rows = decode.measure_engines(
        {"tiny": translator}, task, ["ctranslate2", "ctranslate2:int8", "vllm"], [1, 4], 1
    )
    done = [(row["engine"], row["beam"]) for row in rows]
    assert done == [
        ("ctranslate2", 1), ("ctranslate2:int8", 1), ("vllm", 1),
        ("ctranslate2", 4), ("ctranslate2:int8", 4),
    ]  # fmt: skip
    for row in rows:
        ours, theirs = row["words_per_s"]["ours"].median, row["words_per_s"]["engine"].median
        assert row["speedup"].median == pytest.approx(theirs / ours)
        if row["engine"] != "ctranslate2:int8" and row["beam"] == 1:
            assert row["identical_lines"] == 3
    table = decode.engines_table(rows)
    assert " vllm 0.stand-in |" in table
    assert table.count("\n") == 6
