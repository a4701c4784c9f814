"""Appearance: what it may change and what it must not."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from fluoro_jax.data import appearance
from fluoro_jax.data.appearance import PARTS, randomise
from fluoro_jax.geometry import square_panel
from fluoro_jax.metrics import iou

VIEW = square_panel(64)
BREATH = np.linspace(0.0, 1.0, 3, dtype=np.float32)


def clip():
    """A disc of line integral 1 on a chest of 3, and its mask, at rest."""
    row, col = np.mgrid[:64, :64]
    disc = np.hypot(row - 24.0, col - 40.0) <= 9.0
    mask = np.stack([disc] * 3).astype(np.float32)
    return 3.0 + mask, mask


@functools.partial(jax.jit, static_argnames="parts")
def _drawn(frames, mask, breath, key, parts):
    return randomise(frames, mask, breath, key, geometry=VIEW, parts=parts)


def drawn(seed, parts, breath=BREATH):
    return jax.device_get(_drawn(*clip(), breath, jax.random.key(seed), parts))


def layer(seed, part, breath=BREATH):
    """What a part adds to the line integrals."""
    return drawn(seed, part, breath)[0] - clip()[0]


def test_without_parts_nothing_changes():
    for now, before in zip(drawn(0, ""), clip(), strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize("part", PARTS)
def test_a_key_draws_one_appearance_and_another_key_another(part):
    seeds = range(16)  # mirror turns one in two
    once = [drawn(seed, part)[0] for seed in seeds]
    again = [drawn(seed, part)[0] for seed in seeds]
    np.testing.assert_array_equal(once, again)
    assert not all(np.array_equal(once[0], other) for other in once[1:])
    assert np.isfinite(once).all()


@pytest.mark.parametrize("part", ["clutter", "texture", "exposure"])
def test_what_changes_frames_alone_leaves_the_mask(part):
    for seed in range(3):
        np.testing.assert_array_equal(drawn(seed, part)[1], clip()[1])


overlap = jax.jit(iou)


@pytest.mark.parametrize("part", ["warp", "mirror"])
def test_the_mask_goes_with_the_frames(part):
    for seed in range(8):
        frames, mask = drawn(seed, part)
        assert float(np.min(overlap((frames > 3.5).astype(np.float32), mask))) > 0.99
        assert float(mask[0].sum()) > 100.0


def test_a_part_draws_the_same_beside_others():
    """So that rows of an ablation differ in one part only."""
    both = drawn(5, "clutter+texture")[0]
    alone, added = drawn(5, "clutter")[0], layer(5, "texture")
    np.testing.assert_allclose(both, alone + added, atol=1e-5)
    turned = []
    for seed in range(16):  # mirror turns one in two
        alone, both = drawn(seed, "clutter")[0], drawn(seed, "clutter+mirror")[0]
        turned.append(not np.array_equal(drawn(seed, "mirror")[0], clip()[0]))
        np.testing.assert_array_equal(both, alone[..., ::-1] if turned[-1] else alone)
    assert 0 < sum(turned) < 16


@pytest.mark.parametrize("part", ["clutter", "texture"])
def test_layers_move_with_the_breath_alone(part):
    held, breathing = (
        layer(1, part, breath) for breath in (np.full(3, 0.4, np.float32), BREATH)
    )
    np.testing.assert_array_equal(held[0], held[2])
    assert np.abs(breathing[0] - breathing[2]).max() > 0.01


def test_a_texture_is_as_strong_as_its_range_says():
    """Two layers of three bands, each of a standard deviation within `TEXTURE`."""
    low, high = appearance.TEXTURE
    for seed in range(4):
        spread = np.std(layer(seed, "texture", np.zeros(3, np.float32))[0])
        assert 0.5 * np.sqrt(6) * low < spread < 1.5 * np.sqrt(6) * high


def test_exposure_keeps_the_order_of_densities_and_never_adds_contrast_by_scatter():
    for seed in range(6):
        frames, mask = drawn(seed, "exposure")
        step = float(frames[mask > 0].mean() - frames[mask == 0].mean())
        assert 0.0 < step < appearance.CONTRAST[1]
