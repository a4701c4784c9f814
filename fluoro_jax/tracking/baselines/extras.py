"""Optional libraries of the classical trackers, and the check of their forms."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any

from fluoro_jax.errors import UserError, refuse

EXTRA = "classical"  # of pyproject.toml
PACKAGES = {"cv2": "opencv-python-headless", "optimistix": "optimistix"}


def optional(module: str) -> Any:
    """Returns an optional module of the extra [classical].

    Args:
        module: one of `PACKAGES`.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"this tracker needs {PACKAGES[module]}, not installed",
            needed=f"the extra [{EXTRA}]",
            why="classical trackers use well-kept libraries for matching and fitting",
            fix=f"pip install 'fluoro_jax[{EXTRA}]'",
        ) from error


def check_form(name: str, value: str, known: Collection[str]) -> None:
    """Refuses a form that a tracker does not have.

    Raises:
        UserError: if `value` is none of `known`.
    """
    if value not in known:
        refuse(
            f"{name} = {value!r}",
            "one of " + ", ".join(known),
            why="the tracker has these forms",
            fix=f"correct {name}",
        )
