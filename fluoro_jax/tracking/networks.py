"""The tracker of a trained network: frame by frame where it can, else by windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fluoro_jax.config_rules import PAST_STACKS
from fluoro_jax.errors import refuse
from fluoro_jax.tracking.confidence import Calibration
from fluoro_jax.tracking.network import NetworkTracker
from fluoro_jax.tracking.posterior import PosteriorTracker
from fluoro_jax.tracking.stream import StreamTracker

AnyNetworkTracker = NetworkTracker | StreamTracker | PosteriorTracker


def network_tracker(
    generator: Any,
    params: Any,
    cfg: Any,
    lookahead_frames: int,
    *,
    card: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
) -> AnyNetworkTracker:
    """Returns a network as a tracker.

    One that reads the past alone keeps its state between frames (`StreamTracker`) when
    it is asked for no later frame; any other runs its window for every frame
    (`NetworkTracker`). With `evaluation.answer = "followed"` a `PosteriorTracker`
    chooses the component.

    Args:
        generator: a `Generator`.
        params: its parameters.
        cfg: the run's config.
        lookahead_frames: frames after t that the answer for t may use.
        card: what was measured of the weights, if they are published.
        calibration: of the confidence; read where the component is followed.

    Raises:
        UserError: later frames for a network that reads none.
    """
    tracker: NetworkTracker | StreamTracker
    # Configs refuse these stacks for a network that reads ahead.
    if cfg.data.stack in PAST_STACKS:
        if lookahead_frames:
            refuse(
                f"a look-ahead of {lookahead_frames} frames",
                "none",
                "the network runs forward in time and reads no later frame",
                "leave the look-ahead out",
            )
        tracker = StreamTracker(generator, params, cfg, card)
    else:
        tracker = NetworkTracker(generator, params, cfg, lookahead_frames, card)
    if cfg.evaluation.answer == "followed":
        threshold = cfg.evaluation.threshold
        return PosteriorTracker(tracker, threshold, calibration=calibration)
    return tracker
