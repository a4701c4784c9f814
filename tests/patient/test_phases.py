"""Registration of phases, and volumes between them."""

import dataclasses
import sys

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.io.volumes import CtPhase, FourDCt
from fluoro_jax.patient.phases import (
    field_at,
    folding,
    inverse_field,
    move_points,
    phase_weights,
    register_phases,
    volume_at,
)

pytest.importorskip("SimpleITK")
GRID = Grid((-40.0, -33.0, 10.0), (2.0, 2.2, 2.5))
SHAPE = (28, 30, 40)
PERCENTS = (0.0, 25.0, 50.0, 75.0)
# Of the cosine breath: inferior and anterior of exhale.
DOWN_MM = (0.0, 4.0, 8.0, 4.0)
FRONT_MM = (0.0, 1.0, 3.0, 1.0)
BLOB_MM = np.array([-2.0, 1.0, 46.0])


def places():
    axes = [
        o + s * np.arange(n)
        for o, s, n in zip(GRID.origin_mm, GRID.spacing_mm, SHAPE[::-1], strict=True)
    ]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    return x, y, z


def chest(down_mm, front_mm):
    """Smooth tissue that moves as a whole, with a blob in it, HU `[Z, Y, X]`."""
    x, y, z = places()
    y, z = y + front_mm, z + down_mm
    texture = np.sin(x / 5.0) * np.cos(y / 6.0) * np.sin(z / 7.0)
    far = np.sqrt(sum((a - b) ** 2 for a, b in zip((x, y, z), BLOB_MM, strict=True)))
    blob = 800.0 / (1.0 + np.exp((far - 8.0) / 1.5))
    return (-800.0 + 100.0 * texture + blob).astype(np.float32)


@pytest.fixture(scope="module")
def four():
    phases = [
        CtPhase(
            chest(down, front),
            GRID,
            np.eye(4),
            np.arange(SHAPE[0]),
            percent=percent,
        )
        for percent, down, front in zip(PERCENTS, DOWN_MM, FRONT_MM, strict=True)
    ]
    return FourDCt(tuple(phases))


@pytest.fixture(scope="module")
def motion(four):
    return register_phases(four, spacing_mm=2.0)


def test_the_path_of_a_tumour_is_found(motion):
    for index, (down, front) in enumerate(zip(DOWN_MM, FRONT_MM, strict=True)):
        moved = move_points(motion, BLOB_MM[None], motion.fields_mm[index])[0]
        truth = BLOB_MM - np.array([0.0, front, down])
        assert np.linalg.norm(moved - truth) < 0.7
    assert not motion.fields_mm[0].any()


def test_residuals_are_reported(motion):
    assert (motion.after_hu[1:] < 0.4 * motion.before_hu[1:]).all()
    assert motion.before_hu[0] == motion.after_hu[0] == 0.0
    assert 0.0 < motion.inverse_mm < 2.0
    assert all(folding(field, motion.grid) > 0.0 for field in motion.fields_mm)


def test_a_phase_is_made_from_the_reference(four, motion):
    made = volume_at(four.phases[0].hu, GRID, motion, motion.fields_mm[2])
    inside = slice(6, -6), slice(5, -5), slice(5, -5)
    rms = lambda a, b: np.sqrt(np.mean((a[inside] - b[inside]) ** 2))
    still = rms(four.phases[0].hu, four.phases[2].hu)
    assert rms(made, four.phases[2].hu) < 0.35 * still


def test_between_phases_the_motion_is_smooth_and_periodic(motion):
    for index, percent in enumerate(PERCENTS):
        np.testing.assert_allclose(
            field_at(motion, percent + 100.0), motion.fields_mm[index], atol=1e-4
        )
    weights = phase_weights(np.array(PERCENTS), 37.0)
    assert weights.sum() == pytest.approx(1.0)
    down = [
        float(move_points(motion, BLOB_MM[None], field_at(motion, p))[0, 2])
        for p in (25.0, 37.5, 50.0)
    ]
    assert down[0] > down[1] > down[2]


def test_deeper_breaths_go_further(motion):
    move = lambda factor: (
        move_points(motion, BLOB_MM[None], field_at(motion, 50.0, amplitude=factor))
        - BLOB_MM
    )
    np.testing.assert_allclose(move(1.3), 1.3 * move(1.0), rtol=1e-3)
    assert not move(0.0).any()
    with pytest.raises(UserError, match="amplitude 2"):
        field_at(motion, 50.0, amplitude=2.0)


def test_the_inverse_undoes_the_field(motion):
    field = motion.fields_mm[2]
    back = inverse_field(field, motion.grid)
    points = np.array([[0.0, 0.0, 40.0], [-10.0, 5.0, 50.0]])
    there = move_points(motion, points, field)
    np.testing.assert_allclose(move_points(motion, there, back), points, atol=0.1)


def test_another_reference(four):
    motion = register_phases(
        dataclasses.replace(four, phases=four.phases[:3]), reference=2, iterations=10
    )
    assert not motion.fields_mm[2].any() and motion.fields_mm[0].any()


def test_without_simpleitk_the_extra_is_named(four, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"pip install 'fluoro_jax\[dicom\]'"):
        register_phases(four)
