"""Frames in an `.npz` file, checked before any is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fluoro_jax.errors import refuse

MEMBER = "frames"
MOST_BYTES = 4 * 2**30  # as `mha.MOST_BYTES`
MOST_RATIO = 1100  # zlib compresses to 1/1032 at best


def read_npz(path: Path) -> np.ndarray:
    """Returns the array `frames` of a file.

    Raises:
        UserError: no such file or array, objects in place of numbers, or more bytes
            than are allowed or than the file can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{MEMBER}.npy").file_size
        # What the directory of the archive claims, before memory is taken for it.
        if size > min(MOST_BYTES, MOST_RATIO * path.stat().st_size + 65536):
            raise ValueError(f"{size} bytes")
        with np.load(path, allow_pickle=False, max_header_size=10_000) as arrays:
            array = arrays[MEMBER]
        if array.dtype.kind not in "uif":
            raise ValueError(f"numbers of type {array.dtype}")
        return array
    # A damaged archive ends in any of these, and in zlib.error and EOFError.
    except (Exception, RecursionError) as error:
        refuse(
            f"{path}: no frames can be read ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:80] if str(error) else 'damaged'})",
            f"an array {MEMBER!r} of numbers [T, H, W], at most 4 GiB",
            "the file is damaged, or holds something else",
            f"np.savez_compressed(FILE, {MEMBER}=frames)",
        )
