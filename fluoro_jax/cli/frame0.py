"""The option that shows a tracker frame 0 with its outline, from a file.

The module imports no JAX, so that --help is quick; `shown` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fluoro_jax.errors import refuse

OUTLINE = 0.5  # of a mask of zeros and ones, between pixels of another size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives a verb --frame0."""
    parser.add_argument(
        "--frame0",
        metavar="MASK",
        help="the tumour in the first frame, not 0 inside: a .mha or a grey .png of "
        "the clip's pixels; this outline is moved as the model's answer moves",
    )


def shown(tracker: Any, clip: Any, path: Path | None) -> tuple[Any, Any]:
    """Returns the tracker that moves the outline in a file, and its reference.

    One that follows a component starts at the outline by itself. Without a file the
    tracker is returned as it is, and None.

    Args:
        tracker: of published weights.
        clip: whose first frame is outlined.
        path: of the mask; an .mha of several frames gives its first.

    Raises:
        UserError: a file of another kind, damaged, or of other pixels than the clip's.
    """
    from fluoro_jax.tracking.anchored import AnchoredTracker

    if path is None:
        return tracker, None
    mask = _read(path)
    if mask.shape != clip.frames.shape[1:]:
        refuse(
            f"{path} has {mask.shape[0]} x {mask.shape[1]} pixels",
            "{} x {}, as the frames of the clip".format(*clip.frames.shape[1:]),
            "it outlines the tumour in the first of them",
            "draw it on the first frame as it is",
        )
    reference = clip.frames[0], mask
    if tracker.cfg.evaluation.answer == "followed":
        return tracker, reference
    share = tracker.cfg.evaluation.offset_share
    return AnchoredTracker(tracker, share), reference


def threshold(tracker: Any) -> float:
    """Returns the probability from which a pixel of its resampled answer is tumour."""
    from fluoro_jax.tracking.anchored import AnchoredTracker

    anchored = isinstance(tracker, AnchoredTracker)
    return OUTLINE if anchored else float(tracker.cfg.evaluation.threshold)


def _read(path: Path) -> Any:
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
    first = mask[0] if mask.ndim == 3 else mask
    if first.ndim != 2:
        refuse(
            f"{path} has {mask.ndim} axes",
            "one mask, or one a frame",
            "it outlines the tumour in the first frame",
            "save the first frame's mask alone",
        )
    return (first != 0).astype(np.float32)
