"""A patient's motion model fitted to every radiograph through the projector.

Per frame, over the weights w of the motion model and an affine map of the intensities,

    minimise || P f(x + D(w)) - a y - b ||^2

with P the projector, f the reference phase, y the frame; a and b are closed form, w is
found by Levenberg-Marquardt from the last frame's answer, with forward derivatives. The
tumour's contours of the reference phase are deformed by the same D(w) and projected.

Source:
    Li et al. 2010 and 2011, who descend the gradient instead.
    `intensity="patch"`: local mean and standard deviation of the frame are matched to
    those of the projection, Xu et al. 2014. Departure: a Gaussian window about every
    pixel in place of separate patches, matched anew in every evaluation.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, Grid, project_point, view_axes
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.extras import check_form, optional
from fluoro_jax.tracking.baselines.matching import at_place, correlation
from fluoro_jax.tracking.baselines.motion_model import (
    MotionModel,
    deformed,
    displacement_mm,
    make_model,
    share_centroid_mm,
)
from fluoro_jax.tracking.baselines.phases import PatientPhases
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.resample import Resampler
from fluoro_jax.tracking.tracker import make_track

Array = jax.Array
INTENSITIES = ("affine", "patch")
FILM_PIXELS = 64  # rows and columns at most of the film that is fitted
SHIFT_UNIT_MM = 5.0  # of the rigid shifts among the unknowns, whose weights are about 1
WINDOW_MM = 30.0  # standard deviation of the window of `intensity="patch"`
MOST_STEPS = 20
TOLERANCE = 1e-2  # of the weights, whose standard deviation is 1: 0.1 mm or so
FEWEST_SD = 1e-3  # line integrals; a window without any contrast is left alone


@dataclass(frozen=True)
class FitState:
    """The unknowns of the newest frame, and the index of the next.

    Attributes:
        check: what the check of the next frame needs.
        unknowns: `[K]` weights, then (right, down) shifts in units of 5 mm if there
            are any; None before the first frame.
        frame: index of the next frame.
    """

    check: FrameCheck
    unknowns: np.ndarray | None = None
    frame: int = 0


@dataclass(frozen=True)
class ProjectionFitTracker:
    """Follows the tumour by fitting the patient's motion model to every frame.

    It is given the planning phases; a reference is checked and not used. Frames must
    hold line integrals, up to an affine map.

    Attributes:
        phases: the planning phases, and the view of the clips.
        modes: principal components of the motion.
        shifts: whether the whole patient may also shift to the right and down, as a
            plan repeated on another day does.
        intensity: "affine" for one (a, b) a frame, "patch" for local ones.

    Raises:
        UserError: for another intensity, or more components than the phases have.
    """

    phases: PatientPhases
    modes: int = 3
    shifts: bool = False
    intensity: str = "affine"
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)
    model: MotionModel = field(init=False)

    def __post_init__(self) -> None:
        check_form("intensity", self.intensity, INTENSITIES)
        # A derived field of a frozen dataclass: assignment would raise.
        object.__setattr__(self, "model", make_model(self.phases, modes=self.modes))

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> FitState:
        """See `Tracker.init`; `periodic` changes nothing here.

        Raises:
            UserError: frames that hold no line integrals, or optimistix is not
                installed.
        """
        check = begin(geometry, reference, domain=domain)
        check_domain(domain)
        optional("optimistix")
        return FitState(check)

    def step(
        self, state: FitState, frame: np.ndarray, time_s: float
    ) -> tuple[FitState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        view = check.geometry
        quarter = projector.quarter_turn(view)
        film, small = small_film(frame, view)
        unknowns = state.unknowns
        if unknowns is None:
            unknowns = self._nearest_phase(film, small, quarter)
        found = fit_film(
            self.model,
            film,
            small,
            jnp.asarray(unknowns, jnp.float32),
            quarter=quarter,
            intensity=self.intensity,
        )
        track = model_track(state.frame, self.model, found, film, small, view)
        return FitState(check, np.asarray(found), state.frame + 1), track

    def flush(self, state: FitState) -> list[Track]:
        """Nothing is owed."""
        return []

    def _nearest_phase(
        self, film: Array, view: Geometry, quarter: int | None
    ) -> np.ndarray:
        """Returns the unknowns of the planning phase that is most like the film."""
        more = 2 if self.shifts else 0
        starts = jnp.pad(self.model.scores, ((0, 0), (0, more)))
        misfits = [
            misfit(
                self.model,
                film,
                view,
                start,
                quarter=quarter,
                intensity=self.intensity,
            )
            for start in starts
        ]
        return np.asarray(starts[int(np.argmin(np.array(misfits)))])


def model_track(
    index: int,
    model: MotionModel,
    unknowns: Array,
    film: Array,
    small: Geometry,
    view: Geometry,
) -> Track:
    """Returns the `Track` of the tumour moved by the motion model.

    Its confidence is the correlation of the film with the projection of the model, all
    that a single view can say of a fit.

    Args:
        index: of the frame.
        model: the patient.
        unknowns: `[K]` or `[K + 2]`, see `FitState`.
        film: `[rows, cols]` of `small_film`.
        small: its view.
        view: of the clip.
    """
    quarter = projector.quarter_turn(view)
    drr = make_film(model, small, unknowns, quarter=quarter)
    confidence = max(0.0, correlation(np.asarray(drr), np.asarray(film)))
    chord_mm, centre_mm = tumor_now(model, unknowns, view, quarter=quarter)
    # p = 1/2 at the edge.
    probability = np.clip(0.5 * np.asarray(chord_mm) / model.edge_mm, 0.0, 1.0)
    track = make_track(index, probability, view)
    if track.status == "missed":
        return track
    place = np.asarray(project_point(view, centre_mm))
    return at_place(track, place, view, confidence=confidence)


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


@functools.partial(jax.jit, static_argnames=("quarter", "intensity"))
def fit_film(
    model: MotionModel,
    film: Array,
    view: Geometry,
    start: Array,
    *,
    quarter: int | None,
    intensity: str,
) -> Array:
    """Returns the unknowns that fit a film best.

    Args:
        model: the patient.
        film: `[rows, cols]` line integrals up to an affine map.
        view: of the film.
        start: `[K]` or `[K + 2]`, see `FitState`.
        quarter: `projector.quarter_turn` of the view (static).
        intensity: see `ProjectionFitTracker` (static).
    """
    optimistix = optional("optimistix")
    view = projector.turned(view, quarter)
    found = optimistix.least_squares(
        lambda unknowns, _: _residual(model, film, view, unknowns, intensity),
        optimistix.LevenbergMarquardt(rtol=TOLERANCE, atol=TOLERANCE),
        start,
        options={"jac": "fwd"},
        max_steps=MOST_STEPS,
        throw=False,  # the best within the steps is the answer
    )
    return found.value


@functools.partial(jax.jit, static_argnames="quarter")
def make_film(
    model: MotionModel, view: Geometry, unknowns: Array, *, quarter: int | None
) -> Array:
    """Returns the projection of the deformed patient, `[rows, cols]` line integrals.

    Args:
        model: the patient.
        view: of the film.
        unknowns: `[K]` or `[K + 2]`, see `FitState`.
        quarter: `projector.quarter_turn` of the view (static).
    """
    return _project(model, projector.turned(view, quarter), unknowns)


@functools.partial(jax.jit, static_argnames=("quarter", "intensity"))
def misfit(
    model: MotionModel,
    film: Array,
    view: Geometry,
    unknowns: Array,
    *,
    quarter: int | None,
    intensity: str,
) -> Array:
    """Returns the sum of squares that `fit_film` minimises."""
    view = projector.turned(view, quarter)
    return jnp.square(_residual(model, film, view, unknowns, intensity)).sum()


@functools.partial(jax.jit, static_argnames="quarter")
def tumor_now(
    model: MotionModel, unknowns: Array, view: Geometry, *, quarter: int | None
) -> tuple[Array, Array]:
    """Returns the length of every ray in the moved tumour, and its centroid.

    Returns:
        `[rows, cols]` mm and `[3]` LPS mm.
    """
    view = projector.turned(view, quarter)
    weights, grid = _parts(model, unknowns, view)
    field_mm = displacement_mm(model, weights)
    share = deformed(model.share, field_mm, model.grid)
    return projector.project(share, grid, view), share_centroid_mm(share, grid)


def _parts(model: MotionModel, unknowns: Array, view: Geometry) -> tuple[Array, Grid]:
    """Returns the weights and the grid, shifted if there are shifts."""
    count = model.modes_mm.shape[0]
    weights, shift = unknowns[:count], unknowns[count:]
    if not shift.shape[0]:
        return weights, model.grid
    right, down, _ = view_axes(view)
    move = SHIFT_UNIT_MM * (shift[0] * right + shift[1] * down)
    x, y, z = (model.grid.origin_mm[i] + move[i] for i in range(3))
    return weights, Grid((x, y, z), model.grid.spacing_mm)


def _project(model: MotionModel, view: Geometry, unknowns: Array) -> Array:
    weights, grid = _parts(model, unknowns, view)
    mu = deformed(model.mu, displacement_mm(model, weights), model.grid)
    # Without it XLA deforms the volume again for every ray that reads a voxel.
    mu = jax.lax.optimization_barrier(mu)
    return projector.project(mu, grid, view)


def _residual(
    model: MotionModel, film: Array, view: Geometry, unknowns: Array, intensity: str
) -> Array:
    drr = _project(model, view, unknowns)
    if intensity == "patch":
        film_mean, film_sd = local_moments(film, view)
        mean, sd = local_moments(drr, view)
        return (drr - mean - (film - film_mean) * sd / film_sd).ravel()
    away = film - film.mean()
    drr = drr - drr.mean()
    gain = jnp.sum(drr * away) / jnp.maximum(jnp.sum(away * away), 1e-12)
    return (drr - gain * away).ravel()


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
