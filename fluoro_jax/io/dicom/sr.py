"""Writes a track as a DICOM structured report: statistics, and the centroid per frame.

A Comprehensive SR in the form of TID 1500 (Measurement Report) with one measurement
group. Quantities of tracking have no standard codes: theirs are of the private scheme
`SCHEME`. The centroids are points (SCOORD) on the frames of an RT Image that
`write.write_rt_image` makes of the same clip; patient and study are synthetic.

Source: DICOM PS3.16, TID 1500 and 1501; PS3.3 C.18.6 (the corner of the first pixel
is 0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.geometry import axis_names
from fluoro_jax.io.dicom.seg import PROPERTY, code_of, item_of
from fluoro_jax.io.dicom.write import RT_IMAGE, Uids, identity, save
from fluoro_jax.io.tracks import DISCLAIMER

COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
SCHEME = "99FLUOROJAX"
MM, FRAMES = ("mm", "UCUM", "millimeter"), ("{frames}", "UCUM", "frames")
REPORT = ("126000", "DCM", "Imaging Measurement Report")
LANGUAGE = ("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = ("en-US", "RFC5646", "English (United States)")
OBSERVER, DEVICE = ("121005", "DCM", "Observer Type"), ("121007", "DCM", "Device")
DEVICE_UID = ("121012", "DCM", "Device Observer UID")
DEVICE_NAME = ("121013", "DCM", "Device Observer Name")
PROCEDURE = ("121058", "DCM", "Procedure reported")
FLUOROSCOPY = ("44491008", "SCT", "Fluoroscopy")
MEASUREMENTS = ("126010", "DCM", "Imaging Measurements")
GROUP = ("125007", "DCM", "Measurement Group")
TRACKING = ("112039", "DCM", "Tracking Identifier")
TRACKING_UID = ("112040", "DCM", "Tracking Unique Identifier")
FINDING, SITE = ("121071", "DCM", "Finding"), ("363698007", "SCT", "Finding Site")
LUNG = ("39607008", "SCT", "Lung")
COMMENT = ("121106", "DCM", "Comment")
DERIVATION = ("121401", "DCM", "Derivation")
CENTER = ("111010", "DCM", "Center")
CENTROIDS = ("CENTROIDS", SCHEME, "Centroid of the tumour's mask in each frame")
COUNT = ("FRAMES", SCHEME, "Number of frames")
MISSED = ("MISSED", SCHEME, "Number of frames without an answer")
STATISTICS = {
    ("373098007", "SCT", "Mean"): np.mean,
    ("386136009", "SCT", "Standard Deviation"): np.std,
    ("255605001", "SCT", "Minimum"): np.min,
    ("56851009", "SCT", "Maximum"): np.max,
    ("P5", SCHEME, "5th percentile"): lambda values: np.percentile(values, 5.0),
    ("P95", SCHEME, "95th percentile"): lambda values: np.percentile(values, 95.0),
}


def write_sr(
    path: Path | str, clip: Clip, answers: Sequence[Track], *, algorithm: str
) -> None:
    """Writes positions of a track as one structured report, whole or not at all.

    Args:
        path: of the file.
        clip: what was tracked.
        answers: one for each frame, in their order; frames without an answer (NaN) are
            counted and have no point.
        algorithm: name of what tracked.

    Raises:
        UserError: pydicom is not installed.
    """
    uids = Uids(clip)
    dataset = identity(path, uids, COMPREHENSIVE, "SR", "sr")
    del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
    # Of type 1; a fixed day, as the patient is a synthetic one.
    dataset.ContentDate, dataset.ContentTime = "20000101", "000000"
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    instance = uids("rtimage instance")
    image = item_of(ReferencedSOPClassUID=RT_IMAGE, ReferencedSOPInstanceUID=instance)
    series = item_of(
        SeriesInstanceUID=uids("rtimage series"), ReferencedSOPSequence=[image]
    )
    dataset.CurrentRequestedProcedureEvidenceSequence = [
        item_of(StudyInstanceUID=uids("study"), ReferencedSeriesSequence=[series])
    ]
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [code_of(REPORT)]
    template = item_of(MappingResource="DCMR", TemplateIdentifier="1500")
    dataset.ContentTemplateSequence = [template]
    dataset.ContentSequence = [
        _code("HAS CONCEPT MOD", LANGUAGE, ENGLISH),
        _code("HAS OBS CONTEXT", OBSERVER, DEVICE),
        _item("HAS OBS CONTEXT", "UIDREF", DEVICE_UID, UID=uids("device")),
        _text("HAS OBS CONTEXT", DEVICE_NAME, f"fluoro_jax, {algorithm}"),
        _code("HAS CONCEPT MOD", PROCEDURE, FLUOROSCOPY),
        _container(MEASUREMENTS, [_group(clip, answers, uids)]),
        _container(CENTROIDS, _points(answers, instance)),
        _text("CONTAINS", COMMENT, DISCLAIMER),
    ]
    save(path, dataset)


def _group(clip: Clip, answers: Sequence[Track], uids: Uids) -> Any:
    places = np.array([np.asarray(answer.centroid_iso_mm, float) for answer in answers])
    places = places.reshape(-1, 2)
    seen = np.isfinite(places).all(axis=1)
    content = [
        _text("HAS OBS CONTEXT", TRACKING, "Tumour"),
        _item("HAS OBS CONTEXT", "UIDREF", TRACKING_UID, UID=uids("tumour")),
        _code("CONTAINS", FINDING, PROPERTY),
        _code("HAS CONCEPT MOD", SITE, LUNG),
        _number(COUNT, len(answers), FRAMES),
        _number(MISSED, int(np.count_nonzero(~seen)), FRAMES),
    ]
    axes = axis_names(float(clip.geometry.gantry_deg))
    for values, axis, sense, key in zip(
        places[seen].T, axes, ("superior", "image right"), "VH", strict=True
    ):
        # At most 64 characters, as of a meaning.
        name = f"Centroid at the isocentre, {axis}, {sense} positive"
        for derived, statistic in STATISTICS.items() if seen.any() else ():
            value = _number((f"{key}_POSITION", SCHEME, name), statistic(values), MM)
            value.ContentSequence = [_code("HAS CONCEPT MOD", DERIVATION, derived)]
            content.append(value)
    return _container(GROUP, content)


def _points(answers: Sequence[Track], instance: str) -> list[Any]:
    found = []
    for answer in answers:
        row, col = np.asarray(answer.centroid_px, float)
        if not np.isfinite([row, col]).all():
            continue
        frame = item_of(
            ReferencedSOPClassUID=RT_IMAGE,
            ReferencedSOPInstanceUID=instance,
            ReferencedFrameNumber=answer.frame + 1,
        )
        image = item_of(
            RelationshipType="SELECTED FROM",
            ValueType="IMAGE",
            ReferencedSOPSequence=[frame],
        )
        # (column, row) from the corner of the first pixel, whose centre is our 0.
        point = _item("CONTAINS", "SCOORD", CENTER, GraphicType="POINT")
        point.GraphicData = [float(col) + 0.5, float(row) + 0.5]
        point.ContentSequence = [image]
        found.append(point)
    return found


def _item(relation: str, kind: str, name: tuple[str, str, str], **more: Any) -> Any:
    return item_of(
        RelationshipType=relation,
        ValueType=kind,
        ConceptNameCodeSequence=[code_of(name)],
        **more,
    )


def _container(name: tuple[str, str, str], content: list[Any]) -> Any:
    found = _item("CONTAINS", "CONTAINER", name, ContinuityOfContent="SEPARATE")
    if content:
        found.ContentSequence = content
    return found


def _code(relation: str, name: tuple[str, str, str], code: tuple[str, str, str]) -> Any:
    return _item(relation, "CODE", name, ConceptCodeSequence=[code_of(code)])


def _text(relation: str, name: tuple[str, str, str], text: str) -> Any:
    return _item(relation, "TEXT", name, TextValue=text)


def _number(
    name: tuple[str, str, str], value: float, unit: tuple[str, str, str]
) -> Any:
    measured = item_of(
        MeasurementUnitsCodeSequence=[code_of(unit)], NumericValue=f"{value:.6g}"
    )
    return _item("CONTAINS", "NUM", name, MeasuredValueSequence=[measured])
