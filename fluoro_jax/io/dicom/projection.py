"""From DICOM projections (XA, XRF, both enhanced, RT Image) to a `Clip`.

One multi-frame file, or a folder of single frames of one series, in the order of their
times. `look` reads headers alone and lists what is missing; `read_projection` needs
everything. `geometry` says which tag gives which number.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError, refuse
from fluoro_jax.geometry import Geometry
from fluoro_jax.io.clips import ReadClip
from fluoro_jax.io.dicom.geometry import View, read_view
from fluoro_jax.io.dicom.header import read_header
from fluoro_jax.io.dicom.intensity import Intensity, read_intensity, suspect_inverted
from fluoro_jax.io.dicom.pixels import check_pixels, decode, frame_shape
from fluoro_jax.io.dicom.reading import may_be_dicom
from fluoro_jax.io.dicom.supplied import sidecar_of, supply
from fluoro_jax.io.dicom.tags import Tags, Value, name_of
from fluoro_jax.io.dicom.times import frame_times, moment_of, no_times, series_times
from fluoro_jax.io.overrides import SCALE, Overrides

PROJECTIONS = {
    "1.2.840.10008.5.1.4.1.1.12.1": "XA",
    "1.2.840.10008.5.1.4.1.1.12.1.1": "Enhanced XA",
    "1.2.840.10008.5.1.4.1.1.12.2": "XRF",
    "1.2.840.10008.5.1.4.1.1.12.2.1": "Enhanced XRF",
    "1.2.840.10008.5.1.4.1.1.481.1": "RT Image",
}
MOST_FILES = 20_000
NUMBERS = ("sad_mm", "sdd_mm", "pixel_mm", "gantry_deg", "offset_mm")
# Between the files of a folder: rounding, not another view.
STEADY = {"gantry_deg": 0.5, "offset_mm": 0.05, "pixel_mm": 1e-4}


@dataclass
class Look:
    """What the headers of a projection say.

    Attributes:
        tags: one for each file, in the order of the frames.
        kind: one of `PROJECTIONS`' names.
        shape: (frames, rows, columns).
        view: geometry, with what is missing.
        time_s: `[T]` and its source, or None.
        intensities: how the pixels of each file are read.
        notes: assumptions and warnings.
        missing: errors, the first of which `read_projection` raises.
    """

    tags: list[Tags]
    kind: str
    shape: tuple[int, int, int]
    view: View
    time_s: Value | None
    intensities: list[Intensity]
    notes: list[str] = field(default_factory=list)
    missing: list[UserError] = field(default_factory=list)


def read_projection(path: Path, stated: Overrides | None = None) -> ReadClip:
    """Reads a DICOM projection.

    Args:
        path: a multi-frame file, or a folder of single frames.
        stated: numbers that win over the files'.

    Returns:
        The clip, seen from the source with superior up, and the source of each number.

    Raises:
        UserError: a file of another kind, damaged, or without a number that is needed.
    """
    seen = look(path, stated or Overrides())
    if seen.missing:
        raise seen.missing[0]
    # The steps of `look` have collected whatever is absent.
    assert seen.time_s is not None
    _, rows, cols = seen.shape
    turn = seen.view.turn.frame
    pairs = zip(seen.tags, seen.intensities, strict=True)
    frames = decode([(tags, one.convert) for tags, one in pairs], turn)
    get = seen.view.get
    # What is unknown here was allowed to be (`Overrides.pixels_only`).
    geometry = Geometry(
        float(get("sad_mm") or np.nan),
        float(get("sdd_mm") or np.nan),
        float(get("gantry_deg")),
        rows,
        cols,
        get("pixel_mm") or (np.nan, np.nan),
        get("offset_mm") or (0.0, 0.0),
    )
    how = seen.intensities[0]
    clip = Clip(frames, np.asarray(seen.time_s.value), geometry, domain=how.domain)
    if suspect_inverted(frames[0], how.domain, get("gantry_deg")):
        seen.notes.append(
            "inverted polarity suspected: the middle of the chest is darker than the "
            "lungs; look at a frame, and give --invert if bone is dark there"
        )
    return ReadClip(
        clip,
        f"dicom {seen.kind}",
        tuple(tags.path for tags in seen.tags),
        sources_of(seen),
        tuple(seen.notes),
        about_of(seen),
    )


def look(path: Path, stated: Overrides) -> Look:
    """Reads the headers of a projection; decodes no pixel.

    A `geometry.json` beside it supplies what the tags lack (`supplied`).

    Raises:
        UserError: a file of another kind or damaged; not for numbers that are absent.
    """
    seen, beside = _look(path, stated), sidecar_of(path)
    if beside is None:
        return seen
    how = seen.intensities[0]
    more, notes = supply(beside, seen.view, seen.time_s, how, stated)
    # Once more: what is added decides on what else is read, as calibrated pixels.
    seen = _look(path, more) if more.origins else seen
    seen.notes.extend(notes)
    return seen


def _look(path: Path, stated: Overrides) -> Look:
    paths = _files(path)
    headers = [Tags(one, read_header(one)) for one in paths]
    kinds = [_kind(one) for one in headers]
    _one_series(path, headers)
    shapes = [frame_shape(one) for one in headers]
    for one, shape in zip(headers, shapes, strict=True):
        if shape[1:] != shapes[0][1:]:
            refuse(
                f"{one.path}: frames of {shape[1]} x {shape[2]} pixels",
                f"{shapes[0][1]} x {shapes[0][2]}, as {headers[0].path.name}",
                "the frames of one clip have one size",
                "move the other images out of the folder",
            )
        check_pixels(one)
    count, rt = sum(shape[0] for shape in shapes), kinds[0] == "RT Image"
    if count < 2:
        refuse(
            f"{path}: one frame only",
            "a clip of at least 2 frames: a multi-frame file or a folder of frames",
            "motion is followed from frame to frame",
            "give the folder that holds all frames",
        )
    headers = _in_order(path, headers)
    views = [read_view(one, stated, rt=rt, shape=shapes[0][1:]) for one in headers]
    _one_view(headers, views)
    notes = list(views[0].notes)
    single = len(headers) > 1
    time_s = (
        series_times(headers, stated, notes)
        if single
        else frame_times(headers[0], count, stated, notes)
    )
    # The first file's notes stand for all of a series.
    every = [read_intensity(headers[0], stated, notes)]
    every += [read_intensity(one, stated, []) for one in headers[1:]]
    if headers[0].word("BurnedInAnnotation") == "YES":
        notes.append(
            "(0028,0301) BurnedInAnnotation is YES: text in the pixels may name the "
            "patient, and no output hides it; do not pass pictures on"
        )
    free = SCALE if stated.pixels_only else ()
    missing = [e for name, e in views[0].missing.items() if name not in free]
    if time_s is None:
        missing.append(no_times(path))
    shape = (count, *shapes[0][1:])
    return Look(headers, kinds[0], shape, views[0], time_s, every, notes, missing)


def sources_of(seen: Look) -> dict[str, str]:
    """Returns where each number of a look comes from, by its name."""
    found = {name: value.source for name, value in seen.view.values.items()}
    if seen.time_s is not None:
        found["time_s"] = seen.time_s.source
    size = "(0028,0010) Rows, (0028,0011) Columns"
    return {
        **found,
        "domain": seen.intensities[0].source,
        "periodic": "default",
        "rows": size,
        "cols": size,
    }


def about_of(seen: Look) -> dict[str, Any]:
    """Returns further facts for a record; UIDs only as hashes, no name or ID."""
    uid = seen.tags[0].text("SeriesInstanceUID")
    hashed = hashlib.sha256(uid.encode()).hexdigest()[:16] if uid else None
    turn = seen.view.turn
    flips = {"rows": turn.rows, "columns": turn.cols}
    return {
        **seen.view.about,
        # How the stored pixels were turned to be seen from the source, superior up.
        "flipped": ", ".join(name for name, done in flips.items() if done) or "nothing",
        "series_uid_sha256": hashed,
        "files": len(seen.tags),
    }


def dicom_files(folder: Path) -> list[Path]:
    """Returns the DICOM files of a folder, not of those below it, in name order.

    By their content or their name: a file that lost its beginning is a frame too.
    """
    paths = sorted(one for one in folder.iterdir() if one.name != "DICOMDIR")
    return [one for one in paths if one.is_file() and may_be_dicom(one)]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    paths = dicom_files(path)
    if not 1 <= len(paths) <= MOST_FILES:
        refuse(
            f"{path}: {len(paths)} DICOM files",
            f"from 1 to {MOST_FILES}",
            "a clip is one file or a folder of frames",
            "check the path",
        )
    return paths


def _kind(tags: Tags) -> str:
    kind = PROJECTIONS.get(tags.text("SOPClassUID").strip())
    if kind is None:
        got = tags.word("Modality") or "no modality"
        refuse(
            f"{tags.path}: no projection but {got}",
            "one of " + ", ".join(PROJECTIONS.values()),
            "frames over time are tracked; volumes, contours and plans are not",
            "give the fluoroscopy clip; `fluoro inspect PATH` says what a file is",
        )
    return kind


def _one_series(path: Path, headers: list[Tags]) -> None:
    series = {tags.text("SeriesInstanceUID") for tags in headers}
    classes = {tags.text("SOPClassUID") for tags in headers}
    if len(series) > 1 or len(classes) > 1:
        refuse(
            f"{path}: {len(headers)} files of {len(series)} series",
            "the frames of one series",
            "frames of two recordings make no clip",
            "move each series into a folder of its own",
        )
    frames = [frame_shape(tags)[0] for tags in headers]
    if len(headers) > 1 and max(frames) > 1:
        refuse(
            f"{path}: {len(headers)} files, of which some have several frames",
            "one multi-frame file, or files of one frame each",
            "which of them come first cannot be known",
            "give one of the files",
        )


def _in_order(path: Path, headers: list[Tags]) -> list[Tags]:
    """By time where all have different ones, else by instance number."""
    if len(headers) == 1:
        return headers
    moments = [one for one in map(moment_of, headers) if one is not None]
    # Clocks of two tags are not compared with each other.
    alike = len({source for _, source in moments}) == 1
    times = [seconds for seconds, _ in moments] if alike else []
    numbers = [tags.number("InstanceNumber") for tags in headers]
    known = [number.value for number in numbers if number is not None]
    for keys in (times, known):
        if len(keys) == len(headers) == len(set(keys)):
            order = np.argsort(np.array(keys), kind="stable")
            return [headers[int(index)] for index in order]
    refuse(
        f"{path}: no order of its {len(headers)} frames",
        "different acquisition times, or different instance numbers, in all files",
        "motion is followed from frame to frame",
        "export the series again",
    )


def _one_view(headers: list[Tags], views: list[View]) -> None:
    """Refuses files of other views: a turned gantry, a moved panel, mirrored frames."""
    for tags, view in zip(headers, views, strict=True):
        sides = [(one.turn.rows, one.turn.cols) for one in (views[0], view)]
        if sides[0] != sides[1]:
            refuse(
                f"{tags.path}: mirrored or turned against {headers[0].path.name} "
                f"({name_of('PatientOrientation')}, or the receptor's)",
                "one view for all frames",
                "left and right, or head and feet, would change places within the clip",
                "export the frames as they were taken",
            )
        for name in NUMBERS:
            a, b = views[0].get(name), view.get(name)
            if a is None and b is None:
                continue
            off = np.inf
            if a is not None and b is not None:
                off = np.abs(np.subtract(a, b)).max()
                off = min(off, abs(off - 360.0)) if name == "gantry_deg" else off
            if off > STEADY.get(name, 0.5):
                refuse(
                    f"{tags.path}: {name} differs from {headers[0].path.name}'s",
                    "one view for all frames",
                    "a clip has one geometry",
                    "move the frames of other views into folders of their own",
                )
