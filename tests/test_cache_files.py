"""The teacher on disk: what is written, what survives a kill, what is refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from evokd.distil.teacher import cache_writer
from evokd.distil.teacher import precompute as cache
from evokd.distil.teacher.cache_reader import (
    HEAD,
    CacheIndex,
    CacheReader,
    CacheSpec,
)
from evokd.distil.teacher.cache_writer import CacheWriter
from evokd.distil.teacher.precompute import cache_facts, cache_spec, write_cache
from evokd.distil.teacher.signal import CachedTeacher, PairOfBatch, pairs_of_data
from evokd.errors import InputError
from evokd.models.lm_head import Head
from tiny import VOCABULARY, copy_task, tiny_llama

IDENTITY = {"the teacher's weights": "a", "the tokenizer": "b", "the prompt": "c"}
DATA = copy_task(60)
KEYS = list(dict.fromkeys(pair.key() for pair in pairs_of_data(DATA)))


def quiet(_text: str) -> None:
    pass


def written(folder: Path, kind: str = "hidden", data=DATA, **settings):
    teacher = tiny_llama(1)
    spec = cache_spec(teacher, kind, top_k=5)  # type: ignore[arg-type]
    settings = {"batch_tokens": 64, "log": quiet, **settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_writer, "SHARD_BYTES", settings.pop("shard_bytes", 2048))
        return write_cache(folder, teacher, [data], spec, IDENTITY, **settings)


def rows_of(folder: Path, keys=KEYS):
    reader = CacheReader(folder)
    numbers = reader.find(keys)
    assert (numbers >= 0).all()
    return reader.read(numbers)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished cache of several shards; not to be changed."""
    folder = tmp_path_factory.mktemp("cache") / "hidden"
    written(folder)
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "hidden"))


def test_what_is_stored_is_counted(whole):
    facts = cache_facts(whole)
    assert facts["pairs"] == len(KEYS) < len(DATA)  # some pairs are there twice
    tokens = {pair.key(): int(pair.predicts.sum()) for pair in pairs_of_data(DATA)}
    assert facts["tokens"] == sum(tokens.values())
    assert facts["bytes_per_token"] == 16 * 4
    assert len(list(whole.glob("shard-*"))) > 3
    assert not list(whole.glob(".*"))
    # Whoever may read the index may read the rest.
    assert len({path.stat().st_mode for path in whole.iterdir()}) == 1


@pytest.mark.parametrize(
    ("spec", "bytes_per_token"),
    [
        (CacheSpec("hidden", 4000, 256, "float32"), 1024),
        (CacheSpec("hidden", 4000, 256, "bfloat16"), 512),
        (CacheSpec("topk", 65536, 64, "float16"), 64 * 4 + 8),
        (CacheSpec("topk", 65537, 64, "float16"), 64 * 5 + 8),
        (CacheSpec("topk", 4000, 16, "float32"), 16 * 6 + 8),
    ],
)
def test_bytes_per_token(spec, bytes_per_token):
    assert spec.bytes_per_token() == bytes_per_token


@pytest.mark.parametrize("kind", ["hidden", "topk"])
def test_size_is_said_before_and_a_bar_shows_the_time_left(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evokd.progress.EVERY", 0.0)
    said: list[str] = []
    facts = written(tmp_path / "c", kind, log=said.append, shard_bytes=2**20)
    assert f"{len(KEYS)} pairs with {facts['tokens']} response tokens" in said[0]
    assert f"{facts['bytes_per_token']} bytes a token (DistillKit publishes 114–300" in said[0]
    assert "free" in said[0]
    assert "tokens/s, about" in capsys.readouterr().err
    shards = sum(path.stat().st_size for path in (tmp_path / "c").glob("shard*"))
    expected = facts["tokens"] * facts["bytes_per_token"] + facts["pairs"] * cache.PAIR_BYTES
    assert expected < shards < expected + 1024  # and a header


def test_a_full_disk_is_known_before(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"needs .* MiB .* 0.0 MiB free.* teacher.top_k"):
        written(tmp_path / "c")
    assert not list((tmp_path / "c").glob("*.safetensors"))


def test_a_key_holds_ids_and_border():
    ids = np.arange(6, dtype=np.int32)
    borders = [np.arange(6) >= first for first in range(6)]
    keys = {PairOfBatch(ids, border).key() for border in borders}
    keys |= {
        PairOfBatch(ids + 1, borders[2]).key(),
        PairOfBatch(ids[:5], borders[2][:5]).key(),
    }
    assert len(keys) == 8
    assert {len(key) for key in keys} == {16}
    assert PairOfBatch(ids.astype(np.int64), borders[0]).key() in keys


def test_keys_are_found_even_if_their_halves_agree(tmp_path):
    spec = CacheSpec("hidden", VOCABULARY, 2, "float32")
    writer = CacheWriter(tmp_path, spec, {})
    keys = [bytes([7] * 8 + [last] * 8) for last in (5, 1, 3)] + [bytes(16), bytes([255] * 16)]
    for number, key in enumerate(keys):
        writer.add(key, {"hidden": torch.full((number + 1, 2), float(number))})
        writer.flush() if number == 1 else None
    writer.flush()
    reader = CacheReader(tmp_path)
    absent = bytes([7] * 8 + [4] * 8)
    assert reader.find([*keys, absent]).tolist()[-1] == -1
    order = [4, 0, 3, 1, 2]
    rows = reader.read(reader.find([keys[i] for i in order]))["hidden"]
    assert rows[:, 0].tolist() == [float(i) for i in order for _ in range(i + 1)]
    assert reader.find([]).tolist() == []
    assert reader.read(reader.find([]))["hidden"].shape == (0, 2)


def test_batches_shards_and_order_make_no_difference(whole, tmp_path):
    written(tmp_path / "other", data=DATA[::-1], batch_tokens=500, shard_bytes=2**20)
    one, other = rows_of(whole)["hidden"], rows_of(tmp_path / "other")["hidden"]
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def write_and_die(folder: Path) -> None:
    """In a process of its own: SIGKILL when the third shard is written and not yet renamed."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    save, seen = cache_writer.save_file, []

    def save_and_die(tensors, path, facts=None):
        seen.append(path)
        save(tensors, path, facts)
        if len(seen) == 4:  # the first is the head
            os.kill(os.getpid(), signal.SIGKILL)

    cache_writer.save_file = save_and_die
    written(folder)


def test_a_killed_writer_leaves_a_prefix_and_the_next_goes_on(whole, tmp_path):
    folder = tmp_path / "killed"
    child = multiprocessing.get_context("fork").Process(target=write_and_die, args=[folder])
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert list(folder.glob(".shard*"))
    prefix = CacheReader(folder)
    there = [key for key in KEYS if prefix.find([key])[0] >= 0]
    assert 0 < len(there) == len(prefix) < len(KEYS)
    assert torch.equal(rows_of(folder, there)["hidden"], rows_of(whole, there)["hidden"])

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    said: list[str] = []
    written(folder, log=said.append)
    assert f"({len(there)} of {len(KEYS)} are there already)" in said[0]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert not list(folder.glob(".shard*"))
    torch.testing.assert_close(
        rows_of(folder)["hidden"], rows_of(whole)["hidden"], rtol=1e-5, atol=1e-6
    )
    assert written(folder)["pairs"] == len(KEYS)  # and once more: nothing to do


def test_text_added_later_is_added(copied):
    more = copy_task(20, seed=9, longest=9)
    before = cache_facts(copied)
    both = written(copied, data=[*DATA, *more])
    new = {pair.key() for pair in pairs_of_data(more)} - set(KEYS)
    assert both["pairs"] == before["pairs"] + len(new) > before["pairs"]
    CachedTeacher(copied).check_holds([*DATA, *more])


def last_shard(folder: Path) -> Path:
    return sorted(folder.glob("shard-*"))[-1]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def offset_of(path: Path, name: str) -> int:
    """Where a tensor's bytes begin in a safetensors file."""
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little")
    return 8 + header + json.loads(content[8 : 8 + header])[name]["data_offsets"][0]


DAMAGES = {
    "cut off": (cut, "bytes instead of"),
    "gone": (Path.unlink, "isn't there"),
    "a row": (lambda path: flip(path, offset_of(path, "hidden") + 3), "checksum differs"),
    "a key": (lambda path: flip(path, offset_of(path, "keys") + 3), "checksum differs"),
    "the header": (lambda path: flip(path, 10), "checksum differs|can't be read"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_shard_is_found_named_and_mended(what, copied, whole):
    damage, said = DAMAGES[what]
    path = last_shard(copied)
    damage(path)
    with pytest.raises(InputError, match=said) as error:
        rows_of(copied)
    assert str(path) in str(error.value)
    assert "`evokd cache RECIPE -o DIR`" in str(error.value)

    index = CacheIndex(copied)
    damaged = index.damaged_files(thorough=True)
    assert list(damaged) == [path.name]
    index.drop_files(damaged)
    written(copied)
    assert CacheIndex(copied).damaged_files(thorough=True) == {}
    torch.testing.assert_close(
        rows_of(copied)["hidden"], rows_of(whole)["hidden"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: flip(path, -1)])
def test_a_damaged_head_is_found_named_and_mended(damage, copied):
    damage(copied / HEAD)
    with pytest.raises(InputError, match=HEAD):
        CachedTeacher(copied)
    index = CacheIndex(copied)
    damaged = index.damaged_files()
    assert list(damaged) == [HEAD]
    index.drop_files(damaged)
    written(copied)
    CachedTeacher(copied).check_holds(DATA)


def test_a_folder_without_a_cache_is_refused(tmp_path, copied):
    with pytest.raises(InputError, match="holds no cache"):
        CachedTeacher(tmp_path / "nowhere")
    index = copied / "cache.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="another format"):
        CachedTeacher(copied)
    index.write_text("{")
    with pytest.raises(InputError, match="can't be read"):
        CachedTeacher(copied)


@pytest.mark.parametrize("name", IDENTITY)
def test_a_stale_cache_is_refused_and_what_changed_is_said(name, whole):
    CachedTeacher(whole, IDENTITY)
    with pytest.raises(InputError, match=f"stale: since it was written, {name} changed;"):
        CachedTeacher(whole, {**IDENTITY, name: "another"})


def test_a_cache_of_something_else_isnt_written_on(copied):
    before = (copied / "cache.json").read_bytes()
    with pytest.raises(InputError, match=r"teacher\.signal"):
        written(copied, "topk")
    teacher = tiny_llama(1).to(torch.bfloat16)
    spec = cache_spec(teacher, "hidden")
    with pytest.raises(InputError, match="the number format"):
        write_cache(copied, teacher, [DATA], spec, IDENTITY, log=quiet)
    assert (copied / "cache.json").read_bytes() == before


def test_a_pair_that_isnt_there_is_said_with_reasons(whole):
    other = [{**DATA[0], "input_ids": [*DATA[0]["input_ids"][:-1], 7]}]
    teacher = CachedTeacher(whole)
    with pytest.raises(InputError, match=r"1 of 61 pairs .* tokenizer, prompt or\s.*evokd cache"):
        teacher.check_holds([*DATA, *other])


def test_the_head_comes_back(tmp_path):
    spec = CacheSpec("hidden", 4, 3, "float32")
    head = Head(torch.randn(4, 3), torch.randn(4), 0.1 + 0.2, 30.0)
    CacheWriter(tmp_path, spec, {}).keep_head(head)
    again = CacheIndex(tmp_path).read_head()
    assert (again.scale, again.cap) == (0.1 + 0.2, 30.0)
    assert torch.equal(again.weight, head.weight)
    assert torch.equal(again.bias, head.bias)


def read_all(folder: Path) -> list[float]:
    return rows_of(folder)["hidden"].sum(1).tolist()


def test_several_processes_read_one_cache(whole):
    here = read_all(whole)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(read_all, [whole, whole]) == [here, here]


def test_reading_maps_and_doesnt_load(tmp_path):
    """64 MiB are opened and a pair of them read; the process hardly grows."""
    spec = CacheSpec("hidden", VOCABULARY, 4096, "float32")
    writer = CacheWriter(tmp_path, spec, {})
    for number in range(64):
        writer.add(bytes([number] * 16), {"hidden": torch.zeros(64, 4096)})
    writer.flush()
    del writer

    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    reader = CacheReader(tmp_path)
    assert reader.read(reader.find([bytes([9] * 16)]))["hidden"].shape == (64, 4096)
    assert resident() - before < 16 * 2**20
