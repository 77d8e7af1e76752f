"""Parts of methods that lost in every study (docs/results.md), kept for whoever wants to try again.

A package of its own beside evokd, loaded as a plugin would be: rows are registered here, without
torch, and a module is imported where a recipe asks for it.
"""

from __future__ import annotations

from pydantic import Field

from evokd.recipe.objectives import BETA_RULES, PAIR_WEIGHTS, Extra
from evokd.recipe.section import Section


class CompetenceSettings(Section):
    """Weights of pairs from how well the student translates them: our analogue of PACED (Xu et al.
    2026), which takes pass rates of verified answers. A sampled translation passes where its chrF
    against the reference is at least `threshold`; with the pass rate r a pair weighs r^a (1 − r)^b,
    scaled to a mean of 1."""

    threshold: float = Field(default=50.0, ge=0, le=100)
    samples: int = Field(default=4, ge=1)
    a: float = Field(default=1.0, ge=0)
    b: float = Field(default=1.0, ge=0)


BETA_RULES["network"] = Extra("evokd_extras.beta_network")
PAIR_WEIGHTS["competence"] = Extra("evokd_extras.competence", CompetenceSettings)
