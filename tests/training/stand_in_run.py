"""`loop.train` with the stand-ins; also a program: WORKDIR [STEPS] [PAUSE_S]."""

from __future__ import annotations

import sys
import time

import jax
from stand_ins import disc_batch, small_config, small_nets

from fluoro_jax.training import loop, parallel
from fluoro_jax.training import nets as training_nets


class Source:
    """This process's share of `disc_batch`, slowed down if asked."""

    def __init__(self, pause_s=0.0):
        self.pause_s = pause_s

    def batch_at(self, index):
        time.sleep(self.pause_s)
        rank, count = jax.process_index(), jax.process_count()
        return {k: v[rank::count] for k, v in disc_batch(index).items()}


class NoValidation:
    def __init__(self, *_):
        pass

    def __call__(self, ema):
        return {"eval/iou": 0.5, "eval/vertical_mm": 1.0, "eval/horizontal_mm": 1.0}


def build(cfg):
    gen, critic, gen_tx, critic_tx, _ = small_nets(cfg)
    return training_nets.Nets(
        cfg=cfg, gen=gen, critic=critic, gen_tx=gen_tx, critic_tx=critic_tx
    )


def install(patch, source=None, validation=NoValidation):
    """Puts the stand-ins into the loop; `patch` is `setattr` or monkeypatch's."""
    for module in (loop, training_nets):
        patch(module, "build", build)
    patch(loop, "open_batches", lambda cfg, data_dir: source or Source())
    patch(loop, "Validation", validation)


def config(num_steps=4, **train):
    cfg = small_config(eval_every=2, save_every=2, log_every=1, **train)
    cfg.train.num_steps = num_steps
    return cfg


if __name__ == "__main__":
    parallel.start_processes()
    workdir, steps, pause_s = (*sys.argv[1:], "4", "0")[:3]
    install(setattr, source=Source(float(pause_s)))
    loop.train(config(int(steps)), workdir)
