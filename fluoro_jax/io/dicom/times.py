"""When the frames of a DICOM clip were taken.

FrameTimeVector, then FrameTime, then each frame's FrameReferenceDateTime, then CineRate
(with a warning); of single frames their acquisition date and time. `--fps` wins.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.dicom.tags import Tags, Value, name_of
from fluoro_jax.io.overrides import Overrides

UNEVEN = 0.05  # ours: relative; recorded times jitter by less
MOST_S = 1e6
MOST_GAPS = 8  # that a message lists
FIX = "--fps 15  (frames a second of the recording)"
# Pairs of tags that together say when a single frame was taken, best first.
MOMENTS = (
    ("AcquisitionDateTime", ""),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
)


def frame_times(
    tags: Tags, count: int, stated: Overrides, notes: list[str]
) -> Value | None:
    """Returns the times of one file's frames `[count]`, s from the first.

    None where no tag says them. Adds a note where they are uneven or only nominal.

    Raises:
        UserError: times that do not increase, or another number of them.
    """
    if stated.fps is not None:
        return Value(np.arange(count) / stated.fps, stated.source("fps"))
    vector = tags.numbers("FrameTimeVector", None)
    if vector is not None:
        if len(vector.value) != count:
            what = f"{len(vector.value)} increments in {vector.source}"
            _refuse(tags, f"{what} for {count} frames", "one a frame")
        # Its first increment is that before frame 0.
        steps = np.array([0.0, *vector.value[1:]])
        return Value(_checked(tags, np.cumsum(steps) / 1e3, notes), vector.source)
    step = tags.number("FrameTime")
    if step is not None and step.value > 0.0:
        times = np.arange(count) * step.value / 1e3
        return Value(_checked(tags, times, notes), step.source)
    for key in ("FrameReferenceDateTime", "FrameAcquisitionDateTime"):
        moments = [_moment(str(one)) for one in tags.frames(key)]
        if len(moments) == count and None not in moments:
            times = np.array([m - moments[0] for m in moments])  # pyright: ignore
            return Value(_checked(tags, times, notes), name_of(key))
    rate = tags.number("CineRate")
    if rate is not None and rate.value > 0.0:
        notes.append(
            f"only {rate.source} ({rate.value:g} a second) gives the times: the rate "
            "of display, perhaps not of acquisition; check it, or give --fps"
        )
        return Value(_checked(tags, np.arange(count) / rate.value, notes), rate.source)
    return None


def no_times(path: Any) -> UserError:
    """Returns the error for frames without times."""
    keys = ("FrameTimeVector", "FrameTime", "FrameReferenceDateTime", "CineRate")
    return UserError(
        f"{path}: no times of the frames",
        needed=f"looked for {', '.join(map(name_of, keys))}: none can be used",
        why="motion is followed over time",
        fix=FIX,
    )


def moment_of(tags: Tags) -> tuple[float, str] | None:
    """Returns (s since 2000, source) of when a single frame was taken, or None."""
    for day, time in MOMENTS:
        found = _moment(tags.text(day) + (tags.text(time) if time else ""))
        if found is not None:
            source = name_of(day) + (f", {name_of(time)}" if time else "")
            return found, source
    return None


def series_times(
    headers: Sequence[Tags], stated: Overrides, notes: list[str]
) -> Value | None:
    """Returns the times of single-frame files in their order, as `frame_times` does.

    Raises:
        UserError: as of `frame_times`; frames are missing, and the times are counted.
    """
    if stated.fps is not None:
        # The user has the rate of these frames, be they every other one of two planes.
        _refuse_gaps(headers, any_step=True)
        return Value(np.arange(len(headers)) / stated.fps, stated.source("fps"))
    moments = [moment_of(one) for one in headers]
    good = [one for one in moments if one is not None]
    # Seconds without fractions are the same for many frames: no times at all.
    if len(good) == len(moments) and len({one[1] for one in good}) == 1:
        times = np.array([one[0] for one in good])
        times -= times[0]
        if (np.diff(times) > 0.0).all():
            return Value(_checked(headers[0], times, notes), good[0][1])
    step = headers[0].number("FrameTime")
    if step is not None and step.value > 0.0:
        _refuse_gaps(headers)
        times = np.arange(len(headers)) * step.value / 1e3
        return Value(_checked(headers[0], times, notes), step.source)
    rate = headers[0].number("CineRate")
    if rate is not None and rate.value > 0.0:
        _refuse_gaps(headers)
        notes.append(f"only {rate.source} gives the times; check it, or give --fps")
        times = np.arange(len(headers)) / rate.value
        return Value(_checked(headers[0], times, notes), rate.source)
    return None


def _refuse_gaps(headers: Sequence[Tags], *, any_step: bool = False) -> None:
    """Refuses a series that lacks frames: times counted from its files would be wrong.

    Numbers that are absent, or the same in two files, say nothing of it. With
    `any_step` they may lie apart by more than one, by as many everywhere.
    """
    found = [one.number("InstanceNumber") for one in headers]
    numbers = sorted({int(one.value) for one in found if one is not None})
    if len(numbers) < len(headers):
        return
    pairs = list(itertools.pairwise(numbers))
    steps = {after - before for before, after in pairs}
    count = sum(after - before - 1 for before, after in pairs)
    if not count or (any_step and len(pairs) > 1 and len(steps) == 1):
        return
    named = (f"{a + 1}" + f" to {b - 1}" * (b > a + 2) for a, b in pairs if b > a + 1)
    gaps = list(itertools.islice(named, MOST_GAPS + 1))
    listed = ", ".join(gaps[:MOST_GAPS]) + ", ..." * (len(gaps) > MOST_GAPS)
    refuse(
        f"{headers[0].path.parent}: no frame {listed} ({name_of('InstanceNumber')}; "
        f"{count} missing among {numbers[0]} to {numbers[-1]})",
        "numbers that follow each other, where the times are frames times a step",
        "every frame after the gap would be taken for an earlier one",
        "copy the whole series again, or keep only frames that follow each other",
    )


def _moment(text: str) -> float | None:
    """Seconds since the year 1 of `YYYYMMDDHHMMSS.ffffff`, None for what is not."""
    found = re.match(r"^(\d{8})(\d{6})(\.\d{1,6})?", text.strip())
    if not found:
        return None
    try:
        moment = dt.datetime.strptime(found[1] + found[2], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    # Whole seconds and fractions apart: together they would need more than 53 bits.
    day = (moment - dt.datetime(2000, 1, 1)).total_seconds()
    return day + float(found[3] or 0.0)


def _checked(tags: Tags, times: np.ndarray, notes: list[str]) -> np.ndarray:
    gaps = np.diff(times)
    if gaps.size and (gaps.min() <= 0.0 or times[-1] > MOST_S):
        bad = int(np.argmin(gaps))
        _refuse(
            tags,
            f"frame {bad + 1} is {1e3 * gaps[bad]:.4g} ms after frame {bad}",
            "times that increase from frame to frame",
        )
    usual = float(np.median(gaps)) if gaps.size else 0.0
    if gaps.size and np.abs(gaps - usual).max() > UNEVEN * usual:
        notes.append(
            f"frame times are uneven: {1e3 * gaps.min():.4g} to "
            f"{1e3 * gaps.max():.4g} ms apart, usually {1e3 * usual:.4g} ms; frames "
            "may have been dropped: check the recording, or give --fps if its rate was "
            "even"
        )
    return times


def _refuse(tags: Tags, found: str, needed: str) -> None:
    refuse(f"{tags.path}: {found}", needed, "motion is followed over time", FIX)
