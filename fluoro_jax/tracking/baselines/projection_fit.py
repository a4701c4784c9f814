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

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry, Grid, view_axes
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.extras import check_form, optional
from fluoro_jax.tracking.baselines.film_fit import (
    begin_fit,
    difference,
    local_difference,
    make_film,
    moved_track,
    small_film,
)
from fluoro_jax.tracking.baselines.motion_model import (
    MotionModel,
    ReferencePhase,
    displacement_mm,
    make_model,
)
from fluoro_jax.tracking.baselines.phases import PatientPhases
from fluoro_jax.tracking.checks import FrameCheck, Reference, next_frame

Array = jax.Array
INTENSITIES = ("affine", "patch")
SHIFT_UNIT_MM = 5.0  # of the rigid shifts among the unknowns, whose weights are about 1
MOST_STEPS = 20
TOLERANCE = 1e-2  # of the weights, whose standard deviation is 1: 0.1 mm or so


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
        return FitState(begin_fit(geometry, reference, domain))

    def step(
        self, state: FitState, frame: np.ndarray, time_s: float
    ) -> tuple[FitState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        view = check.geometry
        film, small = small_film(frame, view)
        found = self.fit(state.unknowns, film, small)
        patient, field_mm = moved_by(self.model, found, view)
        track = moved_track(state.frame, patient, field_mm, film, small, view)
        return FitState(check, np.asarray(found), state.frame + 1), track

    def flush(self, state: FitState) -> list[Track]:
        """Nothing is owed."""
        return []

    def fit(self, unknowns: np.ndarray | None, film: Array, view: Geometry) -> Array:
        """Returns the unknowns that fit a film best, `[K]` or `[K + 2]`.

        Args:
            unknowns: of the film before; None for the first, which starts from the
                planning phase that is most like it.
            film: `[rows, cols]` of `small_film`.
            view: its view.
        """
        quarter = projector.quarter_turn(view)
        if unknowns is None:
            unknowns = self._nearest_phase(film, view, quarter)
        start = jnp.asarray(unknowns, jnp.float32)
        how = {"quarter": quarter, "intensity": self.intensity}
        return fit_film(self.model, film, view, start, **how)

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
    how = {"quarter": quarter, "intensity": intensity}
    found = optimistix.least_squares(
        lambda unknowns, _: _residual(model, film, view, unknowns, **how),
        optimistix.LevenbergMarquardt(rtol=TOLERANCE, atol=TOLERANCE),
        start,
        options={"jac": "fwd"},
        max_steps=MOST_STEPS,
        throw=False,  # the best within the steps is the answer
    )
    return found.value


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
    how = {"quarter": quarter, "intensity": intensity}
    return jnp.square(_residual(model, film, view, unknowns, **how)).sum()


def moved_by(
    model: MotionModel, unknowns: Array, view: Geometry
) -> tuple[ReferencePhase, Array]:
    """Returns the reference phase as it lies in the room, and D(w).

    Args:
        model: the patient.
        unknowns: `[K]` or `[K + 2]`, see `FitState`; the latter shift the grid.
        view: gives right and down.

    Returns:
        the phase, and `[3, Z, Y, X]` mm.
    """
    count = model.modes_mm.shape[0]
    weights, shift = unknowns[:count], unknowns[count:]
    field_mm = displacement_mm(model, weights)
    if not shift.shape[0]:
        return model, field_mm
    right, down, _ = view_axes(view)
    move = SHIFT_UNIT_MM * (shift[0] * right + shift[1] * down)
    x, y, z = (model.grid.origin_mm[i] + move[i] for i in range(3))
    grid = Grid((x, y, z), model.grid.spacing_mm)
    return dataclasses.replace(model, grid=grid), field_mm


def _residual(
    model: MotionModel,
    film: Array,
    view: Geometry,
    unknowns: Array,
    *,
    quarter: int | None,
    intensity: str,
) -> Array:
    view = projector.turned(view, quarter)
    drr = make_film(*moved_by(model, unknowns, view), view, quarter=quarter)
    if intensity == "patch":
        return local_difference(drr, film, view).ravel()
    return difference(drr, film).ravel()
