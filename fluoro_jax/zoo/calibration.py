"""The calibration of a confidence that lies beside weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from fluoro_jax.tracking.confidence import Calibration, Origin, read_calibration


def calibration_beside(
    path: Path, cfg: Any, params: Any, lookahead_frames: int
) -> Calibration | None:
    """Returns the calibration of a file, or None if there is none or it is not used.

    Args:
        path: of the file, which need not exist.
        cfg: of the weights; one whose `evaluation.answer` is not "followed" uses no
            calibration, and a warning says so.
        params: of the network.
        lookahead_frames: of its tracker.

    Raises:
        UserError: a damaged file, or one of other weights, look-ahead or threshold.
    """
    if not path.is_file():
        return None
    answer = cfg.evaluation.answer
    if answer != "followed":
        warnings.warn(
            f'WARNING {path.name} is not used: evaluation.answer is "{answer}" and its '
            "features are those of a followed component. Next: use weights whose "
            'evaluation.answer is "followed", or remove the file.',
            stacklevel=3,
        )
        return None
    # Here: it brings tables and figures, which no tracker needs.
    from fluoro_jax.evaluation.evaluate import weights_digest

    threshold = float(cfg.evaluation.threshold)
    origin = Origin(weights_digest(params), lookahead_frames, threshold)
    return read_calibration(path, origin)
