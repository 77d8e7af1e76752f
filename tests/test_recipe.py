"""The recipe: what it accepts, what it says of what it doesn't, and overrides."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from evokd.errors import InputError
from evokd.recipe.file import check_recipe, dump_recipe, load_recipe, points
from evokd.recipe.methods import BetaSchedule
from evokd.recipe.training import TrainingSettings
from small_study import recipe, write_recipe

SHIPPED = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))


def tree_with(place: str, value):
    """The small recipe with one key set, however deep."""
    tree = recipe(methods=[{"objective": "sft"}, {"objective": "self_evolution"}])
    tree["corpus"]["train"] = [{"path": "data/train"}]
    node = tree
    *parents, last = place.split(".")
    for part in parents:
        if isinstance(node, list):
            named = (e for e in node if part in (e.get("name"), e.get("objective")))
            node = node[int(part)] if part.isdigit() else next(named)
        else:
            node = node.setdefault(part, {})
    node[last] = value
    return tree


def refusal(tree, *overrides) -> str:
    with pytest.raises(InputError) as caught:
        check_recipe(tree, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "near"),
    [
        ("trainig", "training"),
        ("training.epoch", "epochs"),
        ("teacher.modle", "model"),
        ("teacher.fresh.hiden_size", "hidden_size"),
        ("student.warm_start_step", "warm_start_steps"),
        ("corpus.trian", "train"),
        ("corpus.train.0.limt", "limit"),
        ("corpus.test.phrases.nam", "name"),
        ("corpus.cleaning.min_word", "min_words"),
        ("methods.self_evolution.gama", "gamma"),
        ("decoding.batchsize", "batch_size"),
        ("scoring.bootstrap_sample", "bootstrap_samples"),
        ("report.titel", "title"),
        ("tokenizer.vocab", "vocab_size"),
    ],
)
def test_an_unknown_key_names_its_place_and_the_nearest_known_one(place, near):
    said = refusal(tree_with(place, 1))
    assert f"{place}: unknown key" in said
    assert f"did you mean '{near}'?" in said


def test_an_unknown_key_of_a_beta_schedule_names_the_nearest_one():
    said = refusal(tree_with("methods.1.beta", {"strat": 0.5}))
    assert "methods.self_evolution.beta.strat: unknown key 'strat'; did you mean 'start'?" in said
    assert "BetaSchedule" not in said


@pytest.mark.parametrize("owner", ["teacher", "student", "methods.1"])
def test_training_keys_of_models_and_methods_are_checked(owner):
    said = refusal(tree_with(f"{owner}.training", {"epoch": 1}))
    assert "training.epoch: unknown key 'epoch'; did you mean 'epochs'?" in said
    assert "max_steps" in refusal(tree_with(f"{owner}.training", {"max_steps": 0}))


def test_training_keys_of_a_method_are_laid_over_the_common_ones():
    made = check_recipe(tree_with("methods.1.training", {"learning_rate": "2e-5"}))
    settings = made.training_of(
        TrainingSettings(max_steps=4), made.method("self_evolution").training
    )
    assert (settings.learning_rate, settings.max_steps, settings.batch_size) == (2e-5, 4, 16)


@pytest.mark.parametrize(
    ("place", "value", "parts"),
    [
        ("training", 5, ["training: found 5", "mapping"]),
        ("training.epochs", "many", ["training.epochs: found 'many'", "number"]),
        ("training.epochs", -1, ["training.epochs: found -1", "greater than 0"]),
        ("training.schedule", "square", ["training.schedule: found 'square'", "'cosine'"]),
        ("methods.1.objective", "self_evolutoin", ["did you mean 'self_evolution'"]),
        ("methods.1.beta", 1.5, ["methods.self_evolution.beta: found 1.5; a number from 0 to 1"]),
        ("methods.1.beta", "half", ["methods.self_evolution.beta: found 'half'"]),
        ("methods.1.gamma", float("inf"), ["methods.self_evolution.gamma: found inf", "finite"]),
        ("methods.1.name", "teacher", ["'teacher' and 'start' are taken"]),
        ("methods.1.name", "a/b", ["'a/b' can't name a system"]),
        ("methods.1.name", "sft", ["methods: 'sft' appears twice; give each a name"]),
        ("methods", [], ["methods: found nothing; at least one"]),
        ("seeds", [], ["seeds: found nothing; at least one"]),
        ("seeds", [1, 1], ["seeds: 1 appears twice"]),
        ("seeds", [-1], ["seeds.0: found -1"]),
        ("directions", [], ["directions: found nothing; at least one"]),
        ("directions", ["en_de"], ["'en_de' is no direction", "en-de"]),
        ("directions", ["en-en"], ["'en-en' is no direction"]),
        ("directions", ["en-de", "en-de"], ["directions: 'en-de' appears twice"]),
        ("corpus.train", [], ["corpus.train: found nothing; name parallel text"]),
        (
            "corpus.train.0.directions",
            ["en-fr"],
            ["corpus.train.0.directions: unknown direction 'en-fr'", "en-de"],
        ),
        ("corpus.test.0.directions", ["en-fr"], ["corpus.test.0.directions: unknown"]),
        (
            "corpus.unpaired",
            [{"path": "a", "direction": "en-fr"}],
            ["corpus.unpaired.0.direction: unknown direction 'en-fr'"],
        ),
        ("corpus.weights", {"de-fr": 2}, ["corpus.weights", "unknown direction 'de-fr'"]),
        ("corpus.weights", {"en-de": -1}, ["corpus.weights.en-de: found -1", "or equal to 0"]),
        ("corpus.test.0.name", "a b", ["'a b' is no test set name"]),
        ("teacher.fresh.hidden_size", 33, ["hidden_size 33", "take hidden_size=36"]),
        ("scoring.baseline", "forward", ["unknown system 'forward'", "teacher, sft"]),
        ("scoring.metrics", ["blue"], ["scoring.metrics.blue: unknown metric 'blue'", "'bleu'"]),
        ("name", "", ["name: found ''"]),
    ],
)
def test_wrong_values_say_what_was_found_and_what_is_accepted(place, value, parts):
    said = refusal(tree_with(place, value))
    for part in parts:
        assert part in said
    assert len(said.splitlines()) == 2, said  # a headline and one complaint
    assert "Settings" not in said


def test_a_filter_by_both_directions_needs_both():
    dual = "corpus.cleaning.by_teacher.by=dual"
    assert check_recipe(recipe(directions=["en-de", "de-en"]), [dual])
    said = refusal(recipe(directions=["en-de", "de-en", "en-cs"]), dual)
    assert "corpus.cleaning.by_teacher.by: dual judges a pair both ways" in said
    assert "directions lack cs-en; add what is missing there, or take by: excess or nll" in said


def test_missing_keys_are_named():
    tree = recipe()
    del tree["teacher"], tree["corpus"]["test"]
    said = refusal(tree)
    assert "teacher: this key is needed" in said
    assert "corpus.test: this key is needed" in said


def test_norwegian_is_not_a_truth_value(tmp_path):
    """YAML 1.1 reads a bare `no` as false."""
    text = yaml.safe_dump(recipe()).replace("en-de", "en-no").replace("de-en", "no-en")
    path = tmp_path / "norwegian.yaml"
    path.write_text(text)
    assert load_recipe(path).languages() == ["en", "no"]

    with pytest.raises(InputError, match=r"languages\.1: found False.*quotes.*bare no"):
        load_recipe(path, ["corpus.test.0.languages=[en, no]"])
    made = load_recipe(path, ["corpus.test.0.languages=[en, 'no']"])
    assert made.corpus.test[0].languages == ("en", "no")
    assert load_recipe(write_recipe(path, yaml.safe_load(dump_recipe(made)))) == made


@pytest.mark.parametrize(
    ("override", "found", "value"),
    [
        ("training.epochs=1", lambda r: r.training.epochs, 1.0),
        ("training.learning_rate=2e-5", lambda r: r.training.learning_rate, 2e-5),
        ("training.micro_batch_size=null", lambda r: r.training.micro_batch_size, None),
        ("training.gradient_checkpointing=true", lambda r: r.training.gradient_checkpointing, True),
        ("seeds=[1, 2, 3]", lambda r: r.seeds, (1, 2, 3)),
        ("seeds=7", lambda r: r.seeds, (7,)),
        ("directions=en-de", lambda r: r.directions, ("en-de",)),
        ("methods.0.gamma=1", lambda r: r.methods[0].gamma, 1.0),
        ("methods.self_evolution.gamma=1", lambda r: r.method("self_evolution").gamma, 1.0),
        ("methods.self_evolution.beta=5e-1", lambda r: r.method("self_evolution").beta, 0.5),
        (
            "methods.self_evolution.beta.start=0.9",
            lambda r: r.method("self_evolution").beta,
            BetaSchedule(start=0.9),
        ),
        (
            "methods.self_evolution.training.max_steps=3",
            lambda r: r.method("self_evolution").training,
            TrainingSettings(max_steps=3),
        ),
        ("methods=sft", lambda r: [m.name for m in r.methods], ["sft"]),
        ("corpus.train.0.limit=5", lambda r: r.corpus.train[0].limit, 5),
        ("corpus.test.phrases.limit=5", lambda r: r.corpus.test[0].limit, 5),
        ("corpus.train=[a, b]", lambda r: [s.path for s in r.corpus.train], ["a", "b"]),
        ("report.title=A = b", lambda r: r.report.title, "A = b"),
        ("report.title=A: b: c", lambda r: r.report.title, "A: b: c"),
        ("report.title=", lambda r: r.report.title, None),
        ("teacher.model=org/name", lambda r: r.teacher.model, "org/name"),
    ],
)
def test_overrides_reach_every_depth(override, found, value):
    assert found(check_recipe(recipe(), [override])) == value


def test_overrides_reach_methods_given_as_one_bare_name():
    made = check_recipe(recipe(methods="self_evolution"), ["methods.self_evolution.gamma=1"])
    assert [(m.name, m.gamma) for m in made.methods] == [("self_evolution", 1.0)]


def test_a_later_override_wins_and_the_tree_stays_as_it_was():
    tree = recipe()
    before = copy.deepcopy(tree)
    made = check_recipe(tree, ["training.max_steps=1", "training.max_steps=2"])
    assert made.training.max_steps == 2
    assert tree == before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epochs", "no override; type key=value"),
        ("=1", "no override; type key=value"),
        ("name.first=1", "name is a str, it has no keys"),
        ("methods.9.gamma=1", "no element '9'; accepted: sft, forward_kd, self_evolution"),
        ("methods.nosuch.gamma=1", "no element 'nosuch'"),
        ("trainin.epochs=1", "unknown key 'trainin'; did you mean 'training'?"),
        ("training.epochs=[1", "override 'training.epochs=[1' is no valid YAML: while parsing"),
        ("grid={x: {a: {]", "is no valid YAML"),
        ("grid={x: {1: {}, '1': {seeds: 2}}}", "found the key '1' twice in one mapping"),
        ("teacher=null", "teacher: found null; a mapping of keys is accepted, {} if it is empty"),
        ("training.epochs=null", "training.epochs: found null; input should be a valid number"),
    ],
)
def test_bad_overrides_are_refused(override, said):
    assert said in refusal(recipe(), override)


def test_a_grid_is_a_study_at_each_point():
    grid = {
        "start": {"weak": {"student.warm_start_steps": 1}, "good": {}},
        "limit": {
            "5": {"corpus.train.0.limit": 5, "methods.sft.training": {"max_steps": 2}},
            "all": {},
        },
    }
    made = check_recipe(recipe(grid=grid))
    studies = points(made)
    found = {
        name: (
            study.student.warm_start_steps,
            study.corpus.train[0].limit,
            study.method("sft").training.max_steps,
        )
        for name, study in studies.items()
    }
    assert found == {
        "weak.5": (1, 5, 2),
        "weak.all": (1, None, None),
        "good.5": (3, 5, 2),
        "good.all": (3, None, None),
    }
    assert studies["good.all"] == check_recipe(recipe()), "where nothing differs it is the same"


def test_a_grid_is_overridden_like_other_keys():
    made = check_recipe(
        recipe(grid={"start": {"weak": {}, "good": {}}}),
        ["grid.start={weak: {student.warm_start_steps: 2}}", "student.warm_start_steps=7"],
    )
    assert {n: s.student.warm_start_steps for n, s in points(made).items()} == {"weak": 2}
    assert check_recipe(recipe(grid=made.grid), ["grid={}"]) == check_recipe(recipe())
    numbered = check_recipe(recipe(grid={"size": {500: {}}}), ["grid.size.500={seeds: 3}"])
    assert {n: s.seeds for n, s in points(numbered).items()} == {"500": (3,)}


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ({"start": {}}, ["grid.start: found nothing; name a place"]),
        ({"start": ["weak"]}, ["grid.start: found ['weak']; a mapping"]),
        (
            {"start": {"weak": None}},
            ["grid.start.weak: found null; a mapping", "{} if it is empty"],
        ),
        ({"start": {"a/b": {}}}, ["grid.start: 'a/b' can't name a folder; letters"]),
        ({"start": {True: {}}}, ["grid.start: found a place True; put its name in quotes"]),
        ({"start": {1: {}, "1": {}}}, ["grid.start: '1' appears twice"]),
        (
            {"start": {"good": {}, "weak": {"student.warm_start_step": 1}}},
            ["grid point weak has errors", "did you mean 'warm_start_steps'?"],
        ),
        (
            {"start": {"weak": {"student.warm_start_steps": -1}}},
            ["grid point weak", "student.warm_start_steps: found -1"],
        ),
        (
            {"start": {"weak": {"methods.skew.beta": 1}}, "noise": {"clean": {}}},
            ["grid point weak.clean: methods.skew.beta: no element 'skew'; accepted: sft"],
        ),
        ({"start": {"weak": {"grid.more": {"a": {}}}}}, ["grid point weak: found grid.more; no"]),
    ],
)
def test_a_grid_that_fits_nothing_is_refused(grid, parts):
    said = refusal(recipe(grid=grid))
    for part in parts:
        assert part in said


FILTERED = {"name": "noevo", "text": "filtered"}


@pytest.mark.parametrize(
    ("corpus", "methods", "parts"),
    [
        (
            {"train": {"path": "a", "noise": {"kind": "copied", "share": 0.1}}, "valid": []},
            ["sft"],
            ["corpus: train.0.noise: without corpus.valid", "name some in corpus.valid"],
        ),
        ({}, [FILTERED], ["methods.noevo.text: filtered", "hold some of it back (corpus.held_out"]),
        ({}, [{"name": "auto", "objective": "noevo"}], ["methods.auto: found objective noevo"]),
        (
            {},
            [{"name": "auto", "text": "teacher"}],
            ["methods.auto: objective, gate and text are what", "'text': 'teacher'"],
        ),
        (
            {},
            [{"name": "best", "objective": "skew", "open": True}],
            ["methods.best: objective, gate and text are what", "'objective': 'skew'"],
        ),
    ],
)
def test_what_the_teacher_can_not_tell_is_not_asked(corpus, methods, parts):
    tree = recipe(methods=methods)
    tree["corpus"] |= corpus
    said = refusal(tree)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    "overrides",
    [
        ["corpus.held_out=20"],
        ["teacher.sft=false"],
        ["corpus.cleaning.by_teacher.threshold=2"],
        ["corpus.train=[{path: a, use: models}, {path: b, use: students}]"],
    ],
)
def test_a_teacher_tells_what_it_was_not_trained_on(overrides):
    assert check_recipe(recipe(methods=[FILTERED]), overrides).methods[0].text == "filtered"


def test_a_grid_wants_bleu():
    tree = recipe(grid={"start": {"weak": {}}}, scoring={"metrics": ["chrf"]})
    assert "grid: its map is of BLEU; add bleu to scoring.metrics" in refusal(tree)


def test_a_dumped_recipe_is_the_same_recipe(tmp_path):
    tree = tree_with("methods.1.beta", {"start": 0.7, "end": 0.1, "of": "target"})
    tree["corpus"] |= {"weights": {"en-de": 2}, "limit": 10}
    tree["corpus"]["train"][0] |= {"columns": [1, "zwei"], "languages": ["en", "de"]}
    tree["teacher"]["training"] = {"learning_rate": "1e-3", "select": "best"}
    tree["report"] = {"title": "Größe: „egal“ # no"}
    made = check_recipe(tree)
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(made), encoding="utf-8")
    assert load_recipe(path) == made
    assert dump_recipe(load_recipe(path)) == dump_recipe(made)


def test_the_name_of_a_recipe_is_that_of_its_file(tmp_path):
    tree = recipe()
    del tree["name"]
    assert load_recipe(write_recipe(tmp_path / "mine.yaml", tree)).name == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1", "no valid YAML"),
        (b"- a\n- b\n", "holds a list; a mapping of keys is accepted"),
        (b"", "holds nothing"),
        (b"just text", "holds a str"),
        (
            b"a: 1\nb: {c: 1,\n c: 2}",
            r"(?s)the key 'c' twice.*line 2.*each is accepted once.*line 3",
        ),
        (b"name: \xff\xfe", "can't be read"),
        (b"name: 2001-99-99", "no valid YAML: a value isn't what it looks like .month"),
        (b"seeds: !!int one", "isn't what it looks like .*quote it"),
        (b"plugins: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"plugins: &a [*a]", "nested more than 50 deep; check its aliases"),
        (
            b"a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
            + b"".join(b"%c: &%c [%s]\n" % (n, n, b"*%c," % (n - 1) * 9) for n in b"bcdefghi"),
            "more than 100000 values",
        ),
        (b"a: &a {c: 1}\nb: &b {d: 1}\ntraining: {<<: *a, <<: *b}", "(?s)unknown key 'a'.*'b'"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, said):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_recipe(path)


def test_keys_of_an_alias_may_be_given_again(tmp_path):
    path = tmp_path / "recipe.yaml"
    text = yaml.safe_dump({k: v for k, v in recipe().items() if k != "training"})
    path.write_text(f"{text}training:\n  <<: {{epochs: 2, batch_size: 8}}\n  epochs: 5\n")
    training = load_recipe(path).training
    assert (training.epochs, training.batch_size) == (5, 8)


def test_a_missing_recipe_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml not found"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="can't be read"):
        load_recipe(tmp_path)


def test_the_papers_defaults_hold():
    """Section 4.2 and 4.3."""
    tree = recipe(training={}, methods=["self_evolution", "skew_teacher"], teacher={}, student={})
    made = check_recipe(tree)
    training = made.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (3, 128, 2e-5)
    assert (training.warmup_ratio, training.max_length) == (0.03, 512)
    method = made.method("self_evolution")
    settings = method.in_force()[1]
    assert (settings.lam, settings.beta, settings.gamma) == (0.5, 0.5, 0.4)
    assert made.method("skew_teacher").in_force()[1].beta == 0.9


def test_the_baseline_is_forward_kd_where_there_is_one():
    assert check_recipe(recipe()).baseline() == "forward_kd"
    assert check_recipe(recipe(methods=["noevo", "sft"])).baseline() == "sft"
    assert check_recipe(recipe(methods=["noevo", "skew"])).baseline() == "noevo"
    assert check_recipe(recipe(scoring={"baseline": "teacher"})).baseline() == "teacher"


def test_recipes_that_are_shipped_are_valid():
    assert len(SHIPPED) >= 3
    for path in SHIPPED:
        assert load_recipe(path).methods
