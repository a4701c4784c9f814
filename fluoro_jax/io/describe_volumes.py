"""Says what a folder of CT series, contours and plans holds, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fluoro_jax.errors import UserError
from fluoro_jax.io.contours import volume_ml
from fluoro_jax.io.dicom.listing import SeriesInfo, list_series
from fluoro_jax.io.dicom.rtplan import read_isocentres
from fluoro_jax.io.dicom.rtstruct import read_rtstruct
from fluoro_jax.io.dicom.series import read_series_ct

MODALITIES = ("CT", "RTSTRUCT", "RTPLAN")


def describe_volumes(path: Path) -> dict[str, Any]:
    """Returns what CT series, structure sets and plans a path holds, ready for JSON.

    No description of a series is repeated: it may hold a name. Names of ROIs are.

    Args:
        path: a file, or a folder with its sub-folders.

    Raises:
        UserError: no DICOM file that can be read.
    """
    listed = list_series(path if path.is_dir() else path.parent)
    if path.is_file():
        listed = tuple(one for one in listed if path in one.files)
    about: dict[str, str] = {}
    for number, one in enumerate(listed, start=1):
        phase = "" if one.percent is None else f", phase {one.percent:g} %"
        about[f"series {number}"] = f"{one.kind}, {len(one.files)} files{phase}"
    notes: list[str] = []
    for one in listed:
        try:
            about |= _contents(path, one)
        except UserError as error:
            notes.append(f"{one.kind}: {error.found}")
    phases = sum(one.percent is not None for one in listed)
    what = f"4DCT of {phases} phases" if phases > 1 else "CT, contours or plan"
    count = sum(len(one.files) for one in listed)
    return {
        "path": str(path),
        "what": f"DICOM: {what}",
        "about": about,
        "assumptions": notes,
        "files": count,
    }


def _contents(path: Path, one: SeriesInfo) -> dict[str, str]:
    if one.kind == "ct" and one.percent is None and path.is_dir():
        ct = read_series_ct(path, series=one.uid)
        size = " x ".join(str(n) for n in ct.hu.shape[::-1])
        voxel = " x ".join(f"{float(d):.4g}" for d in ct.grid.spacing_mm)
        low = ", ".join(f"{float(o):.1f}" for o in ct.grid.origin_mm)
        told = {"voxels": f"{size} of {voxel} mm (x, y, z), first at {low} mm (LPS)"}
        return told | {f"CT {k}": str(v) for k, v in ct.sources.items()}
    if one.kind == "RTSTRUCT":
        rois = [roi for file in one.files for roi in read_rtstruct(file).rois]
        ml = lambda roi: f"{volume_ml(roi):.2f} ml" if roi.contours_mm else "empty"
        return {"ROIs": "; ".join(f"{roi.name} ({ml(roi)})" for roi in rois)}
    if one.kind == "RTPLAN":
        found = [at for file in one.files for at in read_isocentres(file)]
        places = [", ".join(f"{x:.1f}" for x in at.position_mm) for at in found]
        return {"isocentre": "; ".join(f"{place} mm (LPS)" for place in places)}
    return {}
