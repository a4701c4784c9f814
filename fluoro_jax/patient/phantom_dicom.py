"""A simulated patient as DICOM: ten CT phases, contours, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.geometry import Grid


@dataclass(frozen=True)
class PhantomTruth:
    """What is true of a written phantom.

    Attributes:
        percents: `[P]` of the breathing cycle.
        centres_mm: `[P, 3]` centroid of the tumour, LPS mm of the files.
        volume_ml: of the tumour.
        isocentre_mm: `[3]` LPS mm of the files.
        grid: of the CT.
    """

    percents: np.ndarray
    centres_mm: np.ndarray
    volume_ml: float
    isocentre_mm: np.ndarray
    grid: Grid


def write_phantom(
    folder: Path,
    case: Any,
    *,
    phases: int = 10,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 2.5),
    position: str = "HFS",
    voxel_mm: float = 2.5,
    isocentre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> PhantomTruth:
    """Writes `folder/ct/NN/*.dcm` and `folder/rtstruct/NN.dcm` of a simulated case."""
    raise NotImplementedError
