"""Describes the clips that a tracker was trained on, and so those it accepts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.config_rules import parse_angles
from fluoro_jax.geometry import Geometry
from fluoro_jax.studies import STUDIES, StudySpec

# Ours.
GANTRY_OFF_DEG = 5.0
ROUNDING_DEG = 1e-3  # stored angles are float32
WHOLE_CHEST_MM = 400.0  # a panel at least so high shows both lungs
FOLLOWING_MM = 240.0  # a panel that follows the tumour stays on a 480 mm panel


@dataclass(frozen=True)
class TrainingDomain:
    """Describes the clips that a tracker was trained on.

    Attributes:
        view: their geometry; at the first of `angles_deg`.
        frame_s: time between their frames, s.
        exposed: frames come from a simulated real panel, not from ideal line integrals.
        gantry_from_deg: least accepted difference of the gantry angle; 0 but for a
            study that draws every case's angle from a range to either side.
        gantry_within_deg: largest accepted difference.
        offset_within_mm: accepted difference of the panel's centre, at the detector.
        whole_chest: the panel is centred and sees both lungs.
        angles_deg: gantry angles trained on, at least one.
    """

    view: Geometry
    frame_s: float
    exposed: bool
    gantry_from_deg: float
    gantry_within_deg: float
    offset_within_mm: float
    whole_chest: bool
    angles_deg: tuple[float, ...]

    def turned_deg(self, gantry_deg: float) -> float:
        """Returns how far an angle is from the nearest one trained on, degrees."""
        # Wrapped to [-180, 180): 359 and 1 degrees are two apart.
        off = (gantry_deg - np.array(self.angles_deg) + 180.0) % 360.0 - 180.0
        return float(np.abs(off).min())

    @classmethod
    def from_config(cls, cfg: Any) -> TrainingDomain:
        """From the config of the run that trained the tracker."""
        found = cls.from_study(cfg.study, parse_angles(cfg.data.angles_deg))
        # A patient's view is centred on the tumour and not between the lungs.
        centred = found.whole_chest and cfg.data.bodies != "patient"
        return dataclasses.replace(found, whole_chest=centred)

    @classmethod
    def from_study(
        cls, study: Any, angles_deg: tuple[float, ...] = ()
    ) -> TrainingDomain:
        """From `cfg.study` of that run, and the angles it trained on if several."""
        spec = StudySpec.from_config(study)
        angles = STUDIES[spec.name].gantry_deg
        least, most = angles or (0.0, GANTRY_OFF_DEG)
        return cls(
            view=spec.geometry(),
            frame_s=spec.frame_s,
            exposed=spec.exposed,
            gantry_from_deg=max(least - ROUNDING_DEG, 0.0),
            gantry_within_deg=most + ROUNDING_DEG,
            # A quarter of the panel (ours): the rest still shows what training saw.
            offset_within_mm=FOLLOWING_MM if spec.collimate else spec.detector_mm / 4,
            # The mediastinum lies between the lungs only from the front or the back.
            whole_chest=spec.detector_mm >= WHOLE_CHEST_MM
            and not (spec.collimate or angles or spec.gantry_deg % 180.0),
            angles_deg=angles_deg or (spec.gantry_deg,),
        )
