"""The reference phase deformed by a cubic B-spline until it fits every radiograph.

No motion model: of the planning phases only the reference phase (full exhale) and its
contours are used. The coefficients of the displacement start from those of the frame
before, zero at first, and are found by L-BFGS on the squared error of the film and the
bending energy of the displacement (`field_fit.py`).

Source:
    The form of Zeng et al. 2005 and 2007, who estimate a whole breath from the many
    views of a turning gantry. Departures: one view, one frame after the other, and no
    spline in time; gain and offset of the film are free. Knots, weight and steps were
    chosen on tuning clips (docs/rivals.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.field_fit import FieldFit, fit_field
from fluoro_jax.tracking.baselines.film_fit import begin_fit, moved_track, small_film
from fluoro_jax.tracking.baselines.motion_model import ReferencePhase, reference_phase
from fluoro_jax.tracking.baselines.phases import PatientPhases
from fluoro_jax.tracking.baselines.spline_field import (
    BENDING,
    SplineBasis,
    field_mm,
    make_basis,
)
from fluoro_jax.tracking.checks import FrameCheck, Reference, next_frame


@dataclass(frozen=True)
class SplineState:
    """The displacement of the newest frame, and the index of the next.

    Attributes:
        check: what the check of the next frame needs.
        moved_mm: `[3, K, J, I]` mm, coefficients of the displacement; None before the
            first frame.
        frame: index of the next frame.
    """

    check: FrameCheck
    moved_mm: np.ndarray | None = None
    frame: int = 0


@dataclass(frozen=True)
class BSplineTracker:
    """Follows the tumour by a B-spline that deforms the reference phase.

    It is given the planning phases, of which it uses the reference phase alone; a
    reference frame is checked and not used. Frames must hold line integrals, up to an
    affine map.

    Attributes:
        phases: the planning phases, and the view of the clips.
        knots: along each axis, 2 or more, the outermost at the outermost voxels.
        weight: of the bending energy, mm^2.
        steps: evaluations of the objective a frame, at most.

    Raises:
        UserError: for knots, a weight or a number of steps that are impossible.
    """

    phases: PatientPhases
    knots: int = 12
    weight: float = 0.1
    steps: int = 40
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)
    patient: ReferencePhase = field(init=False)
    basis: SplineBasis = field(init=False)
    how: FieldFit = field(init=False)

    def __post_init__(self) -> None:
        patient = reference_phase(self.phases)
        shape, knots = patient.mu.shape, (self.knots,) * 3
        basis = make_basis(shape, patient.grid, knots=knots, degree=3)
        # Derived fields of a frozen dataclass: assignment would raise.
        object.__setattr__(self, "patient", patient)
        object.__setattr__(self, "basis", basis)
        how = FieldFit(self.steps, BENDING, self.weight)
        object.__setattr__(self, "how", how)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> SplineState:
        """See `Tracker.init`; `periodic` changes nothing here.

        Raises:
            UserError: frames that hold no line integrals, or optimistix is not
                installed.
        """
        return SplineState(begin_fit(geometry, reference, domain))

    def step(
        self, state: SplineState, frame: np.ndarray, time_s: float
    ) -> tuple[SplineState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        view = check.geometry
        film, small = small_film(frame, view)
        start = np.zeros(self.basis.shape) if state.moved_mm is None else state.moved_mm
        moved_mm = fit_field(
            (self.patient, jnp.zeros((3, *self.patient.mu.shape))),
            film,
            small,
            self.basis,
            jnp.asarray(start, jnp.float32),
            quarter=projector.quarter_turn(view),
            how=self.how,
        )
        total_mm = field_mm(self.basis, moved_mm)
        track = moved_track(state.frame, self.patient, total_mm, film, small, view)
        return SplineState(check, np.asarray(moved_mm), state.frame + 1), track

    def flush(self, state: SplineState) -> list[Track]:
        """Nothing is owed."""
        return []
