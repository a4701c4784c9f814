"""Rendered clips on disk, found again by what they are rendered from.

A clip is rendered in seconds to minutes, and the same one is needed by every scenario
that only changes its noise, gain or frames, and by every verb. What is kept is the
clip of noiseless line integrals; its name is a digest of case, view and code.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fluoro_jax import fingerprint
from fluoro_jax.clip import Clip
from fluoro_jax.data.dataset import RENDERERS
from fluoro_jax.geometry import Geometry
from fluoro_jax.io.files import beside

FOLDER = "clips"  # in a workdir
ARRAYS = ("frames", "time_s", "mask", "centroid_px", "centre_mm")


def clip_name(*parts: Any) -> str:
    """Returns a sha256 of trees of numbers and of the code that renders them.

    Args:
        parts: cases, geometries, numbers.
    """
    digest = hashlib.sha256(fingerprint.code("clip.py", *RENDERERS).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        value = np.asarray(leaf)
        head = f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}"
        digest.update(head.encode() + np.ascontiguousarray(value).tobytes())
    # What is no leaf: the kinds of the nodes, and static fields.
    digest.update(str(jax.tree_util.tree_structure(parts)).encode())
    return digest.hexdigest()


def read_clip(folder: Path | None, name: str, geometry: Geometry) -> Clip | None:
    """Returns a clip that is kept, NumPy leaves; None if it is not, or is damaged.

    Args:
        folder: of kept clips; None for none.
        name: of `clip_name`.
        geometry: the view.
    """
    if folder is None:
        return None
    try:
        # Opened here: `np.load` leaves a damaged file open.
        with (folder / f"{name}.npz").open("rb") as file, np.load(file) as held:
            arrays = {key: held[key] for key in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    # A mask of bits takes an eighth of one of bytes.
    shape = arrays["frames"].shape
    bits = np.unpackbits(arrays["mask"], count=arrays["frames"].size)
    arrays["mask"] = bits.reshape(shape).astype(np.float32)
    return Clip(geometry=geometry, **arrays)


def write_clip(folder: Path | None, name: str, clip: Clip) -> None:
    """Keeps a clip whose mask is 0 or 1, whole or not at all.

    Args:
        folder: of kept clips; None keeps nothing.
        name: of `clip_name`.
        clip: noiseless line integrals with their truth, not periodic.
    """
    mask = np.asarray(clip.mask)
    if folder is None or not np.isin(mask, (0.0, 1.0)).all():
        return
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Any = {key: np.asarray(getattr(clip, key)) for key in ARRAYS}
    arrays["mask"] = np.packbits(mask.astype(bool))
    with beside(folder / f"{name}.npz") as (fresh,):
        np.savez(fresh, **arrays)
