"""The two updates of training, each `(state, batch) -> (state, averages)`.

Written for one device of many: gradients and averages are averaged across devices in
one collective per update, everything else is the same arithmetic on every device. An
update has two halves, so that the first can run over several micro-batches before the
second (`parallel.p_accumulated`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu.metrics import Average

from fluoro_jax.data.stack import stack_frames
from fluoro_jax.training import losses
from fluoro_jax.training.parallel import mean_over_devices
from fluoro_jax.training.precision import at_precision
from fluoro_jax.training.state import NetState, TrainState, per_example, stream

Array = jax.Array
PyTree = Any
Net = Any  # a linen module; its `apply` may give more than pyright can follow
Batch = dict[str, Array]  # frames, mask [B, T, H, W]; id [B], unique in the micro-batch
Averages = dict[str, Average]
Gradients = tuple[PyTree, Averages]
# At 64 x 64 on AVX2 cores, compiling quickly saves 20 s of processor time; an update
# of 0.21 s then takes 4 % more, upper quartile 9 %: at that, 1100 of them break even.
SHORT_PIXELS = 1000 * 2 * 10 * 64 * 64  # updates, clips, frames, rows, columns


@dataclasses.dataclass(frozen=True)
class Update:
    """One update; called, it is both halves in turn.

    Attributes:
        gradients: `(state, batch)` to gradient and averages of this device's examples.
        apply: `(state, gradients)` to the new state and the averages over all devices.
    """

    gradients: Callable[[TrainState, Batch], Gradients]
    apply: Callable[[TrainState, Gradients], tuple[TrainState, Averages]]

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Averages]:
        """`(state, batch) -> (state, averages)`."""
        return self.apply(state, self.gradients(state, batch))


def is_short(cfg: Any) -> bool:
    """Whether a run sees too few pixels for its updates to be worth compiling well."""
    updates = cfg.train.num_steps * cfg.train.gen_updates
    clip = cfg.study.num_frames * cfg.study.rows * cfg.study.cols
    return updates * cfg.data.batch_size * clip <= SHORT_PIXELS


def make_gen_update(
    cfg: Any, gen: Net, critic: Net, tx: optax.GradientTransformation
) -> Update:
    """One generator update: hybrid loss and, from `adv_start` on, the critic's score.

    Averages: loss, l1, ssim, iou, cross_entropy, adversarial (0 before `adv_start`),
    gen_grad_norm, and p_on_truth, the mean probability on the tumour's pixels; with
    `loss.coarse` also coarse, the hybrid loss of the coarse network's own answer; with
    `loss.log_iou` also log_iou.
    """

    def gradients(state: TrainState, batch: Batch) -> Gradients:
        # Skipped updates count too: weights follow the loop's step.
        step = state.gen.updates // cfg.train.gen_updates
        weights = losses.loss_weights(cfg.loss, step)
        stack = stack_frames(batch["frames"], cfg.data.stack)
        truth = batch["mask"].astype(jnp.float32)
        judge = lambda prob: losses.adversarial(
            critic.apply({"params": state.critic.params}, prob)
        )

        def loss_fn(params: PyTree) -> tuple[Array, dict[str, Array]]:
            output = gen.apply({"params": params}, stack)
            logits = output.logits.astype(jnp.float32)
            total, terms = _supervised(cfg.loss, truth, output, weights)
            prob = jax.nn.sigmoid(logits)
            # Until it counts, the critic's pass forward and back is not computed;
            # where it never does, it is not even compiled.
            none = lambda prob: jnp.zeros(len(prob))
            terms["adversarial"] = (
                # A branch, as pmap keeps it; under vmap `cond` would compute both.
                jax.lax.cond(weights["adversarial"] > 0, judge, none, prob)
                if losses.is_adversarial(cfg.loss, cfg.train.num_steps)
                else none(prob)
            )
            terms["loss"] = total + weights["adversarial"] * terms["adversarial"]
            return jnp.mean(terms["loss"]), {**terms, "prob": prob}

        # "prob" is no term: its average is over pixels, not over examples.
        grads, terms = jax.grad(loss_fn, has_aux=True)(state.gen.params)
        on_truth = _weighted(terms.pop("prob"), truth)
        return grads, {**_average(terms), "p_on_truth": on_truth}

    def apply(state: TrainState, gradients: Gradients) -> tuple[TrainState, Averages]:
        # One collective for both: each device waits for the others once.
        grads, averages = mean_over_devices(gradients)
        norm = optax.tree.norm(grads)
        # Judged after the mean over devices, so that all keep or skip together.
        ok = jnp.isfinite(norm) & jnp.isfinite(averages["loss"].total)
        net = _apply(state.gen, grads, tx)
        decay = _ema_decay(cfg.train.ema_decay, state.gen.updates)
        ema = optax.incremental_update(net.params, state.ema, 1.0 - decay)
        new = dataclasses.replace(state, gen=net, ema=ema)
        return _guard(ok, new, state), _log(ok, averages, gen_grad_norm=norm)

    return Update(at_precision(cfg, gradients), apply)


def make_critic_update(
    cfg: Any, gen: Net, critic: Net, tx: optax.GradientTransformation
) -> Update:
    """One critic update: the gap between truth and prediction, and the penalty.

    Averages: critic_gap, penalty, slope (1 where the critic is as steep as it should
    be, 0 where its sigmoid has saturated), score_real, score_fake, critic_grad_norm.
    """

    def gradients(state: TrainState, batch: Batch) -> Gradients:
        stack = stack_frames(batch["frames"], cfg.data.stack)
        real = batch["mask"].astype(jnp.float32)
        logits = gen.apply({"params": state.gen.params}, stack).logits
        fake = jax.nn.sigmoid(logits.astype(jnp.float32))
        # By the example's global id, not its place on a device: the same draws on any
        # number of devices. The count of updates takes the place of a stored key.
        key = stream(cfg.seed, "penalty", state.critic.updates)
        mix = jax.vmap(jax.random.uniform)(per_example(key, batch["id"]))

        def loss_fn(params: PyTree) -> tuple[Array, dict[str, Array]]:
            score_fn = lambda masks: critic.apply({"params": params}, masks)
            penalty, slope = losses.gradient_penalty(score_fn, real, fake, mix)
            score_real, score_fake = score_fn(real), score_fn(fake)
            gap = losses.critic_gap(score_real, score_fake)
            terms = {"critic_gap": gap, "penalty": penalty, "slope": slope}
            terms |= {"score_real": score_real, "score_fake": score_fake}
            # Adam minimises: the gap is what the critic maximises.
            return jnp.mean(cfg.loss.gp_weight * penalty - gap), terms

        grads, terms = jax.grad(loss_fn, has_aux=True)(state.critic.params)
        return grads, _average(terms)

    def apply(state: TrainState, gradients: Gradients) -> tuple[TrainState, Averages]:
        grads, averages = mean_over_devices(gradients)
        norm = optax.tree.norm(grads)
        total = averages["critic_gap"].total + averages["penalty"].total
        ok = jnp.isfinite(norm) & jnp.isfinite(total)
        new = dataclasses.replace(state, critic=_apply(state.critic, grads, tx))
        return _guard(ok, new, state), _log(ok, averages, critic_grad_norm=norm)

    return Update(at_precision(cfg, gradients), apply)


def merge(collected: list[Averages]) -> dict[str, float]:
    """Averages of many updates as Python numbers, each over all of its examples.

    An average over nothing (every update of the window skipped) is left out.
    """
    sums: Averages = {}
    # One transfer for the whole window.
    for averages in jax.device_get(collected):
        for name, average in averages.items():
            sums[name] = sums[name].merge(average) if name in sums else average
    return {k: float(v.compute()) for k, v in sums.items() if v.count > 0}


def _supervised(
    loss_cfg: Any, truth: Array, output: Any, weights: dict[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Hybrid loss `[B]` of the answer and, by its weight, of the coarse one; terms."""
    hybrid = functools.partial(
        losses.hybrid, weights=weights, foreground_weight=loss_cfg.foreground_weight
    )
    total, terms = hybrid(truth, output.logits)
    if loss_cfg.coarse:
        terms["coarse"], _ = hybrid(truth, output.coarse_logits)
        total = total + loss_cfg.coarse * terms["coarse"]
    return total, terms


def _apply(net: NetState, grads: PyTree, tx: optax.GradientTransformation) -> NetState:
    moves, opt_state = tx.update(grads, net.opt_state, net.params)
    params = optax.apply_updates(net.params, moves)
    return NetState(params, opt_state, net.updates + 1)


def _guard(ok: Array, new: TrainState, old: TrainState) -> TrainState:
    """`new` as a whole, or `old` as a whole with the attempt counted."""
    # The counts advance even where the update is skipped: they are the loop's clock,
    # for the weights of the losses and for `stream`.
    kept = jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, old)
    return kept.replace(
        gen=kept.gen.replace(updates=new.gen.updates),
        critic=kept.critic.replace(updates=new.critic.updates),
        skipped=old.skipped + jnp.where(ok, 0, 1),
    )


def _ema_decay(decay: float, updates: Array) -> Array:
    """`decay`, less in the first updates so that the average forgets the start."""
    count = updates.astype(jnp.float32)
    # (1 + n) / (10 + n), as TensorFlow's moving average: early on the first, random
    # weights are forgotten fast.
    return jnp.minimum(jnp.float32(decay), (1.0 + count) / (10.0 + count))


def _weighted(values: Array, weights: Array) -> Average:
    total, count = jnp.sum(values * weights), jnp.sum(weights)
    # Sums and counts, not means: averages of parts of unequal size merge exactly.
    return Average(total=total, count=count)  # pyright: ignore[reportCallIssue]


def _average(terms: dict[str, Array]) -> Averages:
    """One average a term, over its examples; means of sums and counts stay right."""
    values = {k: v.astype(jnp.float32) for k, v in terms.items()}
    return {k: _weighted(v, jnp.ones_like(v)) for k, v in values.items()}


def _log(ok: Array, averages: Averages, **scalars: Array) -> Averages:
    """Adds scalars; a skipped update weighs nothing, so it cannot spoil the others."""
    # `where`, not a product: 0 x NaN is NaN.
    averages = {**averages, **_average(scalars)}
    return jax.tree.map(lambda x: jnp.where(ok, x, jnp.zeros_like(x)), averages)
