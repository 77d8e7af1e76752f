"""bench/step.py at a tiny size: its contract, and that all variants train on the same."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
step = importlib.import_module("step")

TINY = step.Settings(
    teacher=(32, 1), student=(16, 1), vocab=600, batch=4, steps=2, warm_up=1, segments=2
)
CONTRACT = ("sft", "live", "cached_hidden", "cached_topk", "trl_gkd")
ASKED = (
    "--teacher 32,1 --student 16,1 --vocab 600 --batch 4 --steps 2 --warm-up 1 --segments 1 "
    f"--device cpu --only {','.join(CONTRACT)}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Text, settings and both caches."""
    folder = tmp_path_factory.mktemp("step")
    step.write_text(TINY, folder)
    step.write_settings(TINY, folder)
    for name in step.CACHES:
        step.write_teacher_cache(name, TINY, step.read_text(folder), folder)
    return folder


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The command as it is typed, but for the processes that measure memory."""
    file = tmp_path_factory.mktemp("result") / "step.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "peak_of", lambda name, folder: {"peak_mib": 10.0})
        step.main([*ASKED.split(), "--json", str(file)])
    return json.loads(file.read_text(encoding="utf-8"))


def trained(name, folder):
    """The weights of a variant after both segments."""
    text = step.read_text(folder)
    segments = [step.Segment(text, TINY, number) for number in range(TINY.segments)]
    runner = step.runner(name, TINY, folder, segments[0])
    for segment in segments:
        assert runner.seconds(segment) > 0
    return torch.cat([p.detach().flatten() for p in runner.trainer.model.parameters()])


def test_the_result_file_keeps_its_contract(result):
    assert set(CONTRACT) <= result["variants"].keys()
    assert {"cpu", "cores", "torch"} <= result["machine"].keys()
    assert result["settings"]["teacher"] == [32, 1]
    for name in CONTRACT[:-1]:
        found = result["variants"][name]
        assert found["response_tokens_per_s"] > 0
        assert found["peak_mib"] == 10.0
        ratio = found["ratio_to_sft"]
        assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
    assert result["variants"]["sft"]["ratio_to_sft"]["median"] == 1
    cache = result["variants"]["cached_hidden"]["cache"]
    assert cache["response_tokens"] <= result["text"]["response_tokens"]
    assert cache["bytes_per_response_token"] == 32 * 4


def test_a_peer_that_is_not_installed_is_null_with_a_reason(result):
    found = result["variants"]["trl_gkd"]
    if importlib.util.find_spec("trl") is None:
        assert found["response_tokens_per_s"] is found["peak_mib"] is None
        assert "pip install trl" in found["reason"]
    else:
        assert found["response_tokens_per_s"] > 0


def test_our_sft_takes_the_same_steps_as_the_floor(folder):
    start = step.llama(TINY.student, TINY, seed=2).parameters()
    start = torch.cat([p.detach().flatten() for p in start])
    floor, ours = trained("sft", folder), trained("evokd_sft", folder)
    assert (floor - start).abs().max() > 1e-4
    torch.testing.assert_close(ours, floor, rtol=0, atol=1e-5)


def test_all_ways_to_the_teacher_take_the_same_steps(folder):
    live = trained("live", folder)
    torch.testing.assert_close(trained("cached_hidden", folder), live, rtol=0, atol=1e-5)
    torch.testing.assert_close(trained("live_packed", folder), live, rtol=0, atol=1e-5)
    assert (trained("sft", folder) - live).abs().max() > 1e-4


def test_a_segment_counts_the_targets_of_its_timed_batches(folder):
    text = step.read_text(folder)
    segment = step.Segment(text, TINY, 1)
    assert len(segment) == 3 * 4
    timed = [segment[i] for i in range(4, 12)]
    targets = sum(label != -100 for pair in timed for label in pair["labels"])
    assert segment.timed_response_tokens == targets
    with pytest.raises(IndexError):
        segment[12]


def test_peak_memory_is_that_of_a_fresh_process(folder):
    found = step.peak_of("sft", folder)
    student = step.llama(TINY.student, TINY, seed=2)
    weights = sum(p.numel() for p in student.parameters())
    assert found.keys() == {"peak_mib"}
    # Weights, gradients and Adam's two moments at least; far less than what an import holds.
    assert 16 * weights / 2**20 <= found["peak_mib"] < 60


def test_a_process_that_fails_says_why(folder, monkeypatch):
    monkeypatch.setattr(step.measuring, "run_alone", lambda *_, **__: {"status": "out of memory"})
    assert step.peak_of("sft", folder) == {"peak_mib": None, "memory_problem": "out of memory"}


def by_hand():
    seconds = {"sft": [1.0, 1.0], "live": [3.0, 3.0], "cached_hidden": [1.0, 1.2]}
    to_floor = {"live": [3.0, 3.0], "cached_hidden": [1.0, 1.2], "trl_gkd": [6.0, 9.0]}
    return step.Race(seconds, to_floor, [100, 100], {})


def test_a_cache_pays_once_it_has_saved_its_own_writing():
    cache = {"seconds": 7.6, "response_tokens": 400}
    # 0.019 s a token to write; 6 − 2.2 s saved on 200 tokens, 0.019 s each.
    assert step.payback("cached_hidden", by_hand(), cache) == {"pays_after_epochs": 1.0}


def test_aims_are_judged_by_medians_and_left_open_where_nothing_was_measured():
    peaks = {"live": 60.0, "cached_hidden": 20.0, "trl_gkd": 100.0, "trl_gkd_kl": None}
    found = step.aims(by_hand(), {name: {"peak_mib": peak} for name, peak in peaks.items()})
    verdicts = {aim["aim"].split(" of sft")[0]: aim["met"] for aim in found}
    assert verdicts == {
        "cached_hidden: at most 1.15 × the time": True,
        "cached_topk: at most 1.15 × the time": None,
        "live: at least 2 × the speed of trl_gkd": True,
        "live: at least 2 × the speed of trl_gkd_kl": None,
        "live: at most 0.5 × the memory of trl_gkd": False,
        "cached_hidden: at most 0.5 × the memory of trl_gkd": True,
        "cached_topk: at most 0.5 × the memory of trl_gkd": None,
    }
    assert found[2]["measured"].median == 2.5


def test_unknown_variants_are_named_with_those_that_are_known(capsys):
    with pytest.raises(SystemExit):
        step.main(["--only", "sft,trl"])
    assert "'trl'; accepted: sft, evokd_sft" in capsys.readouterr().err
