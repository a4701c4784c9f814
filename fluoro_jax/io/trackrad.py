"""TrackRAD2025 case folders: a clip and the masks of its target.

    <case>/images/<case>_frames.mha      [W, H, T], as the challenge names it
    <case>/targets/<case>_labels.mha     the same, 0 or 1
    <case>/frame-rate.json               frames a second, a bare number

The challenge's arrays are [W, H, T] with time last, so time is the first axis of the
`.mha` header and the fastest on disk. Spacing is (1, row, column): a pixel's size in
the isocentre plane, so that the challenge's millimetres are millimetres there.

Source: https://trackrad2025.grand-challenge.org/data
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.io.mha import MetaImage, read_mha, write_mha

# Ours: a frame in 100 s, and faster than any panel.
MOST_RARE_HZ, MOST_OFTEN_HZ = 0.01, 1000.0


@dataclass
class TrackRadCase:
    """Holds the contents of a case folder.

    Attributes:
        frames: `[T, H, W]`, row 0 at the top, in the type of the file.
        rate_hz: frames a second.
        pixel_mm: (row, column) size of a pixel.
        labels: `[T, H, W]` uint8 in {0, 1}, or None if the case has no targets.
    """

    frames: np.ndarray
    rate_hz: float
    pixel_mm: tuple[float, float]
    labels: np.ndarray | None = None


def write_trackrad(folder: Path, case: TrackRadCase) -> None:
    """Writes a case into `folder`, whose name is the case's; made if not there.

    Raises:
        ValueError: for frames that are not `[T, H, W]` or labels of another shape.
    """
    if case.frames.ndim != 3:
        raise ValueError(f"frames are [T, H, W], not {case.frames.shape}")
    if case.labels is not None and case.labels.shape != case.frames.shape:
        raise ValueError(f"labels {case.labels.shape}, frames {case.frames.shape}")
    folder = Path(folder)
    frames_path, labels_path = _paths(folder)
    frames_path.parent.mkdir(parents=True, exist_ok=True)
    spacing = (1.0, *case.pixel_mm)
    # Transposed: [T, H, W] becomes [W, H, T], whose header's first axis is time.
    write_mha(frames_path, MetaImage(np.transpose(case.frames), spacing))
    if case.labels is not None:
        labels_path.parent.mkdir(exist_ok=True)
        labels = np.transpose(case.labels.astype(np.uint8))
        write_mha(labels_path, MetaImage(labels, spacing))
    (folder / "frame-rate.json").write_text(json.dumps(case.rate_hz) + "\n")


def read_trackrad(folder: Path) -> TrackRadCase:
    """Reads a case folder.

    Raises:
        UserError: if a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    frames_path, labels_path = _paths(folder)
    image = read_mha(frames_path)
    if image.array.ndim != 3:
        raise UserError(
            f"{frames_path}: {image.array.ndim} axes",
            needed="3 axes (width, height, time)",
            why="a case is a clip",
            fix="give a TrackRAD case folder",
        )
    labels = None
    if labels_path.is_file():
        labels = np.transpose(read_mha(labels_path).array)
        if labels.shape != image.array.shape[::-1]:
            raise UserError(
                f"{labels_path}: {labels.shape} (frames, rows, columns)",
                needed=f"{image.array.shape[::-1]}, as {frames_path.name} has",
                why="every frame has a mask of its own size",
                fix="use labels and frames of the same case",
            )
        # Any other value would be a further target.
        values = np.unique(labels)
        if not np.isin(values, (0, 1)).all():
            raise UserError(
                f"{labels_path}: labels from {values.min()} to {values.max()}",
                needed="0 (background) and 1 (target)",
                why="one target is scored",
                fix="write one target's mask as 0 and 1",
            )
    # Integers have no NaN, and `isfinite` of a large array is not free.
    if image.array.dtype.kind == "f" and not np.isfinite(image.array).all():
        raise UserError(
            f"{frames_path}: values that are not finite",
            needed="finite numbers in every pixel",
            why="one NaN reaches every answer that follows",
            fix="repair or leave out those frames",
        )
    return TrackRadCase(
        frames=np.transpose(image.array),
        rate_hz=_rate_hz(folder / "frame-rate.json"),
        pixel_mm=(image.spacing[1], image.spacing[2]),
        labels=labels,
    )


def _paths(folder: Path) -> tuple[Path, Path]:
    # "." has no name. Not `resolve`: a link is named as the user named the case.
    name = os.path.basename(os.path.abspath(folder))
    return (
        folder / "images" / f"{name}_frames.mha",
        folder / "targets" / f"{name}_labels.mha",
    )


def _rate_hz(path: Path) -> float:
    try:
        # "-sig": editors on Windows put a byte order mark before the number.
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        # bool is an int in Python: "true" would pass for 1 Hz.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        rate = float(value) if number else 0.0
    except (OSError, ValueError, OverflowError, RecursionError):
        rate = 0.0
    if not MOST_RARE_HZ <= rate <= MOST_OFTEN_HZ:
        raise UserError(
            f"{path}: no frame rate",
            needed=f"a bare number of frames a second, from {MOST_RARE_HZ:g} to "
            f"{MOST_OFTEN_HZ:g}, for example 4.0",
            why="without it frames have no times",
            fix=f"echo 4.0 > {path}",
        )
    return rate
