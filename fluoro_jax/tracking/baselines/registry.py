"""The trackers that networks are compared with: what each is given and how it is built.

`trials` counts the settings that were tried on training clips to choose the defaults
of a tracker; 1 means that nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.static import StaticTracker
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


RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "static_blind": Rival("nothing", lambda t, p: StaticTracker.fit(t or {}), 1),
        "static_frame0": Rival("frame 0", lambda t, p: StaticTracker.fit(t or {}), 1),
        "phase_prior_blind": Rival(
            "nothing", lambda t, p: PhasePriorTracker.fit(t or {}), 1
        ),
        "phase_prior_frame0": Rival(
            "frame 0", lambda t, p: PhasePriorTracker.fit(t or {}), 1
        ),
    }
)
