"""Motion between the phases of a 4DCT, and volumes at any breathing position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.io.volumes import FourDCt


@dataclass(frozen=True)
class PhaseMotion:
    """Displacements from a reference phase to every phase.

    Attributes:
        percents: `[P]` of the breathing cycle, rising.
        reference: index of the phase that displacements start from.
        fields_mm: `[P, 3, Z, Y, X]` (x, y, z) LPS mm on `grid`; zero at `reference`.
        grid: of the fields, coarser than the CT's.
        before_hu: `[P]` root mean square difference from the reference, unregistered.
        after_hu: `[P]` the same after registration.
        inverse_mm: `[P]` 95th percentile of |forward + backward| displacement.
    """

    percents: np.ndarray
    reference: int
    fields_mm: np.ndarray
    grid: Grid
    before_hu: np.ndarray
    after_hu: np.ndarray
    inverse_mm: np.ndarray


def register_phases(
    four_d: FourDCt, *, reference: int = 0, spacing_mm: float = 3.0
) -> PhaseMotion:
    """Registers every phase to the reference phase."""
    raise NotImplementedError


def field_at(motion: PhaseMotion, percent: float, *, amplitude: float = 1.0) -> Any:
    """Returns the displacement at any moment of the cycle, `[3, Z, Y, X]` LPS mm.

    Args:
        motion: of `register_phases`.
        percent: of the cycle, any real number (periodic).
        amplitude: factor on the displacement from the reference phase, 0 to
            1.5; 1 is as scanned.
    """
    raise NotImplementedError


def move_points(motion: PhaseMotion, points_mm: Any, field_mm: Any) -> np.ndarray:
    """Returns where points `[N, 3]` LPS mm of the reference phase are, mm."""
    raise NotImplementedError


def volume_at(hu: np.ndarray, grid: Grid, motion: PhaseMotion, field_mm: Any) -> Any:
    """Returns the reference volume deformed by a displacement, HU `[Z, Y, X]`."""
    raise NotImplementedError
