"""A track's files on request: DICOM-SEG and SR, Slicer, TrackRAD, an animation."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.errors import refuse
from fluoro_jax.geometry import iso_pixel_mm
from fluoro_jax.io.animation import write_animation
from fluoro_jax.io.clips import ReadClip
from fluoro_jax.io.dicom.header import import_pydicom
from fluoro_jax.io.dicom.seg import write_seg
from fluoro_jax.io.dicom.sr import write_sr
from fluoro_jax.io.dicom.write import write_rt_image
from fluoro_jax.io.files import remove, replaced
from fluoro_jax.io.sidecar import NAME as SIDECAR
from fluoro_jax.io.sidecar import write_sidecar
from fluoro_jax.io.slicer import write_slicer
from fluoro_jax.io.trackrad import TrackRadCase, write_trackrad
from fluoro_jax.io.tracks import FILES, PAGE, RESULTS, earlier_record

SEG = ("seg.dcm", "frames.dcm")  # the masks, and the frames that they refer to
# What is written for each word of a request.
SR = ("centroid_sr.dcm", SEG[1])
GIF = "track.gif"
KINDS = {
    "seg": SEG,
    "sr": SR,
    "slicer": ("slicer",),
    "trackrad": ("trackrad",),
    "gif": (GIF,),
}
FOLDERS = ("slicer", "trackrad")  # of the names in KINDS; all others are files
CASE = "clip"  # the case in the folder "trackrad"
NOTE = "not a medical device"  # above every frame: pictures are passed on alone


def check_beside(folder: Path, kinds: Sequence[str], *, overwrite: bool) -> None:
    """Checks that these files may be written, before anything is tracked.

    Args:
        folder: of the track.
        kinds: any of `KINDS`.
        overwrite: files that are there may be replaced.

    Raises:
        UserError: pydicom is not installed; the files are there and `overwrite` is
            False; or a folder is there that no earlier track wrote.
    """
    if "seg" in kinds or "sr" in kinds:
        import_pydicom(folder / SEG[0])
    names = _names(kinds)
    there = [name for name in names if (folder / name).exists()]
    listed = _listed(folder)
    for name in there:
        # A folder of that name may be a data set: files in it are not named above.
        ours = name not in FOLDERS or name in listed
        if not ours or (folder / name).is_dir() != (name in FOLDERS):
            refuse(
                f"{folder / name} is no result of an earlier track (by its run.json)",
                "a name that is free, or what an earlier track wrote",
                "--overwrite replaces results of a track, and nothing else",
                f"move {folder / name} away, or add --out {folder}-2",
            )
    if there and not overwrite:
        refuse(
            f"{folder} holds {', '.join(there)} already",
            "--overwrite, or another folder",
            "results are not replaced unasked",
            f"add --overwrite, or --out {folder}-2",
        )


def check_inputs(folder: Path, inputs: Iterable[Path], kinds: Sequence[str]) -> None:
    """Checks that what was read can be read again, before anything is tracked.

    Args:
        folder: of the track.
        inputs: files and folders that were read.
        kinds: any of `KINDS`.

    Raises:
        UserError: a result has the path of one of them, or of a folder that it is in,
            or would be taken for a frame of the clip.
    """
    inputs = list(inputs)
    read = _with_parents(inputs)
    frames = {one.resolve() for one in inputs if one.is_dir()}
    # Of a folder with images/, a TrackRAD case, DICOM files are not read.
    if folder.resolve() in frames and not (folder / "images").is_dir():
        for name in _names(kinds):
            if name.endswith(".dcm"):
                refuse(
                    f"{name} in {folder}, which holds the frames of the clip",
                    "another folder for DICOM files",
                    "it would be read as one of them the next time",
                    f"--out {folder}-2",
                )
    for name in (*FILES, PAGE, RESULTS, *_names(kinds)):
        if (folder / name).resolve() in read:
            refuse(
                f"the clip, or the mask of its first frame, is read from "
                f"{folder / name}",
                "results beside what was read, not in its place",
                "writing them would remove it, which --overwrite does not ask for",
                f"--out {folder}-2",
            )


@contextlib.contextmanager
def write_beside(
    folder: Path,
    read: ReadClip,
    answers: Sequence[Track],
    masks: np.ndarray,
    *,
    algorithm: str,
    kinds: Sequence[str],
    inputs: Iterable[Path] = (),
) -> Iterator[list[str]]:
    """Writes the files and renames them; takes it back if the body fails.

    Files of an earlier track that its `run.json` lists and that are not written again
    are removed, so that none stands beside another track's results.

    Args:
        folder: made if it is not there, and removed again after a failure.
        read: what was tracked.
        answers: one for each frame, in their order.
        masks: `[T, H, W]` in {0, 1}, in the clip's own pixels.
        algorithm: name of what made the masks.
        kinds: any of `KINDS`.
        inputs: files beside those of `read` that were read, and are not removed.

    Yields:
        The names of the files, for `run.json`.
    """
    names = _names(kinds)
    made = not folder.exists()
    old = _outdated(folder, (*read.files, *inputs), names)
    fresh = {name: folder / f".new-{os.getpid()}-{name}" for name in names}
    try:
        if names:
            folder.mkdir(parents=True, exist_ok=True)
        if "seg" in kinds:
            write_seg(fresh[SEG[0]], read.clip, masks, algorithm=algorithm)
        if "sr" in kinds:
            write_sr(fresh[SR[0]], read.clip, answers, algorithm=algorithm)
        if SEG[1] in names:
            write_rt_image(fresh[SEG[1]], read.clip)
        if "slicer" in kinds:
            write_slicer(fresh["slicer"], read.clip, answers, masks)
        if "trackrad" in kinds:
            _write_case(fresh["trackrad"] / CASE, read.clip, masks)
        if "gif" in kinds:
            marked = dataclasses.replace(read.clip, mask=masks)
            write_animation(fresh[GIF], marked, NOTE)
        with replaced({folder / name: path for name, path in fresh.items()}, old):
            yield names
    finally:
        # Gone after a success; after a failure, Ctrl-C too, nothing half-written stays.
        for path in fresh.values():
            remove(path)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _write_case(folder: Path, clip: Clip, masks: np.ndarray) -> None:
    """Writes frames and masks as the challenge's case, and the geometry beside them."""
    gaps = np.diff(np.asarray(clip.time_s, float))
    # A case has one frame rate: the median stands for uneven times.
    rate_hz = 1.0 / float(np.median(gaps)) if gaps.size else 1.0
    frames, pixel_mm = np.asarray(clip.frames), iso_pixel_mm(clip.geometry)
    write_trackrad(folder, TrackRadCase(frames, rate_hz, pixel_mm, masks))
    write_sidecar(folder / SIDECAR, clip)


def _outdated(folder: Path, inputs: Iterable[Path], names: Sequence[str]) -> list[Path]:
    """Returns the files of the folder's earlier track that are not written again."""
    ours = _listed(folder) - set(names)
    kept = _with_parents(inputs)  # never what was just read
    paths = [folder / name for name in sorted(ours)]
    return [path for path in paths if path.resolve() not in kept]


def _listed(folder: Path) -> set[str]:
    """Returns the files that the run.json of an earlier track lists as its own."""
    listed = earlier_record(folder).get("more_files")
    # Only names of ours, for a record may be edited.
    listed = listed if isinstance(listed, list) else []
    return {name for name in _names(KINDS) if name in listed}


def _with_parents(paths: Iterable[Path]) -> set[Path]:
    every = (path.resolve() for path in paths)
    return {one for path in every for one in (path, *path.parents)}


def _names(kinds: Iterable[str]) -> list[str]:
    every = (name for kind, names in KINDS.items() if kind in kinds for name in names)
    return list(dict.fromkeys(every))  # the frames once, whoever refers to them
