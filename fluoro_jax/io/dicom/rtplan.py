"""The isocentre: of an RTPLAN, else of the tumour; never silently of the volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluoro_jax.io.volumes import Roi


@dataclass(frozen=True)
class Isocentre:
    """A point that the gantry turns about.

    Attributes:
        position_mm: `[3]` LPS mm of the CT's frame of reference.
        source: tag, flag or ROI that gave it, for `run.json`.
        beams: names of the plan's beams that use it.
    """

    position_mm: np.ndarray
    source: str
    beams: tuple[str, ...] = ()


def read_isocentres(path: Path, *, frame_uid: str = "") -> tuple[Isocentre, ...]:
    """Reads the isocentres of an RTPLAN, in the order of its beams.

    Args:
        path: of the file.
        frame_uid: of the CT; a plan of another one is refused.

    Raises:
        UserError: no RTPLAN, no IsocenterPosition, another frame of reference.
    """
    raise NotImplementedError


def choose_isocentre(
    *,
    given_mm: tuple[float, float, float] | None = None,
    plan: Path | None = None,
    beam: str = "",
    roi: Roi | None = None,
    frame_uid: str = "",
) -> Isocentre:
    """Returns the isocentre: as given, else of the plan, else the ROI's centroid.

    Raises:
        UserError: a plan with several isocentres and no beam named, or nothing to take
            it from.
    """
    raise NotImplementedError
