"""All sentence patterns of the phrasebook, in their order."""

from __future__ import annotations

from grammar import describing, eating, living, shopping, staying, travelling, weather
from grammar.words import Pattern

PATTERNS: tuple[Pattern, ...] = (
    *shopping.PATTERNS,
    *travelling.PATTERNS,
    *eating.PATTERNS,
    *staying.PATTERNS,
    *living.PATTERNS,
    *weather.PATTERNS,
    *describing.PATTERNS,
)
