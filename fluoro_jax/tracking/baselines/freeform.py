"""The motion model's answer, and a free smooth displacement added to it.

Every frame is first fitted by the motion model and two rigid shifts
(`ProjectionFitTracker`). To its displacement D(w) a free one is added that makes the
projection more alike, at little gradient energy (`field_fit.py`); it starts from zero
in every frame. The tumour moves by the sum of both.

Source:
    The form of Zhang and of Harris et al. 2017 (PMC5508535): principal components, then
    a free-form deformation with an energy penalty. Departures: one view of one frame;
    the free displacement is linear between nodes 30 mm apart, not free in every voxel;
    and L-BFGS in place of nonlinear conjugate gradients, which are further from the
    least objective after as many steps (docs/rivals.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.field_fit import FieldFit, fit_field
from fluoro_jax.tracking.baselines.film_fit import begin_fit, moved_track, small_film
from fluoro_jax.tracking.baselines.phases import PatientPhases
from fluoro_jax.tracking.baselines.projection_fit import ProjectionFitTracker, moved_by
from fluoro_jax.tracking.baselines.spline_field import (
    GRADIENT,
    SplineBasis,
    field_mm,
    make_basis,
)
from fluoro_jax.tracking.checks import FrameCheck, Reference, next_frame


@dataclass(frozen=True)
class FreeformState:
    """The motion model's answer to the newest frame, and the index of the next.

    Attributes:
        check: what the check of the next frame needs.
        unknowns: `[K + 2]` of the motion model and the shifts, see
            `projection_fit.FitState`; None before the first frame.
        frame: index of the next frame.
    """

    check: FrameCheck
    unknowns: np.ndarray | None = None
    frame: int = 0


@dataclass(frozen=True)
class FreeformTracker:
    """Follows the tumour by the motion model and a free displacement on top.

    It is given the planning phases; a reference is checked and not used. Frames must
    hold line integrals, up to an affine map.

    Attributes:
        phases: the planning phases, and the view of the clips.
        modes: principal components of the motion.
        node_mm: distance of the nodes of the free displacement, about.
        weight: of its gradient energy, [1].
        steps: evaluations of the objective a frame, at most.

    Raises:
        UserError: for more components than the phases have, or a distance, weight or
            number of steps that is impossible.
    """

    phases: PatientPhases
    modes: int = 3
    node_mm: float = 30.0
    weight: float = 1e-3
    steps: int = 30
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)
    model_fit: ProjectionFitTracker = field(init=False)
    basis: SplineBasis = field(init=False)
    how: FieldFit = field(init=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.node_mm < np.inf:
            refuse(
                f"node_mm = {self.node_mm!r}",
                "more than 0 mm",
                why="it is the distance of the nodes of a displacement",
                fix="leave it at its default",
            )
        fit = ProjectionFitTracker(self.phases, modes=self.modes, shifts=True)
        shape, grid = fit.model.mu.shape, fit.model.grid
        spans_mm = [
            (count - 1) * float(side)
            for count, side in zip(shape, grid.spacing_mm[::-1], strict=True)
        ]
        knots = tuple(max(2, round(span / self.node_mm) + 1) for span in spans_mm)
        basis = make_basis(shape, grid, knots=knots, degree=1)
        # Derived fields of a frozen dataclass: assignment would raise.
        object.__setattr__(self, "model_fit", fit)
        object.__setattr__(self, "basis", basis)
        how = FieldFit(self.steps, GRADIENT, self.weight)
        object.__setattr__(self, "how", how)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> FreeformState:
        """See `Tracker.init`; `periodic` changes nothing here.

        Raises:
            UserError: frames that hold no line integrals, or optimistix is not
                installed.
        """
        return FreeformState(begin_fit(geometry, reference, domain))

    def step(
        self, state: FreeformState, frame: np.ndarray, time_s: float
    ) -> tuple[FreeformState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        view = check.geometry
        film, small = small_film(frame, view)
        unknowns = self.model_fit.fit(state.unknowns, film, small)
        patient, model_mm = moved_by(self.model_fit.model, unknowns, view)
        free_mm = fit_field(
            (patient, model_mm),
            film,
            small,
            self.basis,
            jnp.zeros(self.basis.shape),
            quarter=projector.quarter_turn(view),
            how=self.how,
        )
        total_mm = model_mm + field_mm(self.basis, free_mm)
        track = moved_track(state.frame, patient, total_mm, film, small, view)
        return FreeformState(check, np.asarray(unknowns), state.frame + 1), track

    def flush(self, state: FreeformState) -> list[Track]:
        """Nothing is owed."""
        return []
