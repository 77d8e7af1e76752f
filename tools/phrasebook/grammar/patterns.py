"""All sentence patterns of the phrasebook, in their order."""

from __future__ import annotations

from grammar import (
    describing,
    eating,
    learning,
    living,
    saying,
    shopping,
    staying,
    travelling,
    weather,
)
from grammar.words import Pattern

PATTERNS: tuple[Pattern, ...] = (
    *shopping.PATTERNS,
    *travelling.PATTERNS,
    *eating.PATTERNS,
    *staying.PATTERNS,
    *living.PATTERNS,
    *saying.PATTERNS,
    *weather.PATTERNS,
    *describing.PATTERNS,
    *learning.PATTERNS,
)
