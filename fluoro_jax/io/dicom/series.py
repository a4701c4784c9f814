"""CT and 4DCT from a folder as clinics export it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fluoro_jax.io.volumes import CtPhase, FourDCt


@dataclass(frozen=True)
class Assumed:
    """What to take where a file says nothing; every use is noted in `sources`.

    Attributes:
        spacing_mm: (x, y, z) of images without geometry (secondary captures); their
            frames are taken as axial slices from inferior to superior.
        intercept: HU of a stored value of 0 where RescaleIntercept is missing.
    """

    spacing_mm: tuple[float, float, float] | None = None
    intercept: float | None = None


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, from headers alone.

    Attributes:
        uid: SeriesInstanceUID.
        kind: "ct", "average", "mip", "localizer" or the Modality ("RTSTRUCT", ...).
        description: SeriesDescription.
        files: its files, sorted by name.
        percent: breathing phase, if any is named.
        percent_source: tag or override that names it; empty if none.
        frame_uid: FrameOfReferenceUID.
    """

    uid: str
    kind: str
    description: str
    files: tuple[Path, ...]
    percent: float | None = None
    percent_source: str = ""
    frame_uid: str = ""


def list_series(
    folder: Path, *, phases: Mapping[str, float] | None = None
) -> tuple[SeriesInfo, ...]:
    """Lists the DICOM series in a folder and its subfolders.

    Args:
        folder: may hold other files too; they are skipped.
        phases: override; per cent of the breath by SeriesInstanceUID,
            SeriesDescription, or name of the series' only file.

    Raises:
        UserError: no such folder, no DICOM file in it, or no pydicom.
    """
    raise NotImplementedError


def read_series_ct(
    folder: Path, *, series: str = "", assumed: Assumed | None = None
) -> CtPhase:
    """Reads one CT series of a folder.

    Args:
        folder: as of `list_series`; or one multi-frame file.
        series: SeriesInstanceUID, SeriesDescription or file name; empty where the
            folder holds one CT series.
        assumed: what to take where the files say nothing.

    Raises:
        UserError: no or several CT series, or slices that make no whole volume.
    """
    raise NotImplementedError


def read_4dct(
    folder: Path,
    *,
    phases: Mapping[str, float] | None = None,
    assumed: Assumed | None = None,
) -> FourDCt:
    """Reads the phases of a 4DCT; averages and MIPs are set aside.

    Args:
        folder: as of `list_series`.
        phases: override, as of `list_series`; where given, no other series is used.
        assumed: what to take where the files say nothing.

    Raises:
        UserError: fewer than three phases, one missing or twice, or phases that differ
            in frame of reference, size or spacing.
    """
    raise NotImplementedError
