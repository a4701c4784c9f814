"""The two networks and their optimizers, as a config describes them."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import optax
from clu.parameter_overview import get_parameter_overview
from flax import linen as nn

from fluoro_jax.errors import UserError
from fluoro_jax.models.critic import Critic
from fluoro_jax.training import optim
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.precision import make_generator
from fluoro_jax.training.state import TrainState, init_state
from fluoro_jax.training.workdir import check_same_config, resolve

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Nets:
    """The two networks and their optimizers, as the config describes them."""

    cfg: Any
    gen: nn.Module
    critic: nn.Module
    gen_tx: optax.GradientTransformation
    critic_tx: optax.GradientTransformation

    def init(self) -> TrainState:
        """The state before the first update."""
        return init_state(
            self.cfg,
            self.gen,
            self.critic,
            gen_tx=self.gen_tx,
            critic_tx=self.critic_tx,
        )


def build(cfg: Any) -> Nets:
    """Builds the networks and optimizers of a config; nothing is allocated."""
    # Schedules end with the run, and each network makes its own number of updates a
    # step; the critic's as if it began in step 0, so from `loss.critic_start` on it
    # makes fewer, and its last rate is not 0.
    steps, train = cfg.train.num_steps, cfg.train
    return Nets(
        cfg=cfg,
        gen=make_generator(cfg),
        critic=Critic(**cfg.critic),
        gen_tx=optim.make_optimizer(
            cfg.gen_opt, steps * train.gen_updates, frozen=cfg.init.frozen
        ),
        critic_tx=optim.make_optimizer(cfg.critic_opt, steps * train.critic_updates),
    )


def describe(nets: Nets) -> str:
    """Returns names, shapes and sizes of all parameters as tables; computes nothing."""
    state = jax.eval_shape(nets.init)
    table = functools.partial(get_parameter_overview, include_stats=False)
    tables = [(name, table(getattr(state, name).params)) for name in ("gen", "critic")]
    return "\n".join(f"{name}\n{text}" for name, text in tables)


def summary(state: TrainState) -> str:
    """Returns the number of parameters of both networks, in one line."""
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6
    gen, critic = count(state.gen.params), count(state.critic.params)
    return f"generator {gen:.2f} M parameters, critic {critic:.2f} M"


def restore_generator(cfg: Any, workdir: str | Path) -> tuple[nn.Module, PyTree, int]:
    """Returns the trained generator of a run: (module, averaged parameters, step).

    Only reads, so it may be called while the run goes on.

    Raises:
        UserError: if there is no readable checkpoint, or the run is of another config.
    """
    workdir, nets = Path(workdir), build(cfg)
    # config.json may be missing, so each checkpoint's own config is compared too.
    check_same_config(resolve(cfg), workdir)
    found = None
    if (workdir / "ckpt").is_dir():
        with Checkpoints(workdir / "ckpt", keep=None) as checkpoints:
            checkpoints.check_config(resolve(cfg))
            found = checkpoints.restore(nets.init)
    if found is None:
        raise UserError(
            f"no checkpoint in {workdir / 'ckpt'}",
            needed="a run that has been trained, or has saved at least once",
            why="the generator's weights are read from there",
            fix=f"python -m launch.train --config=... --workdir={workdir}",
        )
    # The averaged weights are what validation and the tables judge.
    return nets.gen, found.state.ema, found.step
