"""XCAT's raw volumes with their log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fluoro_jax.io.volumes import CtPhase, FourDCt


def read_xcat(path: Path, *, log: Path | None = None) -> CtPhase:
    """Reads one attenuation volume `<base>_atn_<frame>.bin`.

    Args:
        path: headerless little-endian float32, 1/pixel.
        log: of the run; None takes `<base>_log` or `<base>_log.txt` beside it.

    Returns:
        HU at the energy of the run; origin at the volume's centre.

    Raises:
        UserError: no log, or one without sizes; a file of another size.
    """
    raise NotImplementedError


def read_xcat_4d(paths: Sequence[Path], *, log: Path | None = None) -> FourDCt:
    """Reads the frames of one breath, at equal distances of the cycle."""
    raise NotImplementedError
