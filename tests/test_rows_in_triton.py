"""The GPU's row pass: in Triton's interpreter against the reference in float64, and compiled for a
GPU that needn't be there.

Both happen in processes of their own: the interpreter is chosen when Triton is first imported, for
all of a process.
"""

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest
import torch

from evokd.distil.objectives import LOSSES, Tokens
from evokd.distil.row_loss import rows_in_triton
from evokd.distil.row_loss.closed_forms import closed_form
from evokd.distil.token_batch import LogitChunk
from evokd.distil.tokens import Selection
from evokd.recipe.objectives import objective_settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")

SMALL = (2, 4)
"""Lanes and group of a tile of 8 entries: rows of 21 are two whole tiles and a part of one."""


def case(objective, rows="oss", size=21, tile=SMALL, types="ff", **options):
    """`rows`: a letter each (see `inputs`); `types`: of student and teacher, f(loat32), b(float16),
    h(alf) or - for none; `options`: settings, and arguments of row_pass."""
    return {
        "objective": objective,
        "rows": rows,
        "size": size,
        "tile": tile,
        "types": types,
        "settings": {
            k: v
            for k, v in options.items()
            if k in ("lam", "beta", "gamma", "gate", "doubt", "alpha")
        },
        "given": {k: v for k, v in options.items() if k in ("scale", "cap", "gradient", "hard")},
        "weighted": options.get("weighted", True),
        "stride": options.get("stride", size),
    }


CASES = {
    "sft": case("sft", "ow"),
    "sft alone": case("sft", "o", types="f-", weighted=False),
    "forward_kd": case("forward_kd", "ow"),
    "reverse_kd": case("reverse_kd", "oa"),
    "reverse_kd of a masked teacher": case("reverse_kd", "m", gradient=False),
    "noevo": case("noevo", "ow"),
    "skew": case("skew", "ow"),
    "skew_teacher": case("skew_teacher", "ow"),
    "self_evolution": case("self_evolution", "oaw"),
    "topk": case("self_evolution_topk", "oa", hard=[False, True]),
    "inverted": case("self_evolution", "oaw", gate="inverted"),
    "vouched": case("self_evolution", "oaw", gate="vouched"),
    "vouched, by entropy": case("self_evolution", "oossaaw", gate="vouched", doubt=0.0, gamma=1.0),
    "word_kd": case("word_kd", "ow"),
    "word_kd of a masked teacher": case("word_kd", "m", gradient=False),
    "skl": case("skl", "ow"),
    # Ends of the settings.
    "lam 0": case("self_evolution", "o", lam=0.0),
    "lam 0 reverse": case("reverse_kd", "o", lam=0.0),
    "lam 0 skew_teacher": case("skew_teacher", "m", lam=0.0),
    "alpha 0": case("word_kd", "o", alpha=0.0),
    "alpha 1": case("word_kd", "w", alpha=1.0),
    "skl, alpha 0": case("skl", "o", alpha=0.0),
    "skl, alpha 1": case("skl", "o", alpha=1.0),
    "lam 1": case("self_evolution", "m", lam=1.0),
    "lam 1 noevo": case("noevo", "m", lam=1.0),
    "lam 1 reverse": case("reverse_kd", "o", lam=1.0),
    "beta 0": case("skew", "o", beta=0.0),
    "beta 1": case("self_evolution", "w", beta=1.0),
    "beta 1 skew_teacher": case("skew_teacher", "w", beta=1.0),
    "beta almost 1": case("skew", "w", beta=0.999),
    "gamma 0": case("self_evolution", "a", gamma=0.0),
    "gamma inf": case("self_evolution", "w", gamma=inf),
    # Sizes, magnitudes, precision, scale and cap.
    "no rows": case("self_evolution", ""),
    "two entries": case("self_evolution", "oa", size=2),
    "whole tiles in wide rows": case("self_evolution", "o", size=16, stride=24),
    "full vocabulary": case("self_evolution_topk", "oo", 151_936, (2048, 8), hard=[True, False]),
    "large logits": case("self_evolution", "l", gamma=inf),
    "large logits reversed": case("reverse_kd", "l"),
    "scaled": case("noevo", "o", scale=2.5),
    "bfloat16": case("self_evolution", "oaw", types="bb"),
    "half": case("skew", "o", types="hf", scale=0.5),
    "capped": case("self_evolution", "oa", cap=20.0, scale=0.9),
    "capped reverse": case("reverse_kd", "o", cap=6.0),
    "capped bfloat16": case("skew_teacher", "o", types="bb", cap=6.0),
}
PRECISION = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 4e-3}
"""Twice 2e-3 for bfloat16: the interpreter cuts digits off where a GPU rounds to the nearest."""
NUMBERS = ("lam", "share", "beta", "gamma", "doubt", "reference", "kl_weight", "scale", "cap")
DTYPES = {"f": torch.float32, "b": torch.bfloat16, "h": torch.float16}


def inputs(name):
    """Student, teacher, labels, weights, hard of a case, the same in each process."""
    what = CASES[name]
    generator = torch.Generator().manual_seed(len(name))
    n, size = len(what["rows"]), what["size"]
    student = 3 * torch.randn(n, what["stride"], generator=generator)
    teacher = 3 * torch.randn(n, size, generator=generator)
    labels = torch.randint(0, size, (n,), generator=generator)
    for row, kind in enumerate(what["rows"]):
        label = int(labels[row])
        other = (label + 1) % size
        if kind == "a":  # agrees with a teacher who is right: an easy token
            teacher[row, label] = 9
            student[row, :size] = teacher[row] + 0.2 * student[row, :size]
        if kind == "w":  # q is 0 in float32 all over but at a wrong token
            student[row, other] += 200
        if kind in "wm":  # the first tile without any mass
            teacher[row, : size // 2] = -inf
            teacher[row, other if kind == "m" else label] = 1.0
        if kind == "l":
            student[row, :size] = 40 * student[row, :size] - 500
            teacher[row] = 40 * teacher[row] + 700
    weights = torch.rand(n, generator=generator) + 0.5
    own, known = what["types"]
    hard = what["given"].get("hard")
    return (
        student.to(DTYPES[own])[:, :size],
        None if known == "-" else teacher.to(DTYPES[known]),
        labels,
        weights if what["weighted"] else None,
        None if hard is None else torch.tensor(hard),
    )


def reference(name):
    """The case by objectives.py and autograd, in float64."""
    what = CASES[name]
    student, teacher, labels, weights, hard = inputs(name)
    given = what["given"]
    raw = student.double().requires_grad_()
    z = raw * given.get("scale", 1.0)
    if "cap" in given:
        z = given["cap"] * torch.tanh(z / given["cap"])
    settings = objective_settings(what["objective"], **what["settings"])
    known = None if teacher is None else teacher.double()
    selection = None if hard is None else Selection(hard, float(hard.double().mean()))
    tokens = Tokens(z, known, labels, settings, selection)
    loss = LOSSES[what["objective"]](tokens)
    (loss if weights is None else loss * weights).sum().backward()
    found = {"loss": loss.detach(), "nll": tokens.nll.detach(), "gradient": raw.grad}
    if teacher is not None:
        found["difficulty"] = tokens.difficulty.detach()
        found["teacher_nll"] = tokens.teacher_nll
        found["hard"] = tokens.hard()
    if given.get("gradient", True):
        found["gradient_norm"] = raw.grad.norm(dim=1)
    return found


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Without a GPU, also where there is one: the interpreter's tensors are the CPU's."""
    folder = tmp_path_factory.mktemp("interpreted")
    return in_process("interpret", folder, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    return in_process("compile", folder, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(folder))


def in_process(task, folder, **environment):
    command = [sys.executable, __file__, task, str(folder / "found.pt")]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, interpreted):
    expected, found = reference(name), interpreted[name]
    assert found.keys() == expected.keys()
    student = inputs(name)[0]
    if not CASES[name]["given"].get("gradient", True):
        assert torch.equal(found["gradient"], student)
    else:
        error = (found["gradient"].double() - expected["gradient"]).norm()
        assert error <= PRECISION[student.dtype] * expected["gradient"].norm() + 1e-30
    for key in found.keys() - {"gradient", "hard"}:
        torch.testing.assert_close(
            found[key].double(), expected[key], rtol=1e-5, atol=1e-6, equal_nan=False
        )
    if "hard" in expected:
        assert torch.equal(found["hard"], expected["hard"])


def test_cases_have_easy_and_hard_tokens():
    gates = [reference(name)["hard"] for name in ("self_evolution", "bfloat16", "capped")]
    assert [gate.tolist() for gate in gates] == [[True, False, True]] * 2 + [[True, False]]


def test_padding_of_rows_is_left_alone(interpreted):
    assert interpreted["padding is left alone"]


# objective, types, capped, weighted, hard given, gradient, sizes that are a multiple of 16
BUILDS = {
    "self_evolution": ("self_evolution", "bb", False, True, False, True, True),
    "odd vocabulary": ("skew_teacher", "hb", True, False, True, True, False),
    "reverse_kd": ("reverse_kd", "ff", False, True, False, True, True),
    "only difficulties": ("noevo", "fb", False, False, False, False, True),
    "sft": ("sft", "b-", False, True, False, True, True),
    "word_kd": ("word_kd", "bb", False, True, False, True, True),
}


@pytest.mark.parametrize("name", BUILDS)
def test_compiles_for_a_gpu(name, compiled):
    """Logits are read and written 16 bytes at a time, also where the vocabulary's size is odd; no
    shared memory is needed but to let the warps meet."""
    code, shared = compiled[name]
    objective, types, _, _, _, gradient, _ = BUILDS[name]
    readings = 1 + gradient + (objective in ("self_evolution", "skew", "skew_teacher"))
    tensors = len(types) - types.count("-") - (types == "fb")  # as many entries of b are 8 bytes
    wide = [line for line in code.splitlines() if ".v4.b32" in line]
    assert sum("ld.global" in line for line in wide) >= readings * tensors
    assert sum("st.global" in line for line in wide) >= gradient
    assert ("cvt.rn.bf16x2.f32" in code) == (types[0] == "b" and gradient)  # to the nearest
    assert shared <= 4 * 32


def interpret():
    found = {}
    for name, what in CASES.items():
        student, teacher, labels, weights, hard = inputs(name)
        whole = student._base if student._base is not None else student
        padding = whole[:, what["size"] :].clone()
        tile = rows_in_triton.Tile(*what["tile"], 1)
        rows_in_triton.tile_for = lambda size, bytes_each, tile=tile: tile
        settings = objective_settings(what["objective"], **what["settings"])
        form = closed_form(what["objective"], settings, preselected=hard is not None)
        head = {key: what["given"][key] for key in ("scale", "cap") if key in what["given"]}
        chunk = LogitChunk(student, teacher, labels, weights=weights, hard=hard, **head)
        stats = rows_in_triton.row_pass(form, chunk, what["given"].get("gradient", True))
        found[name] = {key: value for key, value in vars(stats).items() if value is not None}
        found[name]["gradient"] = student.clone()
        if padding.numel():
            found["padding is left alone"] = torch.equal(whole[:, what["size"] :], padding)
    return found


def compile_all():
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = {"f": "fp32", "b": "bf16", "h": "fp16", "-": "bf16"}
    kernel = rows_in_triton._row_kernel()
    found = {}
    for name, (objective, types, capped, weighted, given, gradient, round_size) in BUILDS.items():
        tile = rows_in_triton.tile_for(32_000, DTYPES[types[0]].itemsize)
        pointers = {
            "students": names[types[0]],
            "teachers": names[types[1]],
            "labels": "i64",
            "weights": "fp32",
            "gates": "u8",
            "columns": "fp32",
        }
        form = closed_form(objective, objective_settings(objective), preselected=given)
        known = {
            "FORM": form.form,
            "LOSS": form.loss,
            "TAKERS": form.takers,
            "TEACHER": types[1] != "-",
            "TAUGHT": form.share > 0,
            "WEIGHTED": weighted,
            "PRESELECTED": given,
            "CAPPED": capped,
            "GRADIENT": gradient,
            "LANES": tile.lanes,
            "GROUP": tile.group,
        }
        signature = {key: f"*{kind}" for key, kind in pointers.items()}
        signature |= dict.fromkeys(("student_stride", "teacher_stride", "count", "size"), "i32")
        signature |= dict.fromkeys(NUMBERS, "fp32")
        signature |= dict.fromkeys(known, "constexpr")
        aligned = {*pointers, "student_stride", "teacher_stride"}
        aligned |= {"size"} if round_size else set()
        source = ASTSource(
            kernel,
            signature,
            {(list(signature).index(key),): value for key, value in known.items()},
            {
                (index,): [["tt.divisibility", 16]]
                for index, key in enumerate(signature)
                if key in aligned
            },
        )
        built = triton.compile(
            source,
            target=GPUTarget("cuda", 90, 32),
            options={"num_warps": tile.warps, "enable_fp_fusion": True},
        )
        found[name] = (built.asm["ptx"], built.metadata.shared)
    return found


if __name__ == "__main__":
    torch.save({"interpret": interpret, "compile": compile_all}[sys.argv[1]](), Path(sys.argv[2]))
