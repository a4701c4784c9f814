"""Writes CT series and RTSTRUCTs with a synthetic identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.io.volumes import Roi


@dataclass(frozen=True)
class Identity:
    """The synthetic patient of a set of files.

    Attributes:
        seed: all UIDs follow from it, so that files of one seed refer to one another.
        name: PatientName and PatientID.
    """

    seed: int = 0
    name: str = "PHANTOM"


def write_ct_series(
    folder: Path,
    hu: np.ndarray,
    grid: Grid,
    *,
    identity: Identity | None = None,
    position: str = "HFS",
    percent: float | None = None,
) -> str:
    """Writes a volume as one CT series; returns its SeriesInstanceUID.

    Args:
        folder: takes one file a slice.
        hu: `[Z, Y, X]` along LPS axes; rounded to whole HU.
        grid: LPS mm.
        identity: of the patient.
        position: HFS, FFS, HFP, FFP or one of the four decubitus positions.
        percent: breathing phase, written as SeriesDescription "NN%".
    """
    raise NotImplementedError


def write_rtstruct(
    path: Path,
    rois: Sequence[Roi],
    *,
    identity: Identity | None = None,
    percent: float | None = None,
) -> None:
    """Writes ROIs as an RTSTRUCT that refers to a series of `write_ct_series`."""
    raise NotImplementedError


def mask_contours(
    share: np.ndarray, grid: Grid, *, level: float = 0.5
) -> tuple[np.ndarray, ...]:
    """Returns the contours of a mask in each of its slices, each `[N, 3]` LPS mm."""
    raise NotImplementedError


POSITIONS: Mapping[str, tuple[float, ...]] = {}
