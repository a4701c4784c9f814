"""The options of a command line that name weights, and the tracker that they ask for.

The module imports no JAX, so that --help is quick; `open_tracker` does.
"""

from __future__ import annotations

import argparse
from typing import Any

from fluoro_jax.config_rules import ANSWERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives a verb --model, --lookahead and --answer."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="weights, as group, or a folder of fluoro fit",
    )
    parser.add_argument(
        "--lookahead",
        type=int,
        metavar="N",
        help="frames after t that the answer for t may use; 0 is causal "
        "(default: as the model was tested)",
    )
    parser.add_argument(
        "--answer",
        choices=ANSWERS,
        help="what of the model's map is the tumour: all of it, its most probable "
        "component, or one component followed by its motion, with a calibrated "
        "confidence if the weights have one (default: as the model was tested)",
    )


def open_tracker(
    model: str, lookahead: int | None, answer: str | None
) -> tuple[Any, str]:
    """Returns the tracker of weights, and their name.

    Args:
        model: as `zoo.find` takes it.
        lookahead: frames; None is the model's own, which its numbers are for.
        answer: one of `ANSWERS`; None is the model's own.

    Raises:
        UserError: no such weights, a look-ahead that they do not have, or a damaged
            calibration beside them.
    """
    from fluoro_jax import zoo

    name, folder = zoo.find(model)
    tracker = zoo.tracker(
        name, lookahead_frames=lookahead, answer=answer, folder=folder
    )
    return tracker, name


def about(tracker: Any) -> dict[str, str]:
    """Returns what a record says of the answers: which part, and how sure of what."""
    from fluoro_jax.tracking.confidence import meaning

    return {
        "answer": tracker.cfg.evaluation.answer,
        "confidence": meaning(getattr(tracker, "calibration", None)),
    }
