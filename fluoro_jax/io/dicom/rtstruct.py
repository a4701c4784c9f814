"""RTSTRUCT: the contours of every ROI, moved to the slices they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fluoro_jax.errors import nearest, refuse
from fluoro_jax.io.ct_series import FARTHEST_MM
from fluoro_jax.io.dicom.listing import list_series
from fluoro_jax.io.dicom.reading import guarded, read_dataset, text_of, whole_of
from fluoro_jax.io.volumes import CtPhase, FourDCt, Roi

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
# Contours of one closed plane; XOR is ours for both (see `io/contours.py`).
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
MOST_POINTS = 10**7  # of a file


@dataclass(frozen=True)
class StructureSet:
    """All ROIs of a file.

    Attributes:
        rois: as stored, in the file's order; those without contours are listed too.
        path: of the file.
        label: StructureSetLabel.
        ct: the CT that `roi` matches contours to; None leaves them as stored.
    """

    rois: tuple[Roi, ...]
    path: Path
    label: str = ""
    ct: CtPhase | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all ROIs, in the file's order."""
        return tuple(roi.name for roi in self.rois)

    def roi(self, name: str) -> Roi:
        """Returns the ROI of this name (case and outer spaces do not count).

        Its contours lie on the slices of `ct`, if that is given.

        Raises:
            UserError: no such ROI, several, or one without closed contours; lists the
                names and suggests the nearest. Another frame of reference than the
                CT's, or contours beyond its slices.
        """
        plain = lambda text: text.strip().lower()
        hits = [roi for roi in self.rois if plain(roi.name) == plain(name)]
        exact = [roi for roi in hits if roi.name == name]
        hits = exact if len(exact) == 1 else hits
        if len(hits) != 1:
            drawn = [roi.name for roi in self.rois if roi.contours_mm]
            close = {plain(n): n for n in drawn}
            best = close.get(nearest(plain(name), close) or "")
            names = ", ".join(f"'{n}'" for n in self.names) or "none"
            refuse(
                f"{self.path}: {len(hits)} ROIs called '{name}'",
                f"one of its ROIs: {names}",
                why="its contours are the target",
                fix=f"--roi '{best}'" if best else "choose one of these names",
            )
        roi = hits[0]
        if not roi.contours_mm:
            refuse(
                f"{self.path}: ROI '{roi.name}' has no closed contours",
                "a ROI with contours of three points or more",
                why="a point or an empty ROI has no shape",
                fix="draw it, or choose another ROI: "
                + ", ".join(f"'{r.name}'" for r in self.rois if r.contours_mm),
            )
        return roi if self.ct is None else match_to_slices(roi, self.ct)


def read_rtstruct(path: Path, *, ct: CtPhase | None = None) -> StructureSet:
    """Reads an RTSTRUCT file.

    Args:
        path: of the file, or of a folder that holds one RTSTRUCT.
        ct: the CT (or any phase) it belongs to. `StructureSet.roi` then moves contours
            to the nearest of its slices and refuses another frame of reference.

    Raises:
        UserError: no RTSTRUCT, several, a damaged one; no pydicom.
    """
    path = Path(path)
    if path.is_dir():
        path = _only_file(path)
    with guarded(path):
        dataset = read_dataset(path)
        if text_of(dataset, "SOPClassUID") != RTSTRUCT:
            found = text_of(dataset, "Modality") or "no Modality"
            refuse(
                f"{path}: {found}, no structure set",
                "a DICOM RT Structure Set (Modality RTSTRUCT)",
                why="the target's contours stand in it",
                fix="export the structure set with the CT; `fluoro inspect` lists a "
                "folder",
            )
        label = text_of(dataset, "StructureSetLabel")
        return StructureSet(_rois(path, dataset), path, label, ct)


def _only_file(folder: Path) -> Path:
    files = _files(folder)
    if len(files) != 1:
        refuse(
            f"{folder}: {len(files)} structure sets"
            + "".join(f" {path.name}" for path in files[:12]),
            "one RTSTRUCT file",
            why="two structure sets may say different things",
            fix="give the file itself",
        )
    return files[0]


def _files(folder: Path) -> list[Path]:
    listed = list_series(folder)
    return sorted(p for s in listed if s.kind == "RTSTRUCT" for p in s.files)


def _rois(path: Path, dataset: Any) -> tuple[Roi, ...]:
    contours = {
        whole_of(item, "ReferencedROINumber"): item.get("ContourSequence") or []
        for item in dataset.get("ROIContourSequence") or []
    }
    series = _series_by_frame(dataset)
    rois, left = [], MOST_POINTS
    for item in dataset.get("StructureSetROISequence") or []:
        number = whole_of(item, "ROINumber")
        frame = text_of(item, "ReferencedFrameOfReferenceUID")
        closed, points, skipped = _contours(path, contours.get(number, []), left)
        left -= sum(map(len, closed))
        sources = {"contours": f"RTSTRUCT ROINumber {number}"}
        if skipped:
            sources["left_out"] = f"{skipped} contours that enclose nothing"
        rois.append(
            Roi(
                name=text_of(item, "ROIName"),
                contours_mm=tuple(closed),
                frame_uid=frame,
                series_uid=series.get(frame, ""),
                points_mm=np.reshape(points, (-1, 3)),
                sources=sources,
            )
        )
    return tuple(rois)


def _series_by_frame(dataset: Any) -> dict[str, str]:
    """Returns the CT series that a structure set refers to, by frame of reference."""
    found = {}
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        uid = text_of(frame, "FrameOfReferenceUID")
        for study in frame.get("RTReferencedStudySequence") or []:
            for one in study.get("RTReferencedSeriesSequence") or []:
                found.setdefault(uid, text_of(one, "SeriesInstanceUID"))
    return found


def _contours(
    path: Path, items: Sequence[Any], left: int
) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Returns closed contours `[N, 3]`, single points, and how many were left out."""
    closed, single, skipped = [], [], 0
    for item in items:
        points = _points(path, item)
        left -= len(points)
        if left < 0:
            refuse(
                f"{path}: more than {MOST_POINTS} points",
                f"at most {MOST_POINTS} points in all contours",
                why="no structure set drawn on a CT has more",
                fix="export the structure set again",
            )
        kind = text_of(item, "ContourGeometricType").upper()
        if kind == "POINT":
            single.extend(points)
        elif kind in CLOSED and len(points) >= 3:
            closed.append(points)
        else:
            skipped += 1
    return closed, single, skipped


def _points(path: Path, item: Any) -> np.ndarray:
    """Returns ContourData as `[N, 3]` mm, from the file's bytes.

    pydicom's number class takes about 200 bytes a number.
    """
    raw = item.get_item("ContourData") if "ContourData" in item else None
    value = getattr(raw, "value", None)
    if value is None or len(value) == 0:
        return np.zeros((0, 3))
    words = value.split(b"\\") if isinstance(value, bytes) else value
    numbers = np.array([float(word) for word in words])
    good = len(numbers) % 3 == 0 and np.isfinite(numbers).all()
    if not good or np.abs(numbers).max() > FARTHEST_MM:
        refuse(
            f"{path}: a contour of {len(numbers)} numbers, not all of them places",
            "three finite numbers a point, within 100 m",
            why="contours are in millimetres of the CT's frame of reference",
            fix="export the structure set again",
        )
    return numbers.reshape(-1, 3)


def match_to_slices(roi: Roi, ct: CtPhase) -> Roi:
    """Returns a ROI with every contour moved to the nearest slice of its CT.

    Raises:
        UserError: another frame of reference (unless the ROI was drawn on this very
            series), contours across slices, or beyond the first or last slice by more
            than half a slice.
    """
    frame = _check_frame(roi, ct)
    normal = ct.affine[:3, 2] / np.linalg.norm(ct.affine[:3, 2])
    step = float(np.median(np.diff(ct.slices_mm)))
    moved, largest = [], 0.0
    for points in roi.contours_mm:
        along = points @ normal
        middle = float(along.mean())
        nearest_mm = float(ct.slices_mm[np.abs(ct.slices_mm - middle).argmin()])
        shift = nearest_mm - middle
        if abs(shift) > 0.5 * step + 1e-3:
            refuse(
                f"ROI '{roi.name}': a contour at {middle:.1f} mm, the CT's slices from "
                f"{ct.slices_mm[0]:.1f} to {ct.slices_mm[-1]:.1f} mm",
                "a CT that covers the whole ROI",
                why="what lies outside of the CT cannot be projected",
                fix="use the CT that the contours were drawn on, whole",
            )
        if np.ptp(along) > 0.5 * step:
            refuse(
                f"ROI '{roi.name}': a contour across {np.ptp(along):.1f} mm of slices",
                "contours in the planes of the CT's slices",
                why="they are filled slice by slice",
                fix="use the CT that the contours were drawn on",
            )
        largest = max(largest, abs(shift))
        # Points alone, not their mean: a contour then lies exactly in its plane.
        moved.append(points + np.outer(nearest_mm - along, normal))
    words = f"contours moved to the nearest slice, by at most {largest:.2f} mm"
    return replace(
        roi,
        contours_mm=tuple(moved),
        spacing_mm=step,
        sources={**roi.sources, "slices": words, "frame_of_reference": frame},
    )


def _check_frame(roi: Roi, ct: CtPhase) -> str:
    """Returns how contours and CT belong together, in words."""
    if not roi.frame_uid or not ct.frame_uid:
        return "not stated by both files: taken as the same"
    if roi.frame_uid == ct.frame_uid:
        return "FrameOfReferenceUID of the CT"
    if roi.series_uid and roi.series_uid == ct.series_uid:
        # rt-utils writes a new UID here; the series named beside it is this CT.
        return "another FrameOfReferenceUID, but drawn on this very CT series"
    refuse(
        f"ROI '{roi.name}': ReferencedFrameOfReferenceUID {roi.frame_uid}",
        f"{ct.frame_uid}, the FrameOfReferenceUID of the CT",
        why="contours and CT lie on one another in one frame of reference only",
        fix="use the structure set drawn on this CT, or register the two first",
    )


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

    Raises:
        UserError: no structure set, two of one phase, or one of no phase.
    """
    folder = Path(folder)
    files = _files(folder) if folder.is_dir() else [folder]
    found: dict[int, Roi] = {}
    for path in files:
        stored = read_rtstruct(path)
        series = stored.roi(name).series_uid
        index = four_d.index_of(series)
        index = reference if index is None else index
        if index is None:
            _refuse_phase(path, series, four_d, twice=False)
        if index in found:
            _refuse_phase(path, series, four_d, twice=True)
        found[index] = replace(stored, ct=four_d.phases[index]).roi(name)
    if not found:
        refuse(
            f"no structure set in {folder}",
            "an RTSTRUCT of the 4DCT, or one of each phase",
            why="the target's contours stand in it",
            fix="give the RTSTRUCT file itself",
        )
    return found


def _refuse_phase(path: Path, series: str, four_d: FourDCt, *, twice: bool) -> NoReturn:
    known = ", ".join(f"{p:g} %" for p in four_d.percents)
    refuse(
        f"{path}: a second structure set of one phase"
        if twice
        else f"{path}: drawn on series {series or '(not stated)'}, of no phase",
        f"one structure set of each phase ({known}) or of a reference phase",
        why="contours belong to the moment they were drawn at",
        fix="move the other one out of the folder"
        if twice
        else "say which phase it was drawn on (--reference-phase PERCENT)",
    )
