"""The optimizer of each network: Adam, a linear warm-up, a cosine or no decay."""

from __future__ import annotations

from typing import Any

import optax

from fluoro_jax.training import freeze


def learning_rate(opt_cfg: Any, num_updates: int) -> optax.Schedule:
    """Returns the rate by update: linear from 0 over `warmup_steps`, then the schedule.

    "cosine" falls to 0 at `num_updates`; "constant" keeps the peak.

    A warm-up longer than half of the run is cut to half of it, so that a short trial
    of a long config still reaches its rate.
    """
    warmup = min(opt_cfg.warmup_steps, num_updates // 2)
    peak = opt_cfg.learning_rate
    if opt_cfg.schedule == "constant":
        # optax makes a warm-up of no steps a constant at its initial value.
        start = 0.0 if warmup else peak
        return optax.warmup_constant_schedule(start, peak, warmup)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else peak,
        peak_value=peak,
        warmup_steps=warmup,
        # optax demands a decay longer than the warm-up.
        decay_steps=max(num_updates, warmup + 1),
    )


def make_optimizer(
    opt_cfg: Any, num_updates: int, *, frozen: str = "nothing"
) -> optax.GradientTransformation:
    """Adam on gradients clipped to a global norm of `clip_norm`.

    With some parameters frozen, the norm is that of the trained ones' gradient alone,
    and only they have moments; the state is then another tree.

    Args:
        opt_cfg: learning_rate, schedule, b1, b2, warmup_steps (updates), clip_norm.
        num_updates: of the schedule: updates in the whole run, from step 0.
        frozen: which of the generator's parameters stay, as in `freeze.labels`.
    """
    adam = optax.chain(
        # Clipped before Adam: afterwards its steps have the learning rate's size
        # anyway.
        optax.clip_by_global_norm(opt_cfg.clip_norm),
        optax.adam(learning_rate(opt_cfg, num_updates), b1=opt_cfg.b1, b2=opt_cfg.b2),
    )
    if frozen == "nothing":
        return adam
    return optax.partition(
        {freeze.TRAIN: adam, freeze.FREEZE: optax.set_to_zero()},
        lambda params: freeze.labels(params, frozen),
    )
