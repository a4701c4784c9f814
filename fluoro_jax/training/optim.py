"""The optimizer of each network: Adam with linear warm-up and cosine decay."""

from __future__ import annotations

from typing import Any

import optax

from fluoro_jax.training import freeze


def learning_rate(opt_cfg: Any, num_updates: int) -> optax.Schedule:
    """Linear from 0 over `warmup_steps` updates, then cosine to 0 at `num_updates`.

    A warm-up longer than half of the run is cut to half of it, so that a short trial
    of a long config still reaches its rate.
    """
    warmup = min(opt_cfg.warmup_steps, num_updates // 2)
    peak = opt_cfg.learning_rate
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else peak,
        peak_value=peak,
        warmup_steps=warmup,
        decay_steps=max(num_updates, warmup + 1),
    )


def make_optimizer(
    opt_cfg: Any, num_updates: int, *, frozen: str = "nothing"
) -> optax.GradientTransformation:
    """Adam on gradients clipped to a global norm of `clip_norm`.

    With some parameters frozen, the norm is that of the trained ones' gradient alone,
    and only they have moments; the state is then another tree.

    Args:
        opt_cfg: learning_rate, b1, b2, warmup_steps (updates), clip_norm.
        num_updates: updates of this network in the whole run.
        frozen: which of the generator's parameters stay, as in `freeze.labels`.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(opt_cfg.clip_norm),
        optax.adam(learning_rate(opt_cfg, num_updates), b1=opt_cfg.b1, b2=opt_cfg.b2),
    )
    if frozen == "nothing":
        return adam
    return optax.partition(
        {freeze.TRAIN: adam, freeze.FREEZE: optax.set_to_zero()},
        lambda params: freeze.labels(params, frozen),
    )
