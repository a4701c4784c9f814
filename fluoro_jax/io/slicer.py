"""Writes a folder that the extension SlicerCineTrack of 3D Slicer plays.

    images/00000.mha ...    a frame each, a plane through the isocentre in LPS mm
    Segmentation.mha        the mask of the first frame with one, 20 mm thick
    Transforms.csv          X, Y, Z: its displacement in each frame, LPS mm
    README.txt              what the three are

Frames lie in the isocentre plane, so millimetres are those of `track.csv`. Of a single
view no depth is known: displacements have no part along the beam.

Source: https://slicercinetrack.github.io/Documentation (inputs; DICOM axes).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.geometry import iso_pixel_mm, position_iso_mm, view_axes
from fluoro_jax.io.mha import MetaImage, write_mha

THICK_MM = 20.0  # ours: so that the slice view cuts it wherever it stands
README = """Load in 3D Slicer with the extension SlicerCineTrack (module Track):
  Cine Images Folder  images
  Segmentation File   Segmentation.mha
  Transforms File     Transforms.csv  (columns X, Y, Z; DICOM axes, mm)
Frames lie in the isocentre plane. A single view has no depth: nothing is known along
the beam. In frames without an answer the displacement of the last answer is kept:
{held}
Research software. Not a medical device. Not for clinical use.
"""


def write_slicer(
    folder: Path, clip: Clip, answers: Sequence[Track], masks: np.ndarray
) -> None:
    """Writes the files into a folder, which is made.

    Args:
        folder: of the files; its parent exists.
        clip: what was tracked.
        answers: one for each frame, in their order.
        masks: `[T, H, W]` in {0, 1}, in the clip's own pixels.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    right, down, beam = (np.asarray(axis, float) for axis in view_axes(clip.geometry))
    # Columns are the directions of the header's axes: right, down, along the beam.
    direction = np.stack([right, down, beam], axis=1)
    down_mm, right_mm = iso_pixel_mm(clip.geometry)
    superior, across = np.asarray(position_iso_mm(clip.geometry, np.zeros(2)), float)
    corner = across * right - superior * down
    frames = np.asarray(clip.frames, np.float32)
    for number, frame in enumerate(frames):
        image = MetaImage(frame[None], (right_mm, down_mm, 1.0), tuple(corner))
        image.direction = direction
        write_mha(images / f"{number:05d}.mha", image)
    first = next((t for t, mask in enumerate(masks) if mask.any()), 0)
    slab = np.repeat(masks[first][None].astype(np.uint8), int(THICK_MM), axis=0)
    start = corner - (THICK_MM - 1.0) / 2 * beam
    solid = MetaImage(slab, (right_mm, down_mm, 1.0), tuple(start))
    solid.direction = direction
    write_mha(folder / "Segmentation.mha", solid)
    shifts, held = _shifts(answers, first)
    # (superior, right) of the image to patient axes.
    moved = shifts[:, 1:] * right - shifts[:, :1] * down
    with (folder / "Transforms.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["X", "Y", "Z"])
        writer.writerows([[f"{value:.4f}" for value in row] for row in moved + 0.0])
    words = ", ".join(map(str, held)) or "none"
    (folder / "README.txt").write_text(README.format(held=words), encoding="utf-8")


def _shifts(answers: Sequence[Track], first: int) -> tuple[np.ndarray, list[int]]:
    """Displacements `[T, 2]` (superior, right) mm from frame `first`; held frames."""
    places = np.array([np.asarray(one.centroid_iso_mm, float) for one in answers])
    missed = np.flatnonzero(~np.isfinite(places).all(axis=1)).tolist()
    shifts = places - places[first]
    # In their order, so that a gap of several frames keeps the answer before it.
    for frame in missed:
        shifts[frame] = shifts[frame - 1] if frame else 0.0
    return shifts, missed
