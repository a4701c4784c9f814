"""The form of a row in the tables of bad inputs (`tests/bad_inputs/bad_*.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bad:
    """One bad input and what the user must be told.

    Attributes:
        name: what is wrong, as a test id.
        call: uses the input, given an empty folder; must raise `UserError`.
        says: words that the four lines must hold.
    """

    name: str
    call: Callable[[Path], object]
    says: tuple[str, ...] = ()
