"""A run folder as a study leaves it, made of plausible invented numbers; needs no model."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

from evokd.evaluate.comparison import gap_closed, summarise

DIRECTIONS = ("en-de", "de-en")
OBJECTIVES = ("sft", "forward_kd", "noevo", "skew", "self_evolution")
BLEU = {
    "teacher": (25.4, 28.1),
    "sft": (20.3, 23.9),
    "forward_kd": (22.1, 25.8),
    "noevo": (22.3, 25.7),
    "skew": (22.0, 25.4),
    "self_evolution": (23.4, 26.9),
}
SENTENCES = {
    "en-de": [
        (
            "A man in an old hat is looking at something on the far side of the market square.",
            "Ein Mann mit einem alten Hut schaut auf etwas auf der anderen Seite des Marktplatzes.",
            "Ein Mann mit altem Hut schaut auf etwas auf der anderen Seite des Marktplatzes.",
            "Ein Mann in einem alten Hut sieht sich etwas auf dem Markt an.",
        ),
        (
            "Five people in winter jackets stand in the snow beside a snowmobile.",
            "Fünf Leute in Winterjacken stehen neben einem Schneemobil im Schnee.",
            "Fünf Leute in Winterjacken stehen im Schnee neben einem Schneemobil.",
            "Fünf Menschen in Winterkleidung stehen im Schnee bei einem Motorrad.",
        ),
        (
            "The dog leaps over the low fence.",
            "Der Hund springt über den niedrigen Zaun.",
            "Der Hund springt über den niedrigen Zaun.",
            "Der Hund springt über die Zaun.",
        ),
    ],
    "de-en": [
        (
            "Zwei Kinder spielen <script>alert('x')</script> am Strand.",
            "Two children are playing <script>alert('x')</script> on the beach.",
            "Two children are playing <script>alert('x')</script> at the beach.",
            "Two kids play on a beach.",
        ),
        (
            "Die Lehrerin erklärt der Klasse & dem Direktor die Aufgabe.",
            "The teacher explains the task to the class & the headmaster.",
            "The teacher explains the task to the class & the director.",
            "The teacher is explaining to a class the task.",
        ),
        (
            "Eine Frau liest im Zug eine Zeitung.",
            "A woman is reading a newspaper on the train.",
            "A woman is reading a newspaper in the train.",
            "A woman reads a newspaper on the train.",
        ),
    ],
}
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"
PAIRED = "nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"
CHRF = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.5.1"


def make_results(
    seeds: tuple[int, ...] = (1,),
    directions: tuple[str, ...] = DIRECTIONS,
    objectives: tuple[str, ...] = OBJECTIVES,
    baseline: str | None = "forward_kd",
    teacher: bool = True,
) -> dict[str, Any]:
    """The results dict of a study on one test set."""
    draw = random.Random(4)
    runs: list[tuple[str, int | None]] = [("teacher", None)] if teacher else []
    runs += [(name, seed) for name in objectives for seed in seeds]
    scores = []
    for name, seed in runs:
        for i, direction in enumerate(directions):
            wobble = draw.gauss(0, 0.25) if len(seeds) > 1 and seed is not None else 0.0
            bleu = BLEU[name][i] + wobble
            rows = [
                ("bleu", bleu, SIGNATURE),
                ("chrf", 27 + bleu + draw.gauss(0, 0.1), CHRF),
            ]
            if name != "teacher" and teacher:
                rows.append(("bleu_vs_teacher", bleu * 1.6, SIGNATURE))
            for metric, score, signature in rows:
                scores.append(
                    {
                        "system": name,
                        "seed": seed,
                        "test_set": "flickr2016",
                        "direction": direction,
                        "metric": metric,
                        "score": score,
                        "signature": signature,
                    }
                )
    return {
        "evokd": "0.1.0",
        "name": "multi30k",
        "title": "Distilling a 4 M translator into 0.9 M",
        "created": "2026-03-02T14:05:00+00:00",
        "directions": list(directions),
        "baseline": baseline,
        "seeds": list(seeds),
        "systems": [_system(name, seed, draw) for name, seed in runs],
        "scores": scores,
        "comparisons": _comparisons(scores, baseline),
        "summary": summarise(scores),
        "gap_closed": gap_closed(scores),
        "behaviour": [
            _labels(row)
            | {
                "segments": 1000,
                "empty": 0,
                "copied": draw.randrange(3),
                "over_long": draw.randrange(4),
                "cut_off": draw.randrange(3),
                "repeated": draw.randrange(9),
                "length_ratio": draw.gauss(0.98, 0.02),
                "lines": {},
            }
            for row in scores
            if row["metric"] == "bleu"
        ],
        "speed": [
            _labels(row)
            | {
                "words_per_s": 310.0 if row["system"] == "teacher" else draw.gauss(840, 20),
                "seconds": 14.2,
                "batch_size": 64,
                "dtype": "float32",
                "device": "cpu",
            }
            for row in scores
            if row["metric"] == "bleu"
        ],
        "examples": [
            {
                "test_set": "flickr2016",
                "direction": direction,
                "line": 1 + 7 * i,
                "source": source,
                "reference": reference,
                "translations": {
                    name: good if name in ("teacher", "self_evolution") else poor
                    for name, _ in dict(runs).items()
                },
            }
            for direction in directions
            for i, (source, reference, good, poor) in enumerate(SENTENCES[direction])
        ],
        "cleaning": {
            "read": 58000,
            "kept": 57418,
            "repaired": 31,
            "reasons": {
                "duplicate": {"count": 424, "examples": []},
                "length_ratio": {
                    "count": 82,
                    "examples": [
                        {
                            "origin": "train:17",
                            "source": "Yes.",
                            "target": "Ja, das ist in der Tat ganz genau so richtig <b>!",
                        }
                    ],
                },
                "test_leak": {
                    "count": 76,
                    "examples": [
                        {"origin": "train:90", "source": "A dog runs.", "target": "Ein Hund rennt."}
                    ],
                },
            },
            "warnings": {"number_mismatch": {"count": 210, "examples": []}},
            "notes": [],
        },
        "teacher_text": {
            "nearest": {
                **{"beam": 5, "candidates": 5, "sentences": 36912, "tokens": 2_190_120},
                **{"mass_of_best": 5.25, "bleu_of_best": 30.41, "bleu_of_nearest": 36.92},
                "sifted": {
                    **{"read": 57418, "kept": 57310, "repaired": 0, "warnings": {}},
                    "reasons": {
                        "looping": {
                            "count": 108,
                            "examples": [
                                {
                                    "origin": "train:90",
                                    "source": "A dog runs & runs.",
                                    "target": "Ein Ein Ein Ein Ein Ein",
                                }
                            ],
                        }
                    },
                },
            }
        },
        "start": {"teacher_nll": 1.48, "student_nll": 2.61, "warm_start_steps": 450},
        "versions": {
            "evokd": "0.1.0",
            "python": "3.11.2",
            "torch": "2.7.0",
            "transformers": "5.0.1",
            "sacrebleu": "2.5.1",
            "platform": "Linux-6.1-x86_64",
            "cpu_count": 2,
            "device": "cpu",
        },
        "notes": [
            "self_evolution saw over 80 % of its tokens as hard until step 150; a larger gamma or "
            "a longer warm start may suit this student better."
        ],
    }


def small_results() -> dict[str, Any]:
    """One direction, round numbers."""
    bleu = {"teacher": 30.0, "forward_kd": 24.0, "sft": 20.0, "self_evolution": 25.5, "skew": 23.0}
    where = {"test_set": "news", "direction": "en-de", "metric": "bleu"}
    compared = {"sft": 0.001, "self_evolution": 0.01, "skew": 0.2, "teacher": 0.001}
    return {
        "directions": ["en-de"],
        "baseline": "forward_kd",
        "seeds": [1],
        "systems": [{"system": name, "objective": name, "seed": 1} for name in bleu],
        "scores": [
            {"system": name, "seed": 1, "score": score, "signature": "tok:13a", **where}
            for name, score in bleu.items()
        ],
        "summary": [
            {"system": name, "mean": score, "std": None, "seeds": 1, **where}
            for name, score in bleu.items()
        ],
        "comparisons": [
            {
                "system": name,
                "seed": 1,
                "baseline": "forward_kd",
                "delta": bleu[name] - 24.0,
                "p_value": p_value,
                "significant": p_value < 0.05,
                **where,
            }
            for name, p_value in compared.items()
        ],
        "gap_closed": [
            {"system": name, "seed": None, "value": (bleu[name] - 20) / 10, "reason": None, **where}
            for name in ("forward_kd", "self_evolution", "skew")
        ],
    }


def make_metrics(system: str, seed: int, steps: int = 600) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: a falling loss with noise, and a validation every 150 steps."""
    draw = random.Random(f"{system}.{seed}")
    floor = {"sft": 1.28, "forward_kd": 1.1, "noevo": 1.09, "skew": 1.17}.get(system, 1.13)
    lines = []
    for step in range(10, steps + 1, 10):
        value = floor + 0.75 * math.exp(-step / 220) + draw.gauss(0, 0.05)
        hard = min(1.0, max(0.0, 0.28 + 0.55 * math.exp(-step / 300) + draw.gauss(0, 0.02)))
        lines.append(
            {
                "step": step,
                "epoch": 3 * step / steps,
                "loss": value * 0.6,
                "learning_rate": 1e-3 * (1 - step / steps),
                "grad_norm": 0.8,
                "tokens_per_s": 13400.0,
                "noevo_loss": value,
                "student_nll": 1.6 + value,
                "teacher_nll": 1.5,
                "hard_share": hard,
                "mean_difficulty": value,
                "loss_share_hard": min(1.0, hard * 1.3),
                "loss_share_easy": max(0.0, 1 - hard * 1.3),
                "grad_share_hard": min(1.0, hard * 1.15),
                "grad_share_easy": max(0.0, 1 - hard * 1.15),
            }
        )
        if step % 150 == 0:
            lines.append({"step": step, "epoch": 3 * step / steps, "eval_loss": value * 0.61})
    return lines


def make_diagnostics(scale: float, seed: int = 1) -> dict[str, Any]:
    """diagnostics.json of a student whose difficulties are exponential with mean `scale`."""
    draw = random.Random(seed)
    edges: list[float | None] = [round(0.1 * i, 1) for i in range(31)]
    counts = [0] * 31
    values = [draw.expovariate(1 / scale) for _ in range(4000)]
    for value in values:
        counts[min(30, int(value / 0.1))] += 1
    sentences = []
    for direction, examples in SENTENCES.items():
        for source, reference, _, _ in examples:
            tokens = []
            for piece in _pieces(reference):
                difficulty = draw.expovariate(1 / scale)
                tokens.append(
                    {
                        "text": piece,
                        "difficulty": difficulty,
                        "hard": difficulty > 0.4,
                        "student_nll": 1.2 * difficulty + 0.1,
                        "teacher_nll": 0.5 * difficulty + 0.05,
                    }
                )
            sentences.append(
                {
                    "direction": direction,
                    "source": source,
                    "reference": reference,
                    "tokens": tokens,
                }
            )
    return {
        "gamma": 0.4,
        "tokens": len(values),
        "hard_share": sum(value > 0.4 for value in values) / len(values),
        "mean_difficulty": sum(values) / len(values),
        "student_nll": 2.1 * scale + 1,
        "teacher_nll": 1.48,
        "lost_mass": {"teacher": 0.0, "student": 0.0},
        "histogram": {"edges": [*edges, None], "counts": counts},
        "sentences": sentences,
    }


def make_sentences(
    seeds: tuple[int, ...] = (1,), count: int = 60, systems: tuple[str, ...] = OBJECTIVES
) -> list[dict[str, Any]]:
    """Lines of sentences.jsonl: each system is wrong in places of its own; self_evolution loops
    in lines 3 and 9, of its last seed in 12 as well."""
    references = [f"Satz {i} ist {'sehr ' * (i % 5)}gut." for i in range(1, count + 1)]
    sources = [f"Sentence {i} is {'very ' * (i % 5)}good." for i in range(1, count + 1)]
    outputs = []
    for number, name in enumerate(("teacher", *systems)):
        for seed in (None,) if name == "teacher" else seeds:
            step = 3 * number + (seed or 0)
            losses = [(i * step) % 53 if i % 4 == number % 4 else 0 for i in range(1, count + 1)]
            loops = [] if name != "self_evolution" else [3, 9, 12] if seed == seeds[-1] else [3, 9]
            outputs.append(
                {
                    "system": name,
                    "seed": seed,
                    "lines": [
                        line.replace("gut", "nicht gut") if loss else line
                        for line, loss in zip(references, losses, strict=True)
                    ],
                    "scores": {
                        "bleu": [100.0 - 1.2 * loss for loss in losses],
                        "chrf": [100.0 - loss for loss in losses],
                    },
                    "behaviour": {"repeated": loops} if loops else {},
                }
            )
    english = {"sources": sources, "references": [references], "outputs": outputs}
    german = {"sources": references, "references": [sources]}
    made = [
        {**one, "lines": [line.replace("Satz", "Sentence") for line in one["lines"]]}
        for one in outputs
    ]
    return [
        {"test_set": "flickr2016", "direction": "en-de", **english},
        {"test_set": "flickr2016", "direction": "de-en", **german, "outputs": made},
    ]


def make_run(folder: Path, seeds: tuple[int, ...] = (1,), **more: Any) -> Path:
    """A whole run folder; `more` goes to `make_results`."""
    results = make_results(seeds, **more)
    _write(folder / "results.json", json.dumps(results, ensure_ascii=False))
    recipe = {
        "name": "multi30k",
        "directions": results["directions"],
        "methods": [{"name": n, "objective": n} for n in OBJECTIVES],
        "seeds": list(seeds),
        "training": {"epochs": 3.0, "batch_size": 64, "learning_rate": 0.0015},
    }
    _write(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    lines = make_sentences(seeds, systems=more.get("objectives", OBJECTIVES))
    _write(folder / "sentences.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    _write(folder / "gate/diagnostics.json", json.dumps(make_diagnostics(1.1)))
    _write(
        folder / "start/manifest.json",
        json.dumps({"stage": "start", "wall_s": 95.0, "facts": {"warm_start_steps": 450}}),
    )
    _write(
        folder / "teacher/manifest.json",
        json.dumps({"stage": "teacher", "wall_s": 1620.0, "facts": {"steps": 937, "epochs": 3}}),
    )
    scale = {"sft": 0.8, "forward_kd": 0.55, "noevo": 0.55, "skew": 0.6, "self_evolution": 0.5}
    for system in results["systems"]:
        if system["seed"] is None:
            continue
        own = folder / "students" / f"{system['system']}.seed{system['seed']}"
        lines = make_metrics(system["system"], system["seed"])
        _write(own / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        found = make_diagnostics(scale[system["system"]], system["seed"])
        _write(own / "diagnostics.json", json.dumps(found))
    return folder


def _system(name: str, seed: int | None, draw: random.Random) -> dict[str, Any]:
    is_teacher = name == "teacher"
    return {
        "system": name,
        "seed": seed,
        "objective": "sft" if is_teacher else name,
        "settings": {}
        if is_teacher
        else {"lam": 0.5, "beta": 0.5, "gamma": 0.4, "top_percent": 50.0},
        "parameters": 4_100_000 if is_teacher else 920_000,
        "train_seconds": 1620.0 if is_teacher else draw.gauss(410, 20),
        "train_steps": 937 if is_teacher else 900,
        "tokens_per_s": 3050.0 if is_teacher else draw.gauss(13200, 300),
        "flops_per_s": 79.5e9 if is_teacher else 72.9e9,
        "mfu": 0.31 if is_teacher else None,
        "hard_share_start": None if is_teacher else 0.83,
        "hard_share_end": None if is_teacher else 0.31,
        "noevo_loss_end": None if is_teacher else 1.13,
    }


def _comparisons(scores: list[dict[str, Any]], baseline: str | None) -> list[dict[str, Any]]:
    found = {
        (r["system"], r["seed"], r["direction"], r["metric"]): r["score"]
        for r in scores
        if r["metric"] != "bleu_vs_teacher"
    }
    rows = []
    for (system, seed, direction, metric), score in found.items():
        for (other, other_seed, *cell), anchor in found.items():
            fits = seed in (None, other_seed) and cell == [direction, metric]
            if other != baseline or system == baseline or not fits:
                continue
            delta = score - anchor
            p_value = max(0.001, math.exp(-4.5 * abs(delta)))
            rows.append(
                {
                    "system": system,
                    "seed": other_seed,
                    "test_set": "flickr2016",
                    "direction": direction,
                    "baseline": baseline,
                    "metric": metric,
                    "score": score,
                    "baseline_score": anchor,
                    "delta": delta,
                    "p_value": p_value,
                    "significant": p_value < 0.05,
                    "signature": PAIRED if metric == "bleu" else CHRF,
                }
            )
    return rows


def _labels(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("system", "seed", "test_set", "direction")}


def _pieces(sentence: str) -> list[str]:
    """Something like subwords: words with the space before them, long ones cut in two."""
    pieces = []
    for i, word in enumerate(sentence.split(" ")):
        text = word if i == 0 else " " + word
        pieces += [text[:6], text[6:]] if len(text) > 8 else [text]
    return pieces


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
