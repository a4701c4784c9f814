"""RTSTRUCT: the contours of every ROI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fluoro_jax.io.volumes import CtPhase, FourDCt, Roi


@dataclass(frozen=True)
class StructureSet:
    """All ROIs of a file.

    Attributes:
        rois: in the file's order; those without contours are listed too.
        path: of the file.
        label: StructureSetLabel.
    """

    rois: tuple[Roi, ...]
    path: Path
    label: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all ROIs, in the file's order."""
        return tuple(roi.name for roi in self.rois)

    def roi(self, name: str) -> Roi:
        """Returns the ROI of this name (case and outer spaces do not count).

        Raises:
            UserError: no such ROI, several, or one without closed contours; lists the
                names and suggests the nearest.
        """
        raise NotImplementedError


def read_rtstruct(path: Path, *, ct: CtPhase | None = None) -> StructureSet:
    """Reads an RTSTRUCT file.

    Args:
        path: of the file, or of a folder that holds one RTSTRUCT.
        ct: the CT (or any phase) it belongs to. Contours are then moved to the nearest
            of its slices; a ROI of another frame of reference is refused.

    Raises:
        UserError: no RTSTRUCT, a damaged one, another frame of reference, contours
            further than half a slice from any slice; no pydicom.
    """
    raise NotImplementedError


def rois_by_phase(
    folder: Path, name: str, four_d: FourDCt, *, reference: int | None = None
) -> dict[int, Roi]:
    """Returns a ROI by phase: of each phase's own RTSTRUCT, or of a reference phase.

    Args:
        folder: an RTSTRUCT file, or a folder that holds one or several.
        name: of the ROI.
        four_d: the phases.
        reference: phase of an RTSTRUCT that refers to none of the phases' series (as
            drawn on the average); None refuses it.

    Returns:
        At least one entry, keys are indices into `four_d.phases`.
    """
    raise NotImplementedError
