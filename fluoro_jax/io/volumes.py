"""What readers of volumes and contours return, whatever the file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fluoro_jax.geometry import Grid


@dataclass(frozen=True)
class CtPhase:
    """One CT volume along LPS axes: a static CT, or one phase of a 4DCT.

    Attributes:
        hu: `[Z, Y, X]` float32 Hounsfield units, axes along +z, +y, +x (LPS).
        grid: where the voxels are, LPS mm of the file's frame of reference; spacing
            positive.
        affine: `[4, 4]` from voxel indices (column, row, slice, 1) as stored in the
            file to LPS mm.
        slices_mm: `[N]` rising positions of the stored slices along their normal, mm.
        frame_uid: FrameOfReferenceUID; empty where the file has none.
        series_uid: SeriesInstanceUID; empty where the file has none.
        percent: of the breathing cycle; None for a static CT.
        sources: where each number came from, by name; also says what was resampled,
            assumed or left out.
    """

    hu: np.ndarray
    grid: Grid
    affine: np.ndarray
    slices_mm: np.ndarray
    frame_uid: str = ""
    series_uid: str = ""
    percent: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FourDCt:
    """The phases of a 4DCT on one grid.

    Attributes:
        phases: rising `percent`, at least three, all of one grid and frame of
            reference.
        sources: how the phases were found, and which series were set aside.
    """

    phases: tuple[CtPhase, ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def percents(self) -> np.ndarray:
        """Phases as per cent of the breathing cycle, `[P]`, rising."""
        return np.array([phase.percent for phase in self.phases], float)

    @property
    def grid(self) -> Grid:
        """The grid that all phases share."""
        return self.phases[0].grid

    def index_of(self, series_uid: str) -> int | None:
        """Returns which phase a series is, or None if it is none of them."""
        uids = [phase.series_uid for phase in self.phases]
        return uids.index(series_uid) if series_uid and series_uid in uids else None


@dataclass(frozen=True)
class Roi:
    """One region of interest as planar contours.

    Attributes:
        name: as in the file.
        contours_mm: closed polygons, each `[N, 3]` LPS mm with N >= 3; where several
            lie in one plane, their inside is by XOR, so that holes are holes.
        spacing_mm: distance of the planes that the contours were drawn on; 0 unknown.
        frame_uid: FrameOfReferenceUID; empty where the file has none.
        series_uid: of the CT series it was drawn on; empty where unknown.
        points_mm: `[N, 3]` single points (type POINT), LPS mm.
        sources: file, ROI number, what was left out or moved to a slice.
    """

    name: str
    contours_mm: tuple[np.ndarray, ...]
    spacing_mm: float = 0.0
    frame_uid: str = ""
    series_uid: str = ""
    points_mm: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    sources: Mapping[str, str] = field(default_factory=dict)
