"""CT and 4DCT from a folder as clinics export it.

Other series and other files may lie beside; slices are sorted by position, never by
name or number. What is not whole is refused with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.io.ct_series import in_order
from fluoro_jax.io.dicom.listing import (
    LEAST_PHASES,
    UNREADABLE,
    SeriesInfo,
    list_series,
)
from fluoro_jax.io.dicom.slices import Assumed, Plane, read_planes
from fluoro_jax.io.straighten import MOST_VOXELS, check_same_grid, straighten
from fluoro_jax.io.volumes import CtPhase, FourDCt

__all__ = ["Assumed", "SeriesInfo", "list_series", "read_4dct", "read_series_ct"]


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
    listed = list_series(folder)
    every = [one for one in listed if one.kind == "ct"]
    # A static CT beside the phases of a 4DCT is meant, if there is one.
    candidates = [one for one in every if one.percent is None] or every
    if series:
        candidates = [one for one in listed if one.answers_to(series)]
    if len(candidates) != 1:
        words = "; ".join(one.words for one in (candidates or listed)[:12])
        wanted = f" called '{series}'" if series else ""
        refuse(
            f"{folder}: {len(candidates)} CT series{wanted} ({words})",
            "one CT series, or the name of one of them",
            why="slices of two scans make no volume",
            fix="name one by its SeriesInstanceUID or SeriesDescription",
        )
    return _read_volume(folder, candidates[0], listed, assumed or Assumed())


def read_4dct(
    folder: Path,
    *,
    phases: Mapping[str, float] | None = None,
    assumed: Assumed | None = None,
) -> FourDCt:
    """Reads the phases of a 4DCT; averages and MIPs are set aside.

    Args:
        folder: as of `list_series`.
        phases: override, as of `list_series`; where given, no other series is used and
            phases may lie at unequal distances.
        assumed: what to take where the files say nothing.

    Raises:
        UserError: fewer than three phases, one missing or twice, or phases that differ
            in frame of reference, size or spacing.
    """
    listed = list_series(folder, phases=phases)
    used = [s for s in listed if s.kind == "ct" and s.percent is not None]
    check_phases(folder, used, listed, equal=not phases)
    read: list[CtPhase] = []
    for one in used:
        phase = _read_volume(folder, one, listed, assumed or Assumed())
        _check_same(one, phase, read)
        read.append(phase)
    aside = [one.words for one in listed if one not in used]
    sources = {
        "phases": "; ".join(sorted({one.percent_source for one in used})),
        "set_aside": "; ".join(aside) or "nothing",
    }
    return FourDCt(tuple(read), sources)


def check_phases(
    folder: Path,
    used: Sequence[SeriesInfo],
    listed: Sequence[SeriesInfo],
    *,
    equal: bool,
) -> None:
    """Refuses phases that are too few, there twice, or with a gap.

    Args:
        folder: for the messages.
        used: the series of the phases, rising.
        listed: all series of the folder.
        equal: whether the phases must lie at equal distances.
    """
    percents = [float(one.percent or 0.0) for one in used]
    names = ", ".join(f"{p:g} %" for p in percents) or "none"
    fix = (
        "export the whole 4DCT again, or say which series is which phase "
        "(--phase SERIES=PERCENT)"
    )
    if len(used) < LEAST_PHASES:
        refuse(
            f"{folder}: {len(used)} breathing phases ({names}) in "
            f"{len(listed)} series: " + "; ".join(s.words for s in listed[:12]),
            f"at least {LEAST_PHASES}, named 'NN%' in SeriesDescription or numbered by "
            "TemporalPositionIdentifier",
            why="fewer do not show the path of the tumour",
            fix=fix,
        )
    twice = [p for p, count in Counter(percents).items() if count > 1]
    if twice:
        both = "; ".join(s.words for s in used if s.percent == twice[0])
        refuse(
            f"{folder}: phase {twice[0]:g} % is there twice ({both})",
            "every phase once",
            why="one of them may be another scan or reconstruction",
            fix="move one out of the folder, or name the right ones "
            "(--phase SERIES=PERCENT)",
        )
    gaps = np.diff([*percents, percents[0] + 100.0])
    usual = float(np.median(gaps))
    # 1.5: phases named 0, 17, 33, 50, ... are rounded; a gap is twice as long.
    if equal and gaps.max() > 1.5 * usual:
        after = percents[int(gaps.argmax())]
        refuse(
            f"{folder}: no phase {(after + usual) % 100.0:g} % (there are {names})",
            f"phases every {usual:g} % of the breath",
            why="the tumour's path would be cut short there",
            fix=fix,
        )


def _check_same(info: SeriesInfo, phase: CtPhase, read: Sequence[CtPhase]) -> None:
    if not read:
        return
    first, name = read[0], f"phase {info.percent:g} % ({info.files[0].parent})"
    if phase.frame_uid != first.frame_uid:
        refuse(
            f"{name}: FrameOfReferenceUID {phase.frame_uid or 'none'}",
            f"{first.frame_uid or 'none'}, as phase {first.percent:g} %",
            why="phases of two frames of reference do not lie on one another",
            fix="export the phases of one scan",
        )
    like = (first.hu.shape, first.grid)
    check_same_grid(name, phase.hu.shape, phase.grid, like)


def _read_volume(
    folder: Path, info: SeriesInfo, listed: Sequence[SeriesInfo], assumed: Assumed
) -> CtPhase:
    _check_readable(info, listed)
    planes: list[Plane] = []
    for path in info.files:
        planes.extend(read_planes(path, assumed))
        if len(planes) * planes[0].hu.size > MOST_VOXELS:
            refuse(
                f"{folder}: more than {MOST_VOXELS} voxels in {info.words}",
                f"at most {MOST_VOXELS}",
                why="a volume must fit into memory",
                fix="crop the scan, or reconstruct it on larger pixels",
            )
    planes, doubled = _without_copies(planes)
    if len(planes) < 2:
        refuse(
            f"{len(planes)} slices of a DICOM series in {folder}",
            "at least 2 slices of one CT series",
            why="a volume needs the distance between its slices",
            fix="give the folder that holds the .dcm files themselves",
        )
    planes, step_mm = in_order(folder, planes)
    _check_one_scan(planes)
    first, normal = planes[0], np.cross(*planes[0].axes)
    down, right = first.pixel_mm
    affine = np.eye(4)
    steps = (first.axes[0] * right, first.axes[1] * down, normal * step_mm)
    affine[:3, :3] = np.stack(steps, axis=1)
    affine[:3, 3] = first.place_mm
    hu, grid, done = straighten(np.stack([p.hu for p in planes]), affine)
    return CtPhase(
        hu,
        grid,
        affine,
        np.array([p.place_mm @ normal for p in planes]),
        frame_uid=first.frame_uid,
        series_uid=info.uid,
        percent=info.percent,
        sources=_sources(info, planes, doubled, done),
    )


def _check_readable(info: SeriesInfo, listed: Sequence[SeriesInfo]) -> None:
    """Refuses a series beside which lies a file that may be one of its slices."""
    folders = {path.parent for path in info.files}
    broken = [
        path
        for one in listed
        if one.kind == UNREADABLE
        for path in one.files
        if path.parent in folders
    ]
    if broken:
        refuse(
            f"{len(broken)} DICOM files beside the series cannot be read, first "
            f"{broken[0]}",
            "whole DICOM slices",
            why="a slice that is cut off would leave a gap",
            fix="copy the series again, or move these files out of the folder",
        )


def _check_one_scan(planes: Sequence[Plane]) -> None:
    for plane in planes:
        if plane.patient != planes[0].patient:
            refuse(
                f"{plane.path}: another PatientID than in {planes[0].path.name}",
                "slices of one patient",
                why="no scan is of two; the identities were not removed from all alike",
                fix="export the series again, or remove the identity from every slice",
            )
        if plane.frame_uid != planes[0].frame_uid:
            refuse(
                f"{plane.path}: FrameOfReferenceUID {plane.frame_uid or 'none'}",
                f"{planes[0].frame_uid or 'none'}, as {planes[0].path.name}",
                why="slices of two frames of reference make no volume",
                fix="export the slices of one scan",
            )


def _without_copies(planes: Sequence[Plane]) -> tuple[list[Plane], int]:
    """Returns the planes without exact copies, and how many those were."""
    kept: dict[tuple, Plane] = {}
    for plane in planes:
        place = tuple(np.round(plane.place_mm, 3))
        older = kept.get(place)
        # Other pixels at the same place stay, and are refused by `in_order`.
        if older is not None and not np.array_equal(older.hu, plane.hu):
            kept[(*place, str(plane.path))] = plane
        else:
            kept.setdefault(place, plane)
    return list(kept.values()), len(planes) - len(kept)


def _sources(
    info: SeriesInfo, planes: Sequence[Plane], doubled: int, done: str
) -> dict[str, str]:
    padded = sum(plane.padded for plane in planes)
    sources = {
        "geometry": "(0020,0032) ImagePositionPatient, (0020,0037) "
        "ImageOrientationPatient, (0028,0030) PixelSpacing",
        "hu": "(0028,1052) RescaleIntercept, (0028,1053) RescaleSlope of every slice",
        "axes": done,
        "patient_position": planes[0].position or "not stated",
        **dict(planes[0].notes),
    }
    if info.percent is not None:
        sources["phase"] = f"{info.percent:g} % by {info.percent_source}"
    if padded:
        sources["padding"] = f"{padded} padded voxels became air (-1000 HU)"
    if doubled:
        sources["copies"] = f"{doubled} copies of slices left out"
    return sources
