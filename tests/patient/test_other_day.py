"""Another day's clip of a CT: the truth is where the picture shows the tumour."""

from __future__ import annotations

import numpy as np
from chest import PITCH_MM, chest_hu

from fluoro_jax.geometry import Grid, position_iso_mm
from fluoro_jax.metrics import centroid_px
from fluoro_jax.patient import other_day

RADIUS_MM = 15.0
PLACE = (24, 15, 29)  # z, y, x of the tumour: left lung, mid height


def chest(*, tumour):
    hu = chest_hu(spine=True)
    axes = np.meshgrid(*(PITCH_MM * np.arange(n) for n in hu.shape), indexing="ij")
    centre = [PITCH_MM * index for index in PLACE]
    away = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)))
    share = np.clip(0.5 - (away - RADIUS_MM) / PITCH_MM, 0.0, 1.0)
    hu = hu + tumour * share * (40.0 - hu)
    return hu.astype(np.float32), np.array(centre[::-1])


def test_the_tumour_is_where_the_truth_says(monkeypatch):
    monkeypatch.setattr(other_day, "VOXEL_MM", 4.0)
    monkeypatch.setattr(other_day, "PIXELS", 128)
    grid = Grid((0.0, 0.0, 0.0), (PITCH_MM,) * 3)
    (hu, centre_mm), (without, _) = chest(tumour=1.0), chest(tumour=0.0)
    clip, places = other_day.other_day_clip(hu, grid, centre_mm, seconds=1.0)
    other, same = other_day.other_day_clip(without, grid, centre_mm, seconds=1.0)
    assert clip.domain == "log" and clip.frames.shape == (2, 128, 128)
    np.testing.assert_array_equal(places, same)
    shadow = np.asarray(clip.frames) - np.asarray(other.frames)
    seen = position_iso_mm(clip.geometry, centroid_px(shadow > 0.5 * shadow.max()))
    np.testing.assert_allclose(np.asarray(seen), places, atol=1.0)
    # Lower than planned, and it breathes.
    assert places[:, 0].mean() < 0.0 and np.ptp(places[:, 0]) > 0.5
