"""Clips of a bright Gaussian that moves over stripes that do not."""

from __future__ import annotations

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel

VIEW = square_panel(96)  # pixels of 3.33 mm in the isocentre plane
PATH = np.array([[0.0, 0.0], [1.3, 0.2], [3.6, -0.7], [2.4, 0.5]])


def blob_frame(row, col, sigma=3.0):
    rows, cols = np.mgrid[:96, :96]
    away = (rows - row) ** 2 + (cols - col) ** 2
    ribs = 0.2 * np.sin(2.0 * np.pi * rows / 17.0)
    return (np.exp(-0.5 * away / sigma**2) + 0.1 * ribs + 2.0).astype(np.float32)


def blob_mask(row, col, radius=6.0):
    rows, cols = np.mgrid[:96, :96]
    return ((rows - row) ** 2 + (cols - col) ** 2 <= radius**2).astype(np.float32)


def blob_clip(path=PATH, start=(40.0, 44.0)):
    places = np.array(start) + path
    return Clip(
        frames=np.stack([blob_frame(*p) for p in places]),
        time_s=0.5 * np.arange(len(path)),
        geometry=VIEW,
        mask=np.stack([blob_mask(*p) for p in places]),
        centroid_px=places,
    )
