"""The calibration of a confidence that lies beside weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.confidence import NAMES, Calibration, Origin


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


def read_calibration(path: Path, origin: Origin | None = None) -> Calibration:
    """Reads what `Calibration.to_json` wrote.

    Args:
        path: of the file.
        origin: the tracker that it is to calibrate; None for any.

    Raises:
        UserError: a file that is not there, damaged, of other features, or fitted to
            another tracker.
    """
    try:
        found = _parsed(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: no calibration ({error.__class__.__name__})",
            needed="a file of launch.confidence with features " + ", ".join(NAMES),
            why="a confidence means something for the features it was fitted to only",
            fix="fit it again with python -m launch.confidence",
        ) from error
    if origin is not None and found.origin != origin:
        raise UserError(
            f"{path}: a calibration of {_words(found.origin)}",
            needed=f"one of {_words(origin)}",
            why="another network or look-ahead errs where this one does not",
            fix="fit it again with python -m launch.confidence, or remove the file",
        )
    return found


def _parsed(held: Any) -> Calibration:
    """Returns what a file holds.

    Raises:
        ValueError, KeyError, TypeError: if it is none of `Calibration.to_json`.
    """
    if not isinstance(held, dict) or tuple(held["features"]) != NAMES:
        raise ValueError("other features")
    lists = {key: held[key] for key in ("mean", "scale", "weights")}
    if any(type(one) is not list or len(one) != len(NAMES) for one in lists.values()):
        raise ValueError("not a number for each feature")
    mean, scale, weights = (tuple(map(float, one)) for one in lists.values())
    bias, limit_mm, cases = float(held["bias"]), float(held["limit_mm"]), held["cases"]
    # A NaN would become a level of its own, far below 0.
    if not all(map(math.isfinite, (*mean, *scale, *weights, bias, limit_mm))):
        raise ValueError("not finite")
    if min(scale) <= 0.0 or limit_mm <= 0.0 or type(cases) is not int:
        raise ValueError("a scale, limit or count that is none")
    of = held["origin"]
    if of is not None:
        of = Origin(
            *(str(of["weights"]), int(of["lookahead_frames"]), float(of["threshold"]))
        )
    return Calibration(mean, scale, weights, bias, limit_mm, cases, of)


def _words(origin: Origin | None) -> str:
    if origin is None:
        return "an unknown tracker"
    return (
        f"weights {origin.weights[:12]}, look-ahead {origin.lookahead_frames}, "
        f"threshold {origin.threshold:g}"
    )
