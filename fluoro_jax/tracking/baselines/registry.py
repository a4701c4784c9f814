"""The trackers that networks are compared with: what each is given and how it is built.

`trials` counts the settings that were tried on training clips to choose the defaults
of a tracker (`tune.py`, docs/rivals.md); 1 means that nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fluoro_jax.errors import refuse
from fluoro_jax.tracking.baselines import centroids, flow, flow_contour, template
from fluoro_jax.tracking.baselines.bspline_projection import BSplineTracker
from fluoro_jax.tracking.baselines.centroids import CentroidTracker, TruePath
from fluoro_jax.tracking.baselines.extras import EXTRA
from fluoro_jax.tracking.baselines.flow import FlowTracker
from fluoro_jax.tracking.baselines.flow_contour import FlowContourTracker
from fluoro_jax.tracking.baselines.freeform import FreeformTracker
from fluoro_jax.tracking.baselines.pca_network import PcaNetworkTracker
from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.phases import PatientPhases
from fluoro_jax.tracking.baselines.projection_fit import ProjectionFitTracker
from fluoro_jax.tracking.baselines.propagation import PropagationTracker
from fluoro_jax.tracking.baselines.siamese import SiameseTracker
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.baselines.template import TemplateTracker
from fluoro_jax.tracking.tracker import Tracker

KNOWLEDGE = ("nothing", "frame 0", "phases", "past truth")
Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Rival:
    """A tracker of the comparison.

    Attributes:
        knowledge: what it is given of the clip's patient, one of `KNOWLEDGE`: nothing;
            frame 0 with its mask; the planning phases with their contours; frame 0 with
            its mask and, late or for a while, the true path.
        build: from (training, patient) to a tracker: the arrays of
            `data.dataset.load_split` or None; and `phases.PatientPhases`,
            `centroids.TruePath` or None, as `knowledge` says.
        trials: settings tried on training clips when its defaults were chosen.
        extra: the extra of the package that it needs, "" for none.
    """

    knowledge: str
    build: Callable[[Arrays | None, Any], Tracker]
    trials: int
    extra: str = ""


def _fitted(kind: Any, **how: Any) -> Callable[[Arrays | None, Any], Tracker]:
    """Returns a `build` that fits a baseline to the training arrays."""

    def build(training: Arrays | None, patient: PatientPhases | None) -> Tracker:
        if training is None:
            refuse(
                "no training clips",
                "the arrays of load_split",
                why="the tracker is fitted to training clips",
                fix="pass training=load_split(spec, data_dir, 'train')",
            )
        return kind.fit(training, **how)

    return build


def _of_patient(
    make: Callable[[Arrays | None, PatientPhases], Tracker],
) -> Callable[[Arrays | None, Any], Tracker]:
    """Returns a `build` that needs the patient's planning phases."""

    def build(training: Arrays | None, patient: PatientPhases | None) -> Tracker:
        if patient is None:
            refuse(
                "no planning phases",
                "the PatientPhases of the clip's patient",
                why="the tracker is made of the patient's 4DCT and contours",
                fix="pass patient=phases_of_case(case, geometry)",
            )
        return make(training, patient)

    return build


def _of_path(labelled_s: float | None) -> Callable[[Arrays | None, Any], Tracker]:
    """Returns a `build` that needs the true path of the clip's tumour."""

    def build(training: Arrays | None, patient: TruePath | None) -> Tracker:
        if patient is None:
            refuse(
                "no true path",
                "the TruePath of the clip",
                why="the tracker predicts places from true places of the past",
                fix="pass patient=TruePath(time_s, place_mm)",
            )
        return CentroidTracker(centroids.fit(), patient, labelled_s)

    return build


def _phase_templates(training: Arrays | None, patient: PatientPhases) -> Tracker:
    return TemplateTracker.fit(training, mode="phases", films=patient.films())


def _fitted_to_films() -> dict[str, Rival]:
    """Trackers that deform the planning volume until it fits a frame."""
    fit = lambda **s: _of_patient(lambda _, patient: ProjectionFitTracker(patient, **s))
    return {
        "pca_projection": Rival("phases", fit(), 1, EXTRA),
        "pca_projection_shifts": Rival("phases", fit(shifts=True), 1, EXTRA),
        "pca_projection_patch": Rival(
            "phases", fit(shifts=True, intensity="patch"), 1, EXTRA
        ),
        # Weights, spacings, solvers and starts of the fields (docs/rivals.md).
        "pca_projection_freeform": Rival(
            "phases", _of_patient(lambda _, patient: FreeformTracker(patient)), 8, EXTRA
        ),
        "bspline_projection": Rival(
            "phases", _of_patient(lambda _, patient: BSplineTracker(patient)), 11, EXTRA
        ),
    }


def _rivals() -> dict[str, Rival]:
    # Every grid was preceded by a coarser one, and tried again on clips like the
    # table's (docs/rivals.md); those trials count too.
    fixed = 12 + 2 * len(template.SETTINGS)
    updated = 21 + 2 * len(template.UPDATED_SETTINGS)
    contours = 12 + 2 * len(flow_contour.SETTINGS)
    # Tried again for one of the two forms alone, which chose nothing.
    flows = 12 + len(flow.SETTINGS)
    return {
        "static_blind": Rival("nothing", _fitted(StaticTracker), 1),
        "static_frame0": Rival("frame 0", _fitted(StaticTracker), 1),
        "phase_prior_blind": Rival(
            "nothing", _fitted(PhasePriorTracker, by_time=True), 1
        ),
        "phase_prior_frame0": Rival(
            "frame 0", _fitted(PhasePriorTracker, by_time=True), 1
        ),
        "template_fixed": Rival(
            "frame 0", lambda training, _: TemplateTracker.fit(training), fixed
        ),
        "template_updated": Rival(
            "frame 0",
            lambda training, _: TemplateTracker.fit(training, **template.UPDATED),
            updated,
        ),
        "template_phases": Rival("phases", _of_patient(_phase_templates), 1),
        "flow_reference": Rival("frame 0", lambda *_: FlowTracker(), flows, EXTRA),
        "flow_successive": Rival(
            "frame 0", lambda *_: FlowTracker(mode="successive"), flows, EXTRA
        ),
        "flow_contour": Rival(
            "frame 0", lambda *_: FlowContourTracker(), contours, EXTRA
        ),
        **_fitted_to_films(),
        "pca_network": Rival(
            "phases", _of_patient(lambda _, patient: PcaNetworkTracker.fit(patient)), 1
        ),
        "centroids_delayed": Rival("past truth", _of_path(None), 1),
        "centroids_first_6s": Rival("past truth", _of_path(centroids.LABELLED_S), 1),
        # Lengths of training and a prior for the place; two networks.
        "siamese": Rival("frame 0", _fitted(SiameseTracker), 6),
        "mask_propagation": Rival("frame 0", _fitted(PropagationTracker), 2),
    }


RIVALS: Mapping[str, Rival] = MappingProxyType(_rivals())
