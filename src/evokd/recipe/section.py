"""What all parts of a recipe have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the recipe that refuses keys it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def known_keys(cls) -> list[str]:
        """What may stand in it, in a recipe."""
        return list(cls.model_fields)


def as_list(value: Any) -> Any:
    """A single value stands for a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
