"""Small clips on disk, in every format that `read_clip` takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.sidecar import write_sidecar
from fluoro_jax.io.trackrad import TrackRadCase, write_trackrad

VIEW = Geometry(1000.0, 1500.0, 0.0, 6, 8, (4.5, 3.0), (1.5, -3.0))


def small_clip():
    """Three frames of 6 x 8 oblong pixels, with a mask."""
    rng = np.random.default_rng(0)
    frames = rng.uniform(1.0, 6.0, (3, 6, 8)).astype(np.float32)
    mask = (frames > 4.0).astype(np.float32)
    return Clip(frames, 0.5 * np.arange(3), VIEW, mask)


def put_mha(folder: Path, clip: Clip | None = None) -> Path:
    clip = clip or small_clip()
    write_mha(folder / "clip.mha", MetaImage(np.asarray(clip.frames), (1.0, 1.0, 1.0)))
    write_sidecar(folder / "geometry.json", clip)
    return folder / "clip.mha"


def put_trackrad(folder: Path, clip: Clip | None = None) -> Path:
    clip = clip or small_clip()
    mask = None if clip.mask is None else np.asarray(clip.mask)
    pixel_mm = iso_pixel_mm(clip.geometry)
    write_trackrad(folder, TrackRadCase(np.asarray(clip.frames), 2.0, pixel_mm, mask))
    write_sidecar(folder / "geometry.json", clip)
    return folder


def put_png(folder: Path, clip: Clip | None = None, *, dtype: str = "uint16") -> Path:
    """Line integrals in steps of 0.001 (16 bits) or 0.04 (8 bits)."""
    clip = clip or small_clip()
    step = 0.001 if dtype == "uint16" else 0.04
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(np.asarray(clip.frames), start=9):
        grey = np.rint(frame / step).astype(dtype)
        Image.fromarray(grey).save(folder / f"frame_{number}.png")
    write_sidecar(folder / "geometry.json", clip)
    edit_json(folder / "geometry.json", value_per_grey=step)
    return folder


def edit_json(path: Path, **changed) -> None:
    """Changes entries of a JSON file; None removes one."""
    values = {**json.loads(path.read_text("utf-8")), **changed}
    kept = {key: value for key, value in values.items() if value is not None}
    path.write_text(json.dumps(kept))
