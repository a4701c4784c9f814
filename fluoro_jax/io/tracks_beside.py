"""A track's files on request: DICOM-SEG with its frames; a SlicerCineTrack folder."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import refuse
from fluoro_jax.io.clips import ReadClip
from fluoro_jax.io.dicom.header import import_pydicom
from fluoro_jax.io.dicom.seg import write_seg
from fluoro_jax.io.dicom.write import write_rt_image
from fluoro_jax.io.slicer import write_slicer

SEG = ("seg.dcm", "frames.dcm")  # the masks, and the frames that they refer to
SLICER = ("slicer",)


def check_beside(folder: Path, *, seg: bool, slicer: bool, overwrite: bool) -> None:
    """Checks that these files may be written, before anything is tracked.

    Raises:
        UserError: pydicom is not installed, or the files are there and `overwrite` is
            False.
    """
    if seg:
        import_pydicom(folder / SEG[0])
    names = _names(seg=seg, slicer=slicer)
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        refuse(
            f"{folder} holds {', '.join(there)} already",
            "--overwrite, or another folder",
            "results are not replaced unasked",
            f"add --overwrite, or --out {folder}-2",
        )


@contextlib.contextmanager
def write_beside(
    folder: Path,
    read: ReadClip,
    answers: Sequence[Track],
    masks: np.ndarray,
    *,
    algorithm: str,
    seg: bool,
    slicer: bool,
) -> Iterator[list[str]]:
    """Writes the files under temporary names; renames them when the body succeeds.

    Args:
        folder: made if it is not there, and removed again after a failure.
        read: what was tracked.
        answers: one for each frame, in their order.
        masks: `[T, H, W]` in {0, 1}, in the clip's own pixels.
        algorithm: name of what made the masks.
        seg: write `SEG`.
        slicer: write `SLICER`.

    Yields:
        The names of the files, for `run.json`.
    """
    names = _names(seg=seg, slicer=slicer)
    made = not folder.exists()
    fresh = {name: folder / f".new-{os.getpid()}-{name}" for name in names}
    try:
        if names:
            folder.mkdir(parents=True, exist_ok=True)
        if seg:
            write_seg(fresh[SEG[0]], read.clip, masks, algorithm=algorithm)
            write_rt_image(fresh[SEG[1]], read.clip)
        if slicer:
            write_slicer(fresh[SLICER[0]], read.clip, answers, masks)
        yield names
        for name, path in fresh.items():
            if path.is_dir() and (folder / name).is_dir():
                shutil.rmtree(folder / name)
            path.replace(folder / name)
    finally:
        # Gone after a success; after a failure, Ctrl-C too, nothing half-written stays.
        for path in fresh.values():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _names(*, seg: bool, slicer: bool) -> list[str]:
    return [*(SEG if seg else ()), *(SLICER if slicer else ())]
