"""The option that gives the tumour's outline in the first frame, from a file.

The module imports no JAX, so that --help is quick; its functions do.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

from fluoro_jax.errors import refuse

OUTLINE = 0.5  # a mask of zeros and ones is cut here
# For the record; see `tracking/anchored.py` and `tracking/posterior.py`.
GUARDED = (
    "an updated template, or the model where the two are apart and it found the "
    "outlined tumour in the first frame"
)
FOLLOWED = "the model, whose motion model starts at the outline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives a verb --frame0."""
    parser.add_argument(
        "--frame0",
        metavar="MASK",
        help="the tumour in the first frame, not 0 inside: a .mha or a grey .png of "
        "the clip's pixels, or the labels of a TrackRAD case; this outline is moved by "
        "an updated template, and as the model's answer moves where the two are apart "
        "and it found the outlined tumour in that frame",
    )


def given(path: Path | None, clip: Any, tracker: Any) -> tuple[Any, Any]:
    """Returns what a file gives a tracker: an outline to be moved, or a reference.

    A tracker that follows one component starts at the outline by itself: it takes frame
    0 and the mask as its reference. Of any other the answers are moved (`moved`).

    Args:
        path: .png or .mha, not 0 inside; an .mha of several frames gives its first,
            with the frames along its first axis or, as in TrackRAD, its last. None
            gives nothing.
        clip: whose first frame is outlined.
        tracker: of published weights.

    Returns:
        (mask `[H, W]`, 0 or 1, or None; (frame 0, mask) or None).

    Raises:
        UserError: a file of another kind, damaged, empty, or of other pixels than the
            clip's.
    """
    if path is None:
        return None, None
    mask = _read(path, clip.frames.shape[1:])
    if mask.shape != clip.frames.shape[1:]:
        refuse(
            f"{path} has {mask.shape[0]} x {mask.shape[1]} pixels",
            "{} x {}, as the frames of the clip".format(*clip.frames.shape[1:]),
            "it outlines the tumour in the first of them",
            "draw it on the first frame as it is",
        )
    if not mask.any():
        refuse(
            f"the mask in {path} is empty",
            "numbers that are not 0 inside the tumour",
            "the outline of the first frame is moved along",
            "outline the tumour in the first frame, or leave --frame0 out",
        )
    if tracker.cfg.evaluation.answer == "followed":
        return None, (clip.frames[0], mask)
    return mask, None


def moved_by(path: Path | None, outline: Any) -> str | None:
    """Returns what moves the outline, for the record."""
    if path is None:
        return None
    return FOLLOWED if outline is None else GUARDED


def moved(
    rows: list[Any], masks: Any, *, outline: Any, plan: Any, clip: Any
) -> tuple[list[Any], Any]:
    """Returns the rows and masks of `track._follow` with an outline in their place.

    The outline is moved by a template, and by the rows where these know better
    (`AnchoredTracker`). The mean time of that counts in the latency of every frame.

    Done in the clip's own pixels and order, whatever sequences the clip was split into
    for the model.

    Args:
        rows: (track, latency in ms) of every frame.
        masks: `[T, H, W]` uint8.
        outline: of `given`; without one all stays as it is.
        plan: that was run.
        clip: whose first frame is outlined.
    """
    if outline is None:
        return rows, masks
    import numpy as np

    from fluoro_jax.tracking.anchored import anchor, beside
    from fluoro_jax.tracking.tracker import track_clip

    share, view = plan.tracker.cfg.evaluation.offset_share, plan.resampler.source
    # Without the truth, and in the plan's view: without millimetres that is the scale
    # the frames are taken to have.
    blind = dataclasses.replace(clip, mask=None, geometry=view)
    begun = time.perf_counter()
    matched = track_clip(beside(), blind, (np.asarray(clip.frames[0]), outline))
    tracks = anchor([one for one, _ in rows], outline, view, share, matched=matched)
    more_ms = 1e3 * (time.perf_counter() - begun) / len(tracks)
    cut = np.stack([np.asarray(one.probability) >= OUTLINE for one in tracks])
    cut = cut.astype(np.uint8)
    answers = [
        (dataclasses.replace(one, probability=mask), latency_ms + more_ms)
        for one, mask, (_, latency_ms) in zip(tracks, cut, rows, strict=True)
    ]
    return answers, cut


def _read(path: Path, shape: tuple[int, int]) -> Any:
    import numpy as np

    from fluoro_jax.io.mha import read_mha
    from fluoro_jax.io.png import read_png

    if path.suffix not in (".mha", ".png"):
        refuse(
            f"--frame0={path}",
            "a file .mha or .png",
            "other kinds of masks are not read",
            "save the outline of the first frame as one of them",
        )
    mask = read_mha(path).array if path.suffix == ".mha" else read_png(path)[0]
    if mask.ndim == 3 and mask.shape[1:] != shape and mask.T.shape[1:] == shape:
        mask = mask.T  # the labels of a TrackRAD case: the frames are its last axis
    first = mask[0] if mask.ndim == 3 else mask
    if first.ndim != 2:
        refuse(
            f"{path} has {mask.ndim} axes",
            "one mask, or one a frame",
            "it outlines the tumour in the first frame",
            "save the first frame's mask alone",
        )
    # NaN is no number of a mask, and is outside.
    return (np.nan_to_num(first) != 0).astype(np.float32)
