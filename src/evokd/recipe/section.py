"""What all parts of a recipe have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the recipe that refuses keys it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def known_keys(cls) -> dict[str, Any]:
        """What may stand in it, in a recipe, with its type."""
        return {key: field.annotation for key, field in cls.model_fields.items()}


def as_list(value: Any) -> list[Any]:
    """A single value stands for a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_mappings(value: Any, key: str) -> list[Any]:
    """A list of mappings, in which a bare word stands for a mapping with that `key` alone."""
    return [{key: each} if isinstance(each, str) else each for each in as_list(value)]
