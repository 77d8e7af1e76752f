"""The teacher's text: whole, killed and gone on with, stale; what is left out; the nearest."""

import json

import pytest
import torch

from evokd.data.corpus import Corpus, save_corpus
from evokd.data.hypotheses import Candidate
from evokd.data.pairs import Pair
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.errors import InputError
from evokd.evaluate.scores import sentence_bleu
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.models import FreshModel
from evokd.recipe.recipe import Recipe
from evokd.rundir.files import read_json
from evokd.study import teacher_shards, teacher_translations
from evokd.study.context import Study
from evokd.study.teacher_translations import make_teacher_text
from evokd.translate import nbest as room
from evokd.translate.decoding import translate
from small_study import both_ways, sentences, snapshot, stand_in
from small_study import recipe as small_recipe

TEXT = sentences(12)
TRAIN = both_ways(12)
MORE = [
    Pair(english, "", "en", "de", f"more:{i}") for i, (english, _) in enumerate(sentences(3, 50))
]


@pytest.fixture(scope="module")
def translator():
    """A fresh model whose translations are nonsense that varies, and end now and then."""
    words = train_tokenizer([t for pair in TEXT for t in pair], 330, prompt_tags(["en", "de"]))
    settings = FreshModel(hidden_size=32, layers=1, heads=2, tie_embeddings=False)
    model = fresh_model(settings, words, 3).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6 if weight.dim() == 2 else 1)
        model.lm_head.weight[words.eos_token_id] *= 4
    return Translator(model, words, load_prompt("compact"))


class Bench:
    """A study with a corpus and a teacher in its folder, as far as this stage looks at them."""

    def __init__(self, folder, translator, **changes):
        self.folder = folder
        self.translator = translator
        self.notes = []
        self.changes = changes
        self.text = Corpus(TRAIN, [], {}, {}, MORE)
        self.teacher = stand_in(folder, "teacher", "a teacher")

    def study(self):
        save_corpus(self.text, self.folder / "corpus")
        given = {"beam": 2, "candidates": 3, **self.changes.get("teacher_text", {})}
        recipe = Recipe(**small_recipe(**{**self.changes, "teacher_text": given}))
        study = Study(recipe, self.folder, self.translator.prompt, self.notes.append)
        study.__dict__["teacher"] = self.translator
        return study

    def make(self, kind="teacher"):
        study = self.study()
        stage = make_teacher_text(study, self.teacher, kind)
        return stage, study.pairs(kind)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(teacher_shards, "SHARD_SENTENCES", 5)


@pytest.fixture
def bench(tmp_path, translator):
    return Bench(tmp_path, translator)


@pytest.fixture
def asked(monkeypatch):
    """The lines that the teacher is asked for, call by call; after `.most` the power fails."""

    class Asked(list):
        most = None

    calls, original = Asked(), room.candidates

    def listen(translator, lines, *rest):
        if calls.most is not None and len(calls) >= calls.most:
            raise KeyboardInterrupt
        calls.append(list(lines))
        return original(translator, lines, *rest)

    monkeypatch.setattr(room, "candidates", listen)
    monkeypatch.setattr(teacher_translations, "_estimate", lambda *_: "")
    return calls


@pytest.fixture
def says(monkeypatch):
    """A teacher that says what it is told to: {source: (text, …)}, else the source backwards."""
    told = {}

    def say(translator, lines, source_code, target_code, settings, count, progress, engine):
        def one(text, rank):
            stopped_by = "cap" if text.endswith("…") else "eos"
            return Candidate(text, -1.0 - rank, 3, stopped_by)

        return [
            [one(text, i) for i, text in enumerate(told.get(line, (line[::-1],))[:count])]
            for line in lines
        ]

    monkeypatch.setattr(room, "candidates", say)
    monkeypatch.setattr(teacher_translations, "_estimate", lambda *_: "")
    return told


def test_the_bar_moves_within_a_shard(tmp_path, translator, monkeypatch):
    shown = []
    bar = lambda label: lambda done, total: shown.append((done, total))  # noqa: E731
    monkeypatch.setattr(teacher_translations, "progress_bar", bar)
    Bench(tmp_path, translator, decoding={"batch_size": 2}).make()
    done, total = [each for each, _ in shown], shown[-1][1]
    assert done == sorted(done)
    assert done[-1] == total > 5
    assert {2, 4} <= set(done), "of the first five"


def test_pairs_are_what_the_teacher_translates(tmp_path, translator):
    short = {"extra_tokens": 1, "tokens_per_source_token": 0.2}  # so that some are cut off
    bench = Bench(tmp_path, translator, decoding=short)
    stage, pairs = bench.make()
    assert stage.find() == stage.folder
    left_out = read_json(stage.folder / "left_out.json")
    expected, lost = [], 0
    settings = bench.study().recipe.decoding.model_copy(update={"beam": 2})
    for pair in [*TRAIN, *MORE]:
        source, target = pair.source_language, pair.target_language
        made = translate(translator, [pair.source], source, target, settings)
        if made.cut_off[0] or not made.lines[0] or len(made.lines[0]) > 4 * len(pair.source):
            lost += 1
        else:
            expected.append(Pair(pair.source, made.lines[0], source, target, pair.origin))
    assert pairs == expected
    assert 0 < lost < len(TRAIN)
    facts = stage.facts()
    assert sum(facts["left_out"].values()) == lost == left_out["read"] - left_out["kept"]
    assert {k: v["count"] for k, v in left_out["reasons"].items()} == facts["left_out"]
    assert (facts["sentences"], facts["hypotheses"], facts["pairs"]) == (27, 27, len(expected))
    assert (facts["beam"], facts["candidates"]) == (2, 1)
    assert 0 < facts["mass_of_best"] < 100


def test_shards_keep_all_that_was_said(bench, translator):
    stage, _ = bench.make("nearest")
    paths = sorted((stage.folder / "shards").glob("*.jsonl"))
    assert [path.name for path in paths] == [f"{i:05d}.jsonl" for i in range(6)]
    records = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    assert [r["source"] for r in records] == [e for e, _ in TEXT] + [g for _, g in TEXT]
    settings = bench.study().recipe.decoding.model_copy(update={"beam": 3})
    made = [
        *room.candidates(translator, [e for e, _ in TEXT], "en", "de", settings, 3),
        *room.candidates(translator, [g for _, g in TEXT], "de", "en", settings, 3),
    ]
    for record, found in zip(records, made, strict=True):
        kept = record["hypotheses"]
        assert [one["text"] for one in kept] == [one.text for one in found]
        assert [one["tokens"] for one in kept] == [one.tokens for one in found]
        assert [one["log_probability"] for one in kept] == pytest.approx(
            [one.log_probability for one in found], abs=1e-3
        )


def test_plain_text_beside(bench, says):
    bench.text = Corpus([*TRAIN, *TRAIN[:4]], [], {}, {}, MORE)  # a weight
    stage, pairs = bench.make()
    assert len(pairs) == 31
    for direction in ("en-de", "de-en"):
        once = [pair for pair in dict.fromkeys(pairs) if pair.direction == direction]
        lines = {
            suffix: (stage.folder / f"{direction}.{suffix}").read_text().splitlines()
            for suffix in ("src", "hyp")
        }
        assert lines["src"] == [pair.source for pair in once]
        assert lines["hyp"] == [pair.target for pair in once]
    assert [pair.target for pair in pairs] == [pair.source[::-1] for pair in pairs]


# Killed, gone on with, stale


@pytest.mark.parametrize("kind", ["teacher", "nearest"])
def test_killed_and_gone_on_with_is_the_same_as_uninterrupted(tmp_path, translator, asked, kind):
    whole, whole_pairs = Bench(tmp_path / "whole", translator).make(kind)
    calls = len(asked)
    bench, asked.most = Bench(tmp_path / "killed", translator), calls + 2
    with pytest.raises(KeyboardInterrupt):
        bench.make(kind)
    assert not (bench.folder / "teacher_text" / kind / "manifest.json").exists()
    assert len(list((bench.folder / "teacher_text" / kind / "shards").glob("*.jsonl"))) == 2
    (bench.folder / "teacher_text" / kind / "shards/.00002.jsonl.7.draft").write_text("{")
    asked.most = None
    stage, pairs = bench.make(kind)
    assert pairs == whole_pairs
    assert asked[:calls] == asked[calls:]  # nothing twice
    assert any("10 sentences are there" in note for note in bench.notes)
    for path in sorted(whole.folder.rglob("*")):
        if path.is_file() and path.name not in ("manifest.json",):
            assert path.read_bytes() == (stage.folder / path.relative_to(whole.folder)).read_bytes()
    assert sorted(snapshot(stage.folder)) == sorted(snapshot(whole.folder))
    facts, others = stage.facts(), whole.facts()
    assert facts == others


def test_done_is_done(bench, says, asked):
    stage, pairs = bench.make()
    before, calls = snapshot(stage.folder), len(asked)
    assert bench.make() == (stage, pairs)
    assert snapshot(stage.folder) == before
    assert len(asked) == calls
    assert bench.notes[-1] == "teacher text (teacher): done before, kept"


@pytest.mark.parametrize(
    "change",
    [
        {"teacher_text": {"beam": 3}},
        {"decoding": {"length_penalty": 0.5}},
        {"decoding": {"extra_tokens": 3}},
        "teacher",
        "prompt",
    ],
    ids=str,
)
def test_another_way_to_translate_begins_anew(tmp_path, translator, says, asked, change):
    first, _ = Bench(tmp_path, translator).make()
    calls = len(asked)
    bench = Bench(tmp_path, translator, **(change if isinstance(change, dict) else {}))
    if change == "teacher":
        bench.teacher = stand_in(tmp_path, "teacher", "another teacher")
    if change == "prompt":
        bench.translator = Translator(translator.model, translator.tokenizer, load_prompt("alma"))
    stage, _ = bench.make()
    assert stage.fingerprint != first.fingerprint
    assert sum(map(len, asked[:calls])) == sum(map(len, asked[calls:])) == 27
    assert any("made anew" in note for note in bench.notes)
    assert Bench(tmp_path, translator).make()[0].fingerprint == first.fingerprint
    assert sum(map(len, asked)) == 54, "the first one was kept"


def test_batch_sizes_and_settings_of_the_other_kind_change_nothing(
    tmp_path, translator, says, asked
):
    first, _ = Bench(tmp_path, translator).make()
    calls = len(asked)
    bench = Bench(tmp_path, translator, decoding={"batch_size": 3}, teacher_text={"candidates": 2})
    stage, _ = bench.make()
    assert stage == first
    assert len(asked) == calls


def test_new_sentences_alone_are_translated(bench, says, asked):
    first, _ = bench.make()
    calls = len(asked)
    bench.text = Corpus([*TRAIN[6:], Pair("New.", "Neu.", "en", "de", "t:99")], [], {}, {}, MORE)
    stage, pairs = bench.make()
    assert stage.fingerprint != first.fingerprint
    assert asked[calls:] == [["New."]]
    assert stage.facts()["sentences"] == 22
    assert {pair.source for pair in pairs} <= {p.source for p in [*bench.text.train, *MORE]}


def test_a_damaged_shard_is_translated_again(bench, says, asked):
    stage, pairs = bench.make()
    calls = len(asked)
    shard = stage.folder / "shards/00001.jsonl"
    shard.write_text(shard.read_text()[:-30])
    (stage.folder / "manifest.json").unlink()
    assert bench.make()[1] == pairs
    assert asked[calls:] == [asked[1]]
    assert any("damaged" in note for note in bench.notes)


def test_max_length_ratio_changes_pairs_and_no_translation(tmp_path, translator, says):
    says[TEXT[0][0]] = ("abcdefghij klmnop qrstuv" * 4,)
    first, pairs = Bench(tmp_path, translator).make()
    assert first.facts()["left_out"] == {}
    bench = Bench(tmp_path, translator, teacher_text={"max_length_ratio": 2.0})
    stage, fewer = bench.make()
    assert stage.facts()["left_out"] == {"over_long": 1}
    assert len(fewer) == len(pairs) - 1
    assert not any("sentences, " in note and "beams" in note for note in bench.notes)


# Left out


def test_what_is_left_out_is_counted_and_shown(bench, says):
    english = [source for source, _ in TEXT]
    says[english[0]] = ("",)
    says[english[1]] = says[english[2]] = ("der Zug der Zug der Zug der Zug",)
    says[english[3]] = ("Der Zug kommt um …",)
    says[english[4]] = (" ".join(f"wort{i}" for i in range(40)),)
    says[MORE[0].source] = ("",)
    stage, pairs = bench.make()
    counts = {"empty": 2, "looping": 2, "cut_off": 1, "over_long": 1}
    assert stage.facts()["left_out"] == counts
    assert len(pairs) == 27 - 6 == stage.facts()["pairs"]
    assert not {pair.source for pair in pairs} & {*english[:5], MORE[0].source}
    (example, _) = read_json(stage.folder / "left_out.json")["reasons"]["looping"]["examples"]
    assert example == {
        "origin": "t:1", "source": english[1], "target": "der Zug der Zug der Zug der Zug",
    }  # fmt: skip
    assert "left out: empty 2, looping 2, cut_off 1, over_long 1" in "\n".join(bench.notes)
    assert any(note.startswith("warning: 22% of the pairs") for note in bench.notes)


def test_a_teacher_that_says_nothing_is_refused(bench, says):
    says.update({pair.source: ("",) for pair in [*TRAIN, *MORE]})
    with pytest.raises(InputError, match=r"none of its translations is fit .* \(empty 27\)"):
        bench.make()
    assert not (bench.folder / "teacher_text/teacher/manifest.json").exists()


# The nearest of several


def test_the_nearest_that_is_fit_is_chosen_for_each_reference(bench, says):
    english, german = TEXT[0]
    near = german.replace("um", "ungefähr um")
    looping = f"{german} " + "um eins " * 12
    says[english] = ("Etwas anderes.", looping, near)
    second = Pair(english, "Etwas anderes!", "en", "de", "t:77")  # the same source once more
    bench.text = Corpus([*TRAIN, second], [], {}, {}, MORE)
    stage, pairs = bench.make("nearest")
    chosen = [pair.target for pair in pairs if pair.source == english]
    assert chosen == [near, "Etwas anderes."]
    assert not {pair.source for pair in pairs} & {pair.source for pair in MORE}
    facts = stage.facts()
    assert (facts["sentences"], facts["hypotheses"], facts["pairs"]) == (24, 26, 25)
    assert facts["not_the_best"] == 1
    bleu = sentence_bleu("de")
    gain = bleu(near, german) - bleu("Etwas anderes.", german)
    assert facts["bleu_of_nearest"] - facts["bleu_of_best"] == pytest.approx(gain / 25, abs=0.02)


def test_the_nearest_of_one_is_the_teachers_best(tmp_path, translator):
    bench = Bench(tmp_path, translator, teacher_text={"beam": 1, "candidates": 1})
    bench.text = Corpus(TRAIN, [], {}, {})
    _, best = bench.make("teacher")
    _, near = bench.make("nearest")
    assert near == best
    assert len(best) > 5


# Without parallel text, and the estimate


def test_text_without_any_reference(bench, says):
    bench.text = Corpus([], [], {}, {}, MORE)
    _, pairs = bench.make()
    assert [pair.source for pair in pairs] == [pair.source for pair in MORE]
    assert all(pair.target == pair.source[::-1] for pair in pairs)
    with pytest.raises(InputError, match="text: nearest needs references"):
        bench.make("nearest")


def test_the_time_is_told_before_it_is_spent(bench):
    bench.make()
    first = next(note for note in bench.notes if "sentences" in note)
    assert first.startswith("teacher text (teacher): 27 sentences, 2 beams; about 1 min from a")


def test_a_language_that_bleu_cannot_cut_is_refused_before_anything_is_translated(
    bench, asked, monkeypatch
):
    def refuse(code):
        raise InputError(f"no tokenizer for {code}")

    monkeypatch.setattr(teacher_translations, "sentence_bleu", refuse)
    with pytest.raises(InputError, match="no tokenizer for de"):
        bench.make("nearest")
    assert asked == []


def test_one_search_serves_both_kinds_where_their_beams_are_equal(tmp_path, translator, asked):
    both = ["seq_kd", "seq_inter"]
    bench = Bench(tmp_path, translator, methods=both, teacher_text={"beam": 3, "candidates": 3})
    stage, pairs = bench.make("teacher")
    searched = len(asked)
    assert searched > 0
    assert stage.facts()["hypotheses"] == stage.facts()["sentences"]
    other, _ = bench.make("nearest")
    assert len(asked) == searched
    assert other.facts()["hypotheses"] > other.facts()["sentences"]
    apart = Bench(tmp_path / "apart", translator, teacher_text={"beam": 3, "candidates": 3})
    assert apart.make("teacher")[1] == pairs
