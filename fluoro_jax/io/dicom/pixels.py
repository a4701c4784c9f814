"""Decodes the frames of DICOM files one by one into one float32 array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.dicom.header import (
    MOST_DECODED_BYTES,
    MOST_RATIO,
    import_pydicom,
    quiet,
    whole,
)
from fluoro_jax.io.dicom.tags import Tags
from fluoro_jax.io.memory import free_bytes

EXTRA = "pip install 'fluoro_jax[dicom-compressed]'"
FREE_SHARE = 0.8  # ours: of the free memory that one clip may take
Convert = Callable[[np.ndarray], np.ndarray]


def frame_shape(tags: Tags) -> tuple[int, int, int]:
    """Returns (frames, rows, columns) as the header declares them.

    Raises:
        UserError: if rows or columns are absent.
    """
    get = lambda key: whole(tags.path, tags.header, key)
    rows, cols = get("Rows"), get("Columns")
    if rows is None or cols is None:
        refuse(
            f"{tags.path}: no size of a frame",
            "(0028,0010) Rows and (0028,0011) Columns",
            "the file has no image, or is cut off",
            "export the file again",
        )
    return get("NumberOfFrames") or 1, rows, cols


def check_pixels(tags: Tags) -> None:
    """Checks syntax and length of a file's pixels before any is decoded.

    Raises:
        UserError: no decoder for the transfer syntax, or fewer bytes than the frames
            need.
    """
    count, rows, cols = frame_shape(tags)
    bits = whole(tags.path, tags.header, "BitsAllocated") or 0
    needed = count * rows * cols * bits // 8
    size = tags.path.stat().st_size
    syntax = _syntax(tags)
    compressed = syntax.is_compressed
    if compressed:
        _check_decoder(tags.path, syntax)
    if size * (MOST_RATIO if compressed else 1) < needed:
        refuse(
            f"{tags.path}: {size} bytes",
            f"more for {count} frames of {rows} x {cols} pixels of {bits} bits",
            "the file is cut off, or its header is of another file",
            "copy the file again",
        )


def check_memory(path: Path, count: int, rows: int, cols: int) -> None:
    """Refuses a clip larger than the limit or the free memory, before it is decoded."""
    needed, free = 4 * count * rows * cols, free_bytes()
    most = MOST_DECODED_BYTES
    if free is not None:
        most = min(most, int(FREE_SHARE * free))
    if needed > most:
        refuse(
            f"{path}: {count} frames of {rows} x {cols} take {needed / 2**30:.2f} GiB",
            f"at most {most / 2**30:.2f} GiB as float32 in this machine's free memory",
            "the whole clip is held in memory",
            f"export at most {most // (4 * rows * cols)} of its frames, or bin pixels",
        )


def decode(files: Sequence[tuple[Tags, Convert]], turn: Convert) -> np.ndarray:
    """Returns the frames of all files in their order, `[T, H, W]` float32.

    Args:
        files: headers, and how each file's stored pixels become the clip's numbers.
        turn: flips a frame.

    Raises:
        UserError: pixels that cannot be decoded, or that are not finite.
    """
    shapes = [frame_shape(tags) for tags, _ in files]
    _, rows, cols = shapes[0]
    total = sum(count for count, _, _ in shapes)
    check_memory(files[0][0].path, total, rows, cols)
    out = np.empty((total, rows, cols), np.float32)
    place = 0
    for (tags, convert), (count, _, _) in zip(files, shapes, strict=True):
        end = place + count
        for stored in _stored(tags):
            if stored.shape != (rows, cols) or place == end:
                _undecoded(tags.path, f"a frame of shape {stored.shape}")
            out[place] = turn(convert(stored))
            place += 1
        if place != end:
            _undecoded(tags.path, f"{count - (end - place)} of {count} frames")
    if not np.isfinite(out).all():
        refuse(
            f"{files[0][0].path}: values that are not finite",
            "finite numbers in every pixel",
            "one of them reaches every pixel of the answer",
            "export the frames again",
        )
    return out


def decode_first(tags: Tags, convert: Convert, turn: Convert) -> np.ndarray:
    """Returns the first frame of a file alone, as `decode` does, `[H, W]` float32."""
    stored = next(_stored(tags), None)
    if stored is None or stored.shape != frame_shape(tags)[1:]:
        _undecoded(tags.path, "no whole first frame")
    return np.ascontiguousarray(turn(convert(stored)))


def _stored(tags: Tags) -> Iterator[np.ndarray]:
    """Yields the stored numbers of each frame, unused high bits removed."""
    import_pydicom(tags.path)
    from pydicom.pixels.utils import iter_pixels

    stored = whole(tags.path, tags.header, "BitsStored") or 0
    signed = whole(tags.path, tags.header, "PixelRepresentation")
    allocated = whole(tags.path, tags.header, "BitsAllocated") or 0
    # Without `indices`: compressed frames are then found in one pass over the file.
    frames = iter_pixels(str(tags.path))
    while True:
        try:
            with quiet():
                frame = next(frames, None)
        # Every decoder has its own exceptions, whose words may quote the header.
        except (Exception, RecursionError) as error:
            _undecoded(tags.path, type(error).__name__)
        if frame is None:
            return
        if not signed and 0 < stored < allocated:
            # Overlays of older files stand in these bits.
            frame = frame & np.array(2**stored - 1, frame.dtype)
        yield frame


def _syntax(tags: Tags) -> Any:
    with quiet():
        meta = getattr(tags.header, "file_meta", None)
        syntax = None if meta is None else meta.get("TransferSyntaxUID")
    # `is_compressed` raises for a UID that is no transfer syntax.
    try:
        if syntax is not None and syntax.is_compressed is not None:
            return syntax
    except Exception:
        syntax = None
    refuse(
        f"{tags.path}: no transfer syntax that is known",
        "(0002,0010) TransferSyntaxUID of pixels that can be decoded",
        "it says how the pixels are stored",
        "export the file again",
    )


def _check_decoder(path: Path, syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UserError(
            f"{path}: compressed pixels ({syntax.name}) without a decoder",
            needed="pylibjpeg or GDCM, installed; or uncompressed pixels",
            why="pydicom decodes this transfer syntax only with their help",
            fix=f"{EXTRA}, or: gdcmconv --raw OLD.dcm NEW.dcm",
        )


def _undecoded(path: Path, found: str) -> NoReturn:
    refuse(
        f"{path}: its pixels cannot be decoded ({found})",
        "whole frames, as many and as large as the header says",
        "the file is cut off or damaged",
        "copy the file again, or export it uncompressed",
    )
