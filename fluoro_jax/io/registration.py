"""Deformable registration of two volumes by SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluoro_jax.geometry import Grid


@dataclass(frozen=True)
class Registration:
    """How tissue moves from a fixed to a moving volume.

    Attributes:
        field_mm: `[3, Z, Y, X]` (x, y, z) LPS mm; tissue at a place of the fixed
            volume is at place + field in the moving one.
        grid: of the field.
        before_hu: root mean square difference before.
        after_hu: the same after.
    """

    field_mm: np.ndarray
    grid: Grid
    before_hu: float
    after_hu: float


def register(
    fixed: np.ndarray,
    moving: np.ndarray,
    grid: Grid,
    *,
    spacing_mm: float = 3.0,
    iterations: int = 60,
) -> Registration:
    """Registers two volumes of one grid (HU `[Z, Y, X]`) by diffeomorphic demons."""
    raise NotImplementedError
