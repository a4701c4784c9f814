"""A folder of PNG frames, in the order of the numbers in their names."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np

from fluoro_jax.errors import UserError, refuse

# Ours: no panel has more, and a decompression bomb would.
MOST_PIXELS = 2**26  # of one frame: 8192 x 8192
MOST_BYTES = 4 * 2**30  # of all frames as float32
DEPTH = {"L": 255.0, "I;16": 65535.0, "I;16B": 65535.0, "I;16L": 65535.0, "I": 65535.0}


def read_png_folder(folder: Path) -> tuple[np.ndarray, float]:
    """Reads all `*.png` of a folder.

    Returns:
        (grey levels `[T, H, W]` float32, the largest level that the files can hold).

    Raises:
        UserError: no frames, gaps or repeats in their numbers, colour, sizes that
            differ, damaged or too many pixels.
    """
    paths = _in_order(folder)
    frames: np.ndarray | None = None
    depth = 0.0
    for place, path in enumerate(paths):
        frame, own = read_png(path)
        if frames is None:
            if len(paths) * frame.size * 4 > MOST_BYTES:
                refuse(
                    f"{folder}: {len(paths)} frames of {frame.shape}",
                    f"at most {MOST_BYTES / 2**30:.0f} GiB",
                    "the whole clip is held in memory",
                    "cut the clip, or bin its pixels",
                )
            # The first frame's size and depth hold for the clip; memory is taken once.
            frames, depth = np.zeros((len(paths), *frame.shape), np.float32), own
        if frame.shape != frames.shape[1:] or own != depth:
            refuse(
                f"{path} has {frame.shape} pixels of up to {own:.0f}",
                f"{frames.shape[1:]} of up to {depth:.0f}, as {paths[0].name}",
                "frames of one clip have one size and depth",
                "take other pictures out of the folder",
            )
        frames[place] = frame
    assert frames is not None
    return frames, depth


def _in_order(folder: Path) -> list[Path]:
    """The PNG files by the last number in their names, which must be consecutive."""
    found: dict[int, Path] = {}
    # By number: "frame_10" sorts before "frame_9" as text.
    for path in sorted(folder.glob("*.png")):
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            refuse(
                f"{path}: no number in its name",
                "names such as frame_0001.png",
                "the number says when the frame was taken",
                "number the frames, and move other pictures out of the folder",
            )
        # The last number: names may begin with a date or a case.
        number = int(digits[-1])
        if number in found:
            refuse(
                f"{path.name} and {found[number].name} have the same number",
                "every number once",
                "the number says when the frame was taken",
                "remove one of them",
            )
        found[number] = path
    if not found:
        refuse(f"no .png in {folder}", "frames", "nothing to read", "check the path")
    numbers = sorted(found)
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            refuse(
                f"{folder}: frame {before + 1} is missing, after {found[before].name}",
                "numbers without a gap",
                "the times of all later frames would be wrong",
                "add the frame, or renumber the rest and give time_s",
            )
    return [found[number] for number in numbers]


def read_png(path: Path) -> tuple[np.ndarray, float]:
    """Reads one grey PNG.

    Returns:
        (grey levels `[H, W]` float32, the largest level that the file can hold).

    Raises:
        UserError: no such file, another kind, colour, damaged or too many pixels.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Size and mode come from the header; the pixels are unpacked only below.
            size, mode = image.size, image.mode
            if image.format != "PNG" or mode not in DEPTH:
                refuse(
                    f"{path}: {image.format} of mode {mode}",
                    "a grey PNG of 8 or 16 bits",
                    "a pixel has one number",
                    "convert it without changing its levels",
                )
            if size[0] * size[1] > MOST_PIXELS:
                refuse(
                    f"{path}: {size[0]} x {size[1]} pixels",
                    f"at most {MOST_PIXELS}",
                    "no panel has more",
                    "bin the pixels",
                )
            return np.asarray(image, np.float32), DEPTH[mode]
    except UserError:
        # `refuse` above raises one of these too (`UserError` is a `ValueError`).
        raise
    # PIL raises a SyntaxError for broken chunks, and the bomb's own error for a huge
    # header.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        refuse(
            f"{path} cannot be read ({str(error)[:80]})",
            "a whole PNG file",
            "the file is damaged or of another kind",
            "copy the file again",
        )
