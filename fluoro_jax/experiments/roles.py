"""Defines the fields by which tables select the parts of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fluoro_jax.choices import choices_caption

__all__ = ["FIELDS", "RECIPES", "ROLES", "SECTIONS", "choices_caption", "select"]

T = TypeVar("T")
SECTIONS = (
    *("group", "riding", "subgroup", "patient"),
    *("transfer", "held_out", "ablation"),
)
ROLES = {"subgroup": ("scratch", "finetuned")}  # elsewhere any word, in ablations a row
RECIPES = ("ours", "published")
FIELDS = ("title", "paper", "section", "role", "recipe", "of")  # words of the plan


def select(parts: Mapping[str, T], **fields: str) -> dict[str, T]:
    """Returns the parts or records whose fields have these values, in their order.

    Args:
        parts: by name; `plan.Part` or records.
        fields: as in `section="subgroup", role="scratch"`; see `FIELDS`.

    Raises:
        KeyError: for a field or section that there is none of, so that a misspelt one
            does not lose its table.
    """
    unknown = [name for name in fields if name not in FIELDS]
    if unknown or fields.get("section", "group") not in SECTIONS:
        raise KeyError(f"{fields}: no such field or section of a plan's parts")
    fits = lambda part: all(_read(part, name) == v for name, v in fields.items())
    return {name: part for name, part in parts.items() if fits(part)}


def _read(part: Any, field: str) -> Any:
    return part[field] if isinstance(part, Mapping) else getattr(part, field)
