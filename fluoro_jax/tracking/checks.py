"""Checks of what a tracker is given: view, domain, scale, times and reference.

Every tracker calls `begin` in `init` and `next_frame` in `step`; `track_clip` calls
`check_clip` first, so that a bad clip is refused before any frame is tracked. What
cannot be right is refused (`UserError`); what is unlikely gives a warning.

Not detectable: rows flipped top to bottom and columns mirrored. A chest has no mark
that tells them from an unusual patient; the geometry's source must get them right.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fluoro_jax.clip import DOMAINS, Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.tracking.learned import TrainingDomain

Reference = tuple[np.ndarray, np.ndarray]  # frame 0 and its true mask, each [H, W]

# Ours, all of these limits.
PIXEL_OFF = 0.05  # relative difference of a pixel's size from the one trained on
SPACING_OFF = 0.25  # relative difference of the time between two frames
OFF = SPACING_OFF + 1e-6  # so that exactly as much passes whatever its rounding
LONGEST_GAP = 4.25  # frame spacings; after more, breathing has moved on too far
FARTHEST_MM = 1000.0  # no panel is shifted by more, whatever the tracker
LARGEST_LINE_INTEGRAL = 20.0  # transmission 2e-9: no frame has this median
# Of line integrals. The studies' clips have 2.9 to 4.6; the limits leave a factor of
# 1.7 to 3.6 either way for other patients, views and energies, while counts and most
# frames scaled to [0, 1] lie outside.
USUAL_MEDIAN = (0.8, 8.0)
# The studies' mediastinum exceeds the lungs by about 1, and is lower by as much in an
# inverted frame: a quarter of that is clear of noise and leaves room for less contrast.
POLARITY_MARGIN = 0.25


@dataclass(frozen=True)
class FrameCheck:
    """The state that the checks of the next frame need; part of a tracker's state.

    Attributes:
        geometry: the view of the frames.
        learned: what the tracker was trained on; None if it uses no image.
        frame_s: time between frames that the tracker needs; None for any.
        last_s: time of the newest frame; None before the first.
        late: the newest frame came after a gap.
        fills_gaps: the tracker makes up for dropped frames, however often.
    """

    geometry: Geometry
    learned: TrainingDomain | None = None
    frame_s: float | None = None
    last_s: float | None = None
    late: bool = False
    fills_gaps: bool = False


def begin(
    geometry: Geometry,
    reference: Reference | None,
    *,
    domain: str,
    learned: TrainingDomain | None = None,
    frame_s: float | None = None,
    fills_gaps: bool = False,
) -> FrameCheck:
    """Returns the `FrameCheck` of a sequence that is about to start.

    Args:
        geometry: the view of every frame.
        reference: None, or frame 0 and its true mask.
        domain: what the frames hold, see `Clip`.
        learned: what the tracker was trained on, if it uses the images.
        frame_s: time between frames that it needs; by default that of `learned`.
        fills_gaps: it makes up for dropped frames.

    Raises:
        UserError: a view, domain or reference that this tracker cannot use.
    """
    _check_view(geometry)
    if domain not in DOMAINS:
        raise UserError(
            f"domain {domain!r}",
            needed="one of " + ", ".join(DOMAINS),
            why="the domain says what a pixel's number means",
            fix="correct the domain of the clip",
        )
    if learned is not None:
        _check_learned_view(geometry, learned)
        _check_domain(domain, learned)
    # A baseline that uses no image has no `learned`: only the view and the reference
    # can be wrong for it.
    if reference is not None:
        _check_reference(geometry, reference)
    if frame_s is None and learned is not None:
        frame_s = learned.frame_s
    return FrameCheck(geometry, learned, frame_s, fills_gaps=fills_gaps)


def next_frame(
    check: FrameCheck, frame: np.ndarray, time_s: float
) -> tuple[FrameCheck, np.ndarray]:
    """Returns the next `FrameCheck` and the frame as float32 `[H, W]`.

    A refused frame leaves the tracker's state as it was: the caller may go on with the
    next one.

    Raises:
        UserError: another shape, values that are not finite or not possible, or a time
            that does not follow.
    """
    frame = np.asarray(frame, np.float32)
    view = check.geometry
    if frame.shape != (view.rows, view.cols):
        raise UserError(
            f"a frame of shape {frame.shape}",
            needed=f"({view.rows}, {view.cols}), as the view",
            why="pixels get their millimetres from the view",
            fix="pass the geometry of these frames",
        )
    if not np.isfinite(frame).all():
        bad = int((~np.isfinite(frame)).sum())
        raise UserError(
            f"the frame at {time_s} s has {bad} values that are not finite",
            needed="finite numbers in every pixel",
            why="one NaN would reach every pixel of this and of all later answers",
            fix="leave this frame out and go on with the next; the state is unchanged",
        )
    following = _tick(check, time_s)
    if check.learned is not None:
        # Line integrals are checked where a network reads them; a blind baseline takes
        # any.
        _check_values(frame, check.learned, first=check.last_s is None)
    gap = 0.0 if check.last_s is None else time_s - check.last_s
    if check.frame_s is not None and gap > (1.0 + OFF) * check.frame_s:
        _warn(
            f"{gap:.3g} s between two frames",
            f"trained on {check.frame_s:g} s; answers may be less exact",
            "check for dropped frames",
        )
    return following, frame


def check_clip(
    clip: Clip,
    learned: TrainingDomain | None = None,
    reference: Reference | None = None,
    *,
    fills_gaps: bool = False,
) -> None:
    """Refuses a clip that a tracker cannot use.

    Args:
        clip: frames `[T, H, W]`; its truth is not read.
        learned: what the tracker was trained on, or None.
        reference: None, or frame 0 and its true mask.
        fills_gaps: as in `begin`.

    Raises:
        UserError: with the first problem found.
    """
    frames, times = np.asarray(clip.frames), np.asarray(clip.time_s)
    if frames.ndim != 3 or len(frames) == 0 or times.shape != (len(frames),):
        raise UserError(
            f"a clip of shape {frames.shape} with times of shape {times.shape}",
            needed="frames [T, H, W] with T >= 1 and one time a frame",
            why="a tracker is fed one frame at a time",
            fix="check how the clip was read or cut",
        )
    how: Any = dict(domain=clip.domain, learned=learned, fills_gaps=fills_gaps)
    check = begin(clip.geometry, reference, **how)
    finite = np.isfinite(frames).all(axis=(1, 2))
    if not finite.all():
        raise UserError(
            f"frame {int(np.argmin(finite))} holds values that are not finite",
            needed="finite numbers in every pixel",
            why="one NaN reaches every pixel of the answer",
            fix="repair or leave out that frame",
        )
    for time_s in times:
        check = _tick(check, float(time_s))


def _tick(check: FrameCheck, time_s: float) -> FrameCheck:
    """The `FrameCheck` after a frame at `time_s`; raises if that time cannot follow."""
    if not math.isfinite(time_s):
        _refuse_time(f"a frame at {time_s} s", "a finite time in seconds")
    if check.last_s is None:
        return replace(check, last_s=time_s)
    gap = time_s - check.last_s
    if not gap > 0.0:
        _refuse_time(
            f"a frame at {time_s:g} s after one at {check.last_s:g} s",
            "times that increase from frame to frame",
        )
    late, usual = False, check.frame_s
    if usual is not None:
        filled = check.fills_gaps and gap >= 1.5 * usual  # two spacings, rounded
        # One late frame may be a dropped one; two in a row are another frame rate.
        late = gap > (1.0 + OFF) * usual and not filled
        too_late = gap > LONGEST_GAP * usual or (late and check.late)
        if gap < (1.0 - OFF) * usual or too_late:
            _refuse_time(
                f"{gap:.4g} s between the frames at {check.last_s:g} and {time_s:g} s",
                f"{usual:g} s within {SPACING_OFF:.0%}; one gap of up to 4 frames",
                why="the tracker has learned how far a tumour moves in that time",
                fix="resample the clip in time (fluoro track does), or begin again "
                "with init after a longer gap",
            )
    return replace(check, last_s=time_s, late=late)


def _check_view(view: Geometry) -> None:
    """Refuses a view that no X-ray machine has."""
    numbers = dict(_numbers(view))
    for name, value in numbers.items():
        if not math.isfinite(value):
            _refuse_view(f"{name} = {value}", "a finite number")
    for name in ("sad_mm", "sdd_mm", "pixel_mm[0]", "pixel_mm[1]"):
        if numbers[name] <= 0.0:
            _refuse_view(f"{name} = {numbers[name]:g}", "more than 0")
    if numbers["sdd_mm"] < numbers["sad_mm"]:
        _refuse_view(
            f"sdd_mm = {numbers['sdd_mm']:g} below sad_mm = {numbers['sad_mm']:g}",
            "a detector behind the isocentre",
        )
    if view.rows < 1 or view.cols < 1:
        _refuse_view(f"{view.rows} x {view.cols} pixels", "at least one of each")
    for name in ("offset_mm[0]", "offset_mm[1]"):
        if abs(numbers[name]) > FARTHEST_MM:
            _refuse_view(
                f"{name} = {numbers[name]:g}", f"at most {FARTHEST_MM:g} mm either way"
            )


def _numbers(view: Geometry) -> Iterator[tuple[str, float]]:
    for name in ("sad_mm", "sdd_mm", "gantry_deg"):
        yield name, float(getattr(view, name))
    for name in ("pixel_mm", "offset_mm"):
        for axis in (0, 1):
            yield f"{name}[{axis}]", float(getattr(view, name)[axis])


def _check_learned_view(view: Geometry, learned: TrainingDomain) -> None:
    """Refuses another grid, angle or panel position than those trained on."""
    trained = learned.view
    want, found = iso_pixel_mm(trained), iso_pixel_mm(view)
    same_size = (view.rows, view.cols) == (trained.rows, trained.cols)
    # At the isocentre: a network knows the size of anatomy in pixels, whatever pitch
    # and magnification make it.
    off = max(abs(f / w - 1.0) for f, w in zip(found, want, strict=True))
    if not same_size or off > PIXEL_OFF:
        raise UserError(
            f"frames of {_grid(view)} at the isocentre",
            needed=f"{_grid(trained)}, within {PIXEL_OFF:.0%}",
            why="a network recognises a tumour by its appearance at that scale",
            fix="resample the frames and pass the geometry of the new ones "
            "(fluoro_jax.tracking.resample; fluoro track does it)",
        )
    turn = learned.turned_deg(float(view.gantry_deg))
    sides = " or ".join(f"{angle:g}" for angle in learned.angles_deg)
    least, most = learned.gantry_from_deg, learned.gantry_within_deg
    if not least <= turn <= most:
        limits = f"{least:.0f} to {most:.0f}" if least else f"at most {most:.0f}"
        raise UserError(
            f"gantry_deg = {float(view.gantry_deg):g}",
            needed=f"{limits} degrees either side of {sides}",
            why="from another side the anatomy looks different from what was learned",
            fix="use weights trained for this angle",
        )
    for axis, name in enumerate(("below", "to the right of")):
        shift = float(view.offset_mm[axis]) - float(trained.offset_mm[axis])
        if abs(shift) > learned.offset_within_mm:
            raise UserError(
                f"panel centre {shift:g} mm {name} the training position",
                needed=f"at most {learned.offset_within_mm:g} mm at the detector",
                why="the frames would show other anatomy than was learned",
                fix="check offset_mm of the geometry: (row, column) in mm",
            )


def _check_domain(domain: str, learned: TrainingDomain) -> None:
    if domain not in ("line_integral", "log"):
        raise UserError(
            f"a clip whose domain is {domain!r}",
            needed="line_integral or log: -ln(reading / open beam), bone bright",
            why="the network was trained on line integrals; other values are answered "
            "wrongly and with high confidence",
            fix="convert counts by -ln(counts / open beam): give open_beam in "
            "geometry.json, and set the domain to log",
        )
    if domain == "log" and not learned.exposed:
        _warn(
            "frames from a panel (domain log)",
            "trained on ideal line integrals without scatter; expect larger errors",
            "compare the masks with the frames before using any number",
        )


def _check_reference(view: Geometry, reference: Reference) -> None:
    for name, array in zip(("frame", "mask"), reference, strict=True):
        array = np.asarray(array)
        if array.shape != (view.rows, view.cols):
            raise UserError(
                f"a reference {name} of shape {array.shape}",
                needed=f"({view.rows}, {view.cols}), as the view",
                why="the reference is frame 0 of this clip and its mask",
                fix="pass frame 0 and its mask in the pixels of the clip",
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"the reference {name} holds values that are not finite",
                needed="finite numbers in every pixel",
                why="one NaN reaches every pixel of the answer",
                fix="repair the reference",
            )
    if not np.asarray(reference[1]).any():
        raise UserError(
            "the reference mask is empty",
            needed="frame 0 with the tumour outlined in it",
            why="a tracker given frame 0 starts from the tumour's place in it",
            fix="pass a mask with the tumour, or reference=None",
        )


def _check_values(frame: np.ndarray, learned: TrainingDomain, *, first: bool) -> None:
    """Refuses impossible line integrals; warns, on the first frame, of unlikely."""
    middle = float(np.median(frame[::4, ::4]))  # a sample tells it, and is quick
    if middle > LARGEST_LINE_INTEGRAL:
        raise UserError(
            f"a frame whose median is {middle:.4g}",
            needed=f"line integrals, whose median is below {LARGEST_LINE_INTEGRAL:g}",
            why="nothing would pass through such a patient; these look like counts",
            fix="convert counts by -ln(counts / open beam) first",
        )
    if not first:
        return
    low, high = USUAL_MEDIAN
    if not low <= middle <= high:
        _warn(
            f"the first frame's median is {middle:.3g}",
            f"line integrals of a chest have {low:g} to {high:g}: wrong scale likely",
            "check that the frames are -ln(reading / open beam)",
        )
    if learned.whole_chest and _inverted(frame):
        _warn(
            "the middle of the first frame is darker than the lungs",
            "bone is bright in line integrals: inverted polarity likely",
            "check the sign; counts and display images often have bone dark",
        )


def _inverted(frame: np.ndarray) -> bool:
    """Spine and mediastinum attenuate more than the lungs beside them."""
    # Shares of the width, ours: on a centred panel the lungs lie there, and the
    # mediastinum between them.
    cols = frame.shape[1]
    part = lambda a, b: frame[:, int(a * cols) : max(int(b * cols), int(a * cols) + 1)]
    lungs = 0.5 * (part(0.15, 0.35).mean() + part(0.65, 0.85).mean())
    return bool(part(0.42, 0.58).mean() < lungs - POLARITY_MARGIN)


def _grid(view: Geometry) -> str:
    """Rows, columns and pixel size at the isocentre, in words."""
    down, right = iso_pixel_mm(view)
    square = abs(down / right - 1.0) < 1e-3
    size = f"{down:.3g} mm" if square else f"{down:.3g} x {right:.3g} mm"
    return f"{view.rows} x {view.cols} pixels of {size}"


def _refuse_view(found: str, needed: str) -> None:
    raise UserError(
        f"a view with {found}",
        needed=needed,
        why="every millimetre of the answer comes from the view",
        fix="correct the clip's geometry",
    )


def _refuse_time(
    found: str,
    needed: str,
    *,
    why: str = "a tracker follows motion from frame to frame",
    fix: str = "correct the order or the times of the frames",
) -> None:
    raise UserError(found, needed=needed, why=why, fix=fix)


def _warn(found: str, meaning: str, fix: str) -> None:
    # Past the frames of this module, so that the warning names who gave the frame.
    warnings.warn(f"WARNING {found}; {meaning}. Next: {fix}.", stacklevel=4)
