"""What trackers share that deform the planning volume until it fits a frame.

The volume and the tumour's contours of the reference phase are moved by one field and
projected; the frame is compared with the projection up to gain and offset.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, project_point
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.extras import optional
from fluoro_jax.tracking.baselines.matching import at_place, correlation
from fluoro_jax.tracking.baselines.motion_model import (
    ReferencePhase,
    deformed,
    share_centroid_mm,
)
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin
from fluoro_jax.tracking.resample import Resampler
from fluoro_jax.tracking.tracker import make_track

Array = jax.Array
FILM_PIXELS = 64  # rows and columns at most of the film that is fitted
WINDOW_MM = 30.0  # standard deviation of the window of `intensity="patch"`
FEWEST_SD = 1e-3  # line integrals; a window without any contrast is left alone


def moved_track(
    index: int,
    patient: ReferencePhase,
    field_mm: Array,
    film: Array,
    small: Geometry,
    view: Geometry,
) -> Track:
    """Returns the `Track` of the tumour moved by a displacement field.

    Its confidence is the correlation of the film with the projection of the moved
    volume, all that a single view can say of a fit.

    Args:
        index: of the frame.
        patient: the reference phase.
        field_mm: `[3, Z, Y, X]`, see `deformed`.
        film: `[rows, cols]` of `small_film`.
        small: its view.
        view: of the clip.
    """
    quarter = projector.quarter_turn(view)
    drr = make_film(patient, field_mm, small, quarter=quarter)
    confidence = max(0.0, correlation(np.asarray(drr), np.asarray(film)))
    chord_mm, centre_mm = tumor_now(patient, field_mm, view, quarter=quarter)
    # p = 1/2 at the edge.
    probability = np.clip(0.5 * np.asarray(chord_mm) / patient.edge_mm, 0.0, 1.0)
    track = make_track(index, probability, view)
    if track.status == "missed":
        return track
    place = np.asarray(project_point(view, centre_mm))
    return at_place(track, place, view, confidence=confidence)


def begin_fit(
    geometry: Geometry, reference: Reference | None, domain: str
) -> FrameCheck:
    """Returns what the check of the first frame needs, for trackers that fit films.

    Raises:
        UserError: a view or reference that cannot be, frames that hold no line
            integrals, or optimistix is not installed.
    """
    check = begin(geometry, reference, domain=domain)
    check_domain(domain)
    optional("optimistix")
    return check


def check_domain(domain: str) -> None:
    """Refuses frames that are no line integrals.

    Raises:
        UserError: for counts and display values.
    """
    if domain not in ("line_integral", "log"):
        raise UserError(
            f"a clip whose domain is {domain!r}",
            needed="line_integral or log: -ln(reading / open beam), bone bright",
            why="frames are compared with projections of the planning CT",
            fix="convert counts by -ln(counts / open beam)",
        )


def small_film(frame: np.ndarray, view: Geometry) -> tuple[Array, Geometry]:
    """Returns a frame averaged over at most 64 x 64 larger pixels, and its view."""
    rows, cols = min(view.rows, FILM_PIXELS), min(view.cols, FILM_PIXELS)
    down, right = view.pixel_mm
    pitch = (float(down) * view.rows / rows, float(right) * view.cols / cols)
    small = dataclasses.replace(view, rows=rows, cols=cols, pixel_mm=pitch)
    return jnp.asarray(Resampler(view, small, 1.0).frames(frame[None])[0]), small


@functools.partial(jax.jit, static_argnames="quarter")
def make_film(
    patient: ReferencePhase, field_mm: Array, view: Geometry, *, quarter: int | None
) -> Array:
    """Returns the projection of the deformed patient, `[rows, cols]` line integrals.

    Args:
        patient: the reference phase.
        field_mm: `[3, Z, Y, X]`, see `deformed`.
        view: of the film.
        quarter: `projector.quarter_turn` of the view (static).
    """
    mu = deformed(patient.mu, field_mm, patient.grid)
    # Without it XLA deforms the volume again for every ray that reads a voxel.
    mu = jax.lax.optimization_barrier(mu)
    return projector.project(mu, patient.grid, projector.turned(view, quarter))


@functools.partial(jax.jit, static_argnames="quarter")
def tumor_now(
    patient: ReferencePhase, field_mm: Array, view: Geometry, *, quarter: int | None
) -> tuple[Array, Array]:
    """Returns the length of every ray in the moved tumour, and its centroid.

    Returns:
        `[rows, cols]` mm and `[3]` LPS mm.
    """
    view = projector.turned(view, quarter)
    share = deformed(patient.share, field_mm, patient.grid)
    lengths_mm = projector.project(share, patient.grid, view)
    return lengths_mm, share_centroid_mm(share, patient.grid)


def difference(drr: Array, film: Array) -> Array:
    """Returns a projection minus the film at its best gain and offset.

    Args:
        drr: `[rows, cols]` line integrals.
        film: `[rows, cols]` line integrals up to an affine map.

    Returns:
        `[rows, cols]` line integrals: drr - a film - b, a and b of least squares.
    """
    away = film - film.mean()
    drr = drr - drr.mean()
    gain = jnp.sum(drr * away) / jnp.maximum(jnp.sum(away * away), 1e-12)
    return drr - gain * away


def local_difference(drr: Array, film: Array, view: Geometry) -> Array:
    """Returns the same with a gain and an offset about every pixel, `[rows, cols]`.

    Args:
        drr: `[rows, cols]` line integrals.
        film: `[rows, cols]` line integrals up to a map that varies slowly.
        view: of both.
    """
    film_mean, film_sd = local_moments(film, view)
    mean, sd = local_moments(drr, view)
    return drr - mean - (film - film_mean) * sd / film_sd


def local_moments(film: Array, view: Geometry) -> tuple[Array, Array]:
    """Returns mean and standard deviation in a Gaussian window about every pixel.

    Args:
        film: `[rows, cols]`.
        view: gives a pixel its mm; the window's standard deviation is 30 mm in the
            isocentre plane.
    """
    down, right = (
        _window(n, WINDOW_MM * view.sdd_mm / view.sad_mm / pitch)
        for n, pitch in zip(film.shape, view.pixel_mm, strict=True)
    )
    mean = down @ film @ right.T
    square = down @ jnp.square(film - mean) @ right.T
    return mean, jnp.sqrt(square + FEWEST_SD**2)


def _window(count: int, sigma_px: Any) -> Array:
    """Returns a matrix `[n, n]` whose rows average by a Gaussian, cut at the border."""
    index = jnp.arange(count)
    away = (index[:, None] - index[None, :]) / sigma_px
    weight = jnp.exp(-0.5 * jnp.square(away))
    return weight / weight.sum(axis=1, keepdims=True)
