"""A smooth displacement field of the planning volume fitted to one radiograph.

Over the coefficients c of a field u_c (`spline_field.py`) added to a given field D,

    minimise  || P f(x + D + u_c) - a y - b ||^2 / || P f(x + D) - mean ||^2 + w R(u_c)

with P the projector, f the reference phase, y the frame, a and b in closed form and R
the gradient or bending energy. One view does not see the depth along a ray: there R
alone decides, with the steps that the minimiser makes before it stops.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Geometry
from fluoro_jax.tracking.baselines.extras import optional
from fluoro_jax.tracking.baselines.film_fit import difference, make_film
from fluoro_jax.tracking.baselines.motion_model import ReferencePhase
from fluoro_jax.tracking.baselines.spline_field import (
    SplineBasis,
    Terms,
    energy,
    field_mm,
)

Array = jax.Array
# The minimisers' first step is the gradient itself: in this unit of the objective it
# is millimetres long, in a unit of 1 it is micrometres.
UNIT = 1e-4
RELATIVE, ABSOLUTE = 1e-3, 1e-7  # tolerances, of coefficients and of the objective


@dataclass(frozen=True)
class FieldFit:
    """How a field is fitted.

    Attributes:
        steps: evaluations of the objective, at most; rejected steps count.
        terms: derivatives whose mean square is R, see `spline_field.energy`.
        weight: w, [1] with `GRADIENT`, mm^2 with `BENDING`.

    Raises:
        UserError: for steps or a weight that are impossible.
    """

    steps: int
    terms: Terms
    weight: float

    def __post_init__(self) -> None:
        good = type(self.steps) is int and self.steps >= 1 and self.weight >= 0.0
        if not (good and np.isfinite(self.weight)):
            refuse(
                f"steps = {self.steps!r}, weight = {self.weight!r}",
                "a whole number from 1 on, and a finite weight from 0 on",
                why="a field is fitted in so many steps, at so much of its energy",
                fix="leave them at their defaults",
            )


@functools.partial(jax.jit, static_argnames=("quarter", "how"))
def fit_field(
    moved: tuple[ReferencePhase, Array],
    film: Array,
    view: Geometry,
    basis: SplineBasis,
    start: Array,
    *,
    quarter: int | None,
    how: FieldFit,
) -> Array:
    """Returns the coefficients `[3, K, J, I]` mm of the field that fits a film best.

    Args:
        moved: the reference phase and D `[3, Z, Y, X]` mm, to which u is added.
        film: `[rows, cols]` line integrals up to an affine map.
        view: of the film.
        basis: splines of u.
        start: coefficients to start from.
        quarter: `projector.quarter_turn` of the view (static).
        how: see `FieldFit` (static).
    """
    optimistix = optional("optimistix")
    patient, given_mm = moved
    drr = make_film(patient, given_mm, view, quarter=quarter)
    scale = jnp.sum(jnp.square(drr - drr.mean()))

    def objective(coefficients: Array, _: Any) -> Array:
        total_mm = given_mm + field_mm(basis, coefficients)
        drr = make_film(patient, total_mm, view, quarter=quarter)
        misfit = jnp.sum(jnp.square(difference(drr, film))) / scale
        rough = energy(basis, coefficients, how.terms)
        return (misfit + how.weight * rough) / UNIT

    found = optimistix.minimise(
        objective,
        optimistix.LBFGS(rtol=RELATIVE, atol=ABSOLUTE),
        start,
        max_steps=how.steps,
        throw=False,  # the best within the steps is the answer
    )
    return found.value
