"""Imports of the optional libraries of the classical trackers."""

from __future__ import annotations

import importlib
from typing import Any

from fluoro_jax.errors import UserError

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
