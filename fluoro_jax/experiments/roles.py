"""Selects parts and records by their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def select(items: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Returns the parts or records whose fields have these values, in order."""
    read = lambda item, name: (
        item.get(name) if isinstance(item, Mapping) else getattr(item, name)
    )
    return {
        key: item
        for key, item in items.items()
        if all(read(item, name) == wanted for name, wanted in fields.items())
    }
