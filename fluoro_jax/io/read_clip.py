"""From files to a `Clip`: DICOM projections, TrackRAD folders, `.mha`, `.npz` and PNG.

    <case>/images/<case>_frames.mha + frame-rate.json + geometry.json    TrackRAD
    <name>.mha + <name>.geometry.json (or geometry.json beside it)       [T, H, W]
    <name>.npz, the array `frames`, + geometry.json as of an .mha        [T, H, W]
    <folder>/*.png + geometry.json                                       PNG
    a multi-frame DICOM file, or a folder of DICOM frames                DICOM

DICOM states its geometry in its tags (see `dicom.geometry`), all others in a
`geometry.json` (see `sidecar`): no number is guessed.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.errors import refuse
from fluoro_jax.geometry import iso_pixel_mm
from fluoro_jax.io.clips import ReadClip, apply_overrides
from fluoro_jax.io.dicom.header import looks_like_dicom
from fluoro_jax.io.dicom.projection import dicom_files, read_projection
from fluoro_jax.io.files import expand_path
from fluoro_jax.io.mha import read_mha
from fluoro_jax.io.npz import read_npz
from fluoro_jax.io.overrides import Overrides
from fluoro_jax.io.png import read_png_folder
from fluoro_jax.io.sidecar import NAME, Sidecar, read_sidecar
from fluoro_jax.io.trackrad import read_trackrad

# Ours, both: rounding in either file, not another pixel or rate.
PIXEL_OFF = 0.01  # relative difference between two statements of a pixel's size
SPACING_OFF = 0.01
LEAST_COUNT = 1.0  # of a panel: fewer quanta have no logarithm


def read_clip(path: str | Path, stated: Overrides | None = None) -> Clip:
    """Reads a clip from files.

    >>> import tempfile
    >>> from fluoro_jax.geometry import square_panel
    >>> from fluoro_jax.io.mha import MetaImage, write_mha
    >>> from fluoro_jax.io.sidecar import write_sidecar
    >>> frames = np.ones((2, 8, 8), np.float32)
    >>> clip = Clip(frames, np.array([0.0, 0.5]), square_panel(8))
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = Path(name)
    ...     write_mha(folder / "clip.mha", MetaImage(frames, (1.0, 1.0, 1.0)))
    ...     write_sidecar(folder / "geometry.json", clip)
    ...     again = read_clip(folder / "clip.mha")
    >>> again.frames.shape, again.time_s.tolist(), again.domain
    ((2, 8, 8), [0.0, 0.5], 'line_integral')

    Args:
        path: a DICOM projection (multi-frame file, or folder of frames); or, with a
            `geometry.json`, a TrackRAD case folder, an `.mha` or `.npz` of `[T, H, W]`,
            or a folder of PNG.
        stated: numbers that win over the files'.

    Returns:
        The clip; with the target's mask where a TrackRAD case has one. Counts with a
        known open beam come as domain "log".

    Raises:
        UserError: a file that is missing, damaged, contradicts another, or has values
            that are not finite.
    """
    return read_clip_with_sources(path, stated).clip


def read_clip_with_sources(
    path: str | Path, stated: Overrides | None = None
) -> ReadClip:
    """Reads a clip as `read_clip` does, and says where each number comes from.

    Warns of every assumption that was made (`ReadClip.notes`).
    """
    read = _read(expand_path(path), stated or Overrides())
    for note in read.notes:
        warnings.warn(f"WARNING {note}.", stacklevel=2)
    return read


def _read(path: Path, stated: Overrides) -> ReadClip:
    readers = {".mha": _from_mha, ".npz": _from_npz}
    read = readers.get(path.suffix)
    # By its content: DICOM files often have no suffix, and folders have none at all.
    if read is None and path.is_dir():
        if (path / "images").is_dir():
            read = _from_trackrad
        # Before pictures: one of a clip, as `fluoro inspect` writes, may lie beside it.
        elif dicom_files(path):
            return read_projection(path, stated)
        elif any(path.glob("*.png")):
            read = _from_png
    elif read is None and (looks_like_dicom(path) or path.suffix == ".dcm"):
        return read_projection(path, stated)
    if read is not None:
        found = read(path, stated.pixels_only)
        return apply_overrides(found, stated) if stated.given() else found
    kinds = (
        "a DICOM projection, a TrackRAD case folder, an .mha or .npz file, or a folder "
        "of PNG frames"
    )
    there = "no clip that can be read here" if path.exists() else "not there"
    fix = "convert the file to one of these formats, or correct the path"
    refuse(f"{path}: {there}", kinds, "only these are read", fix)


def _sidecar_of(path: Path, pixels_only: bool) -> Sidecar:
    # <name>.geometry.json first: a folder may hold several clips with views of their
    # own.
    own = path.with_suffix(f".{NAME}")
    place = own if own.is_file() else path.parent / NAME
    return read_sidecar(place, pixels_only=pixels_only)


def _from_npz(path: Path, pixels_only: bool) -> ReadClip:
    return _clip(read_npz(path), _sidecar_of(path, pixels_only), "npz", path)


def _from_mha(path: Path, pixels_only: bool) -> ReadClip:
    image = read_mha(path)
    return _clip(image.array, _sidecar_of(path, pixels_only), "mha", path)


def _from_png(path: Path, pixels_only: bool) -> ReadClip:
    sidecar = read_sidecar(path / NAME, pixels_only=pixels_only)
    grey, most = read_png_folder(path)
    slope, zero = sidecar.values["value_per_grey"], sidecar.values["value_at_zero"]
    domain = sidecar.values["domain"]
    if slope is None and domain in ("line_integral", "log"):
        refuse(
            f"{sidecar.path}: no value_per_grey",
            f"the {domain} of one grey level",
            "grey levels are no line integrals",
            'add "value_per_grey" (and "value_at_zero"), or the domain they have',
        )
    if slope is None:
        # Display pictures have no unit: the whole range becomes 0 to 1, whatever the
        # bits.
        slope = 1.0 / most if domain == "display" else 1.0
    grey *= np.float32(slope)
    grey += np.float32(zero or 0.0)
    return _clip(grey, sidecar, "png", path)


def _from_trackrad(path: Path, pixels_only: bool) -> ReadClip:
    sidecar = read_sidecar(path / NAME, pixels_only=pixels_only)
    case = read_trackrad(path)
    read = _clip(case.frames, sidecar, "trackrad", path)
    # TrackRAD's spacing is in the isocentre plane, pixel_mm at the detector.
    found, stated = case.pixel_mm, iso_pixel_mm(read.clip.geometry)
    off = max(abs(f / s - 1.0) for f, s in zip(found, stated, strict=True))
    if off > PIXEL_OFF:
        refuse(
            f"{path}: pixels of {found[0]:.4g} x {found[1]:.4g} mm in the frames, of "
            f"{stated[0]:.4g} x {stated[1]:.4g} mm by {NAME} (at the isocentre)",
            f"one size, within {PIXEL_OFF:.0%}; pixel_mm is at the detector",
            "every millimetre depends on it",
            f"correct pixel_mm, sad_mm or sdd_mm in {NAME}",
        )
    # The sidecar's times are used; frame-rate.json only has to agree.
    gaps = np.diff(read.clip.time_s)
    if gaps.size and np.abs(gaps * case.rate_hz - 1.0).max() > SPACING_OFF:
        refuse(
            f"{path}: {case.rate_hz:g} frames a second in frame-rate.json, frames "
            f"{gaps.min():.4g} to {gaps.max():.4g} s apart by {NAME}",
            f"one frame rate, within {SPACING_OFF:.0%}",
            "speeds depend on it",
            f"correct frame_s in {NAME}, or frame-rate.json",
        )
    if case.labels is None:
        return read
    mask = case.labels.astype(np.float32)
    return dataclasses.replace(read, clip=dataclasses.replace(read.clip, mask=mask))


def _clip(array: np.ndarray, sidecar: Sidecar, kind: str, path: Path) -> ReadClip:
    if array.ndim != 3:
        refuse(
            f"{path}: {array.ndim} axes",
            "3 axes: [T, H, W]; in the header of an .mha columns, rows, frames",
            "a clip is a sequence of frames",
            "write the frames into one file",
        )
    if array.size == 0:
        refuse(
            f"{path}: an array of {' x '.join(map(str, array.shape))}",
            "at least one frame, row and column",
            "there is nothing to track",
            "write the frames again",
        )
    frames = np.asarray(array, np.float32)
    if not np.isfinite(frames).all():
        bad = int(np.argmin(np.isfinite(frames).all(axis=(1, 2))))
        refuse(
            f"{path}: frame {bad} holds values that are not finite",
            "finite numbers in every pixel",
            "one NaN reaches every pixel of the answer",
            "repair or leave out that frame",
        )
    domain = sidecar.values["domain"]
    sources = dict(sidecar.sources)
    if domain == "counts" and sidecar.values["open_beam"] is not None:
        open_beam = float(sidecar.values["open_beam"])
        frames = -np.log(np.maximum(frames, LEAST_COUNT) / np.float32(open_beam))
        domain = "log"
        sources["domain"] += ", as -ln(counts / open_beam)"
    count, rows, cols = frames.shape
    clip = Clip(
        frames=frames.astype(np.float32),
        time_s=sidecar.times(count),
        geometry=sidecar.geometry(rows, cols),
        periodic=bool(sidecar.values["periodic"]),
        domain=domain,
    )
    sources["rows"] = sources["cols"] = str(path)
    return ReadClip(clip, kind, (path, sidecar.path), sources)
