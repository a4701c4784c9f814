"""The calibration of a confidence that lies beside weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fluoro_jax.tracking.confidence import Calibration, Origin, read_calibration


def calibration_beside(
    path: Path, cfg: Any, params: Any, lookahead_frames: int
) -> Calibration | None:
    """Returns the calibration of a file, or None if there is none or it is not used.

    Args:
        path: of the file, which need not exist.
        cfg: of the tracker; one whose `evaluation.answer` is not "followed" uses no
            calibration.
        params: of the network.
        lookahead_frames: of its tracker.

    Raises:
        UserError: a damaged file, or one of other weights, look-ahead or threshold.
    """
    # Its features are those of a followed component.
    if cfg.evaluation.answer != "followed" or not path.is_file():
        return None
    # Here: it brings tables and figures, which no tracker needs.
    from fluoro_jax.evaluation.evaluate import weights_digest

    threshold = float(cfg.evaluation.threshold)
    origin = Origin(weights_digest(params), lookahead_frames, threshold)
    return read_calibration(path, origin)
