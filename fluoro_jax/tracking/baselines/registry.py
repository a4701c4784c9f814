"""The trackers that networks are compared with: what each is given and how it is built.

`trials` counts the settings that were tried on training clips to choose the defaults
of a tracker (`tune.py`, docs/rivals.md); 1 means that nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.baselines import flow, flow_contour, template
from fluoro_jax.tracking.baselines.extras import EXTRA
from fluoro_jax.tracking.baselines.flow import FlowTracker
from fluoro_jax.tracking.baselines.flow_contour import FlowContourTracker
from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.baselines.template import TemplateTracker
from fluoro_jax.tracking.tracker import Tracker

KNOWLEDGE = ("nothing", "frame 0", "phases")
Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Rival:
    """A tracker of the comparison.

    Attributes:
        knowledge: what it is given of the clip's patient, one of `KNOWLEDGE`: nothing;
            frame 0 with its mask; the planning phases with their contours.
        build: from (training, patient) to a tracker: the arrays of
            `data.dataset.load_split` or None, and `phases.PatientPhases` or None.
        trials: settings tried on training clips when its defaults were chosen.
        extra: the extra of the package that it needs, "" for none.
    """

    knowledge: str
    build: Callable[[Arrays | None, Any], Tracker]
    trials: int
    extra: str = ""


def _fitted(kind: Any) -> Callable[[Arrays | None, Any], Tracker]:
    """Returns a `build` that fits a baseline to the training arrays."""

    def build(training: Arrays | None, patient: Any) -> Tracker:
        if training is None:
            raise UserError(
                "no training clips",
                needed="the arrays of load_split",
                why="the baseline is the average of training clips",
                fix="pass training=load_split(spec, data_dir, 'train')",
            )
        return kind.fit(training)

    return build


RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "static_blind": Rival("nothing", _fitted(StaticTracker), 1),
        "static_frame0": Rival("frame 0", _fitted(StaticTracker), 1),
        "phase_prior_blind": Rival("nothing", _fitted(PhasePriorTracker), 1),
        "phase_prior_frame0": Rival("frame 0", _fitted(PhasePriorTracker), 1),
        "template_fixed": Rival(
            "frame 0",
            lambda training, patient: TemplateTracker.fit(training),
            len(template.SETTINGS),
            EXTRA,
        ),
        "template_updated": Rival(
            "frame 0",
            lambda training, patient: TemplateTracker.fit(training, **template.UPDATED),
            len(template.UPDATED_SETTINGS),
            EXTRA,
        ),
        "flow_reference": Rival(
            "frame 0",
            lambda training, patient: FlowTracker(),
            len(flow.SETTINGS),
            EXTRA,
        ),
        "flow_successive": Rival(
            "frame 0",
            lambda training, patient: FlowTracker(mode="successive"),
            len(flow.SETTINGS),
            EXTRA,
        ),
        "flow_contour": Rival(
            "frame 0",
            lambda training, patient: FlowContourTracker(),
            len(flow_contour.SETTINGS),
            EXTRA,
        ),
    }
)
