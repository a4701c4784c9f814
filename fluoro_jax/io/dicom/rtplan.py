"""The isocentre: of an RTPLAN, else of the tumour; never silently of the volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.io.contours import centroid_mm
from fluoro_jax.io.ct_series import FARTHEST_MM
from fluoro_jax.io.dicom.reading import guarded, numbers_of, read_dataset, text_of
from fluoro_jax.io.volumes import Roi

PLANS = {  # SOP class: sequence of its beams
    "1.2.840.10008.5.1.4.1.1.481.5": ("BeamSequence", "ControlPointSequence"),
    "1.2.840.10008.5.1.4.1.1.481.8": ("IonBeamSequence", "IonControlPointSequence"),
}
SAME_MM = 0.01
TAG = "(300A,012C) IsocenterPosition"


@dataclass(frozen=True)
class Isocentre:
    """A point that the gantry turns about.

    Attributes:
        position_mm: `[3]` LPS mm of the CT's frame of reference.
        source: tag, flag or ROI that gave it, for `run.json`.
        beams: names of the plan's beams that use it.
    """

    position_mm: np.ndarray
    source: str
    beams: tuple[str, ...] = ()


def read_isocentres(path: Path, *, frame_uid: str = "") -> tuple[Isocentre, ...]:
    """Reads the isocentres of an RTPLAN, in the order of its beams.

    Args:
        path: of the file.
        frame_uid: of the CT; a plan of another one is refused.

    Raises:
        UserError: no RTPLAN, no IsocenterPosition, another frame of reference.
    """
    path = Path(path)
    with guarded(path):
        dataset = read_dataset(path)
        names = PLANS.get(text_of(dataset, "SOPClassUID"))
        if names is None:
            refuse(
                f"{path}: {text_of(dataset, 'Modality') or 'no Modality'}, no plan",
                "a DICOM RT Plan or RT Ion Plan",
                why="the isocentre stands in it",
                fix="export the plan, or state the isocentre (--isocentre-mm)",
            )
        frame = text_of(dataset, "FrameOfReferenceUID")
        if frame_uid and frame and frame != frame_uid:
            refuse(
                f"{path}: FrameOfReferenceUID {frame}",
                f"{frame_uid}, as the CT",
                why="the plan's isocentre lies in the CT only in one frame of "
                "reference",
                fix="use the plan made on this CT, or state the isocentre "
                "(--isocentre-mm)",
            )
        found = _isocentres(dataset, *names)
    if not found:
        refuse(
            f"{path}: no {TAG} in any beam",
            "a plan whose beams have an isocentre",
            why="the projection turns about it",
            fix="state it (--isocentre-mm X Y Z), or leave the plan out: the ROI's "
            "centroid is then taken",
        )
    return found


def _isocentres(dataset: Any, beams: str, points: str) -> tuple[Isocentre, ...]:
    found: list[Isocentre] = []
    for beam in dataset.get(beams) or []:
        label = text_of(beam, "BeamName") or text_of(beam, "BeamNumber")
        for point in beam.get(points) or []:
            # Later control points repeat it only where it changes.
            place = numbers_of(point, "IsocenterPosition", 3)
            if place is None or np.abs(place).max() > FARTHEST_MM:
                continue
            near = lambda one, at=place: np.abs(one.position_mm - at).max() < SAME_MM
            index = next((i for i, one in enumerate(found) if near(one)), None)
            if index is None:
                found.append(Isocentre(place, f"RTPLAN {TAG}", (label,)))
            elif label not in found[index].beams:
                names = (*found[index].beams, label)
                found[index] = Isocentre(place, found[index].source, names)
    return tuple(found)


def choose_isocentre(
    *,
    given_mm: tuple[float, float, float] | None = None,
    plan: Path | None = None,
    beam: str = "",
    roi: Roi | None = None,
    frame_uid: str = "",
) -> Isocentre:
    """Returns the isocentre: as given, else of the plan, else the ROI's centroid.

    Args:
        given_mm: (x, y, z) LPS mm.
        plan: RTPLAN file.
        beam: BeamName whose isocentre to take, where a plan has several.
        roi: whose centroid to take without a plan.
        frame_uid: of the CT.

    Raises:
        UserError: a plan with several isocentres and no beam named, or nothing to take
            it from.
    """
    if given_mm is not None:
        return Isocentre(np.array(given_mm, float), "flag --isocentre-mm")
    if plan is not None:
        return _of_plan(plan, beam, frame_uid)
    if roi is not None:
        at = centroid_mm(roi)
        return Isocentre(at, f"centroid of ROI '{roi.name}' (no plan given)")
    refuse(
        "no isocentre",
        "a plan, a ROI, or its position",
        why="the middle of the volume is no isocentre: a projection about it is wrong",
        fix="give the RTPLAN, or --isocentre-mm X Y Z",
    )


def _of_plan(plan: Path, beam: str, frame_uid: str) -> Isocentre:
    found = read_isocentres(plan, frame_uid=frame_uid)
    chosen = [one for one in found if not beam or beam in one.beams]
    if len(chosen) != 1:
        words = "; ".join(
            f"({', '.join(f'{v:.1f}' for v in one.position_mm)}) mm of beams "
            f"{', '.join(one.beams)}"
            for one in found
        )
        refuse(
            f"{plan}: {len(chosen)} isocentres"
            + (f" of beam '{beam}'" if beam else ""),
            f"one of: {words}",
            why="the projection turns about one point",
            fix="name a beam (--beam), or state it (--isocentre-mm X Y Z)",
        )
    return chosen[0]
