"""`loop.train` with the stand-ins; also a program: WORKDIR [STEPS] [PAUSE_S]."""

from __future__ import annotations

import copy
import functools
import json
import sys
import time

import jax
from stand_ins import disc_batch, small_config, small_nets

from fluoro_jax.training import loop, parallel
from fluoro_jax.training import nets as training_nets
from fluoro_jax.training.step import make_critic_update, make_gen_update


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


NO_PROGRAM_READS = (
    *("train.eval_every", "train.save_every", "train.log_every"),
    *("train.max_skipped", "train.collapse_after", "study.num_val"),
)
MADE = {}


def once(make):
    """`make(cfg, ...)`, called once for all configs whose programs are the same."""

    @functools.wraps(make)
    def made(cfg, *args):
        whole = cfg.to_dict()
        for name in NO_PROGRAM_READS:
            section, key = name.split(".")
            del whole[section][key]
        key = (make.__name__, json.dumps(whole, sort_keys=True))
        if key not in MADE:
            # Of a copy: the test may change its config before anything is traced.
            MADE[key] = make(copy.deepcopy(cfg), *args)
        return MADE[key]

    return made


class Parallel:
    """`training.parallel`; the program of an update is kept."""

    def __getattr__(self, name):
        return getattr(parallel, name)

    @staticmethod
    @functools.cache
    def p_update(update, quick):
        return parallel.p_update(update, quick=quick)


@once
def first_state(cfg):
    return small_nets(cfg)[-1]


class Nets(training_nets.Nets):
    """`init` is one function for all configs of the same programs: it is kept."""

    @property
    def init(self):
        return first_state(self.cfg)


def build(cfg):
    gen, critic, gen_tx, critic_tx, _ = small_nets(cfg)
    return Nets(cfg=cfg, gen=gen, critic=critic, gen_tx=gen_tx, critic_tx=critic_tx)


def install(patch, source=None, validation=NoValidation):
    """Puts the stand-ins into the loop; `patch` is `setattr` or monkeypatch's."""
    for module in (loop, training_nets):
        patch(module, "build", build)
    # A run compiles what no run before it in this process has.
    patch(loop, "make_gen_update", once(make_gen_update))
    patch(loop, "make_critic_update", once(make_critic_update))
    patch(loop, "parallel", Parallel())
    patch(loop, "open_batches", lambda cfg, data_dir: source or Source())
    patch(loop, "Validation", validation)
    patch(loop, "import_tfds", lambda: None)


def config(num_steps=4, **train):
    cfg = small_config(eval_every=2, save_every=2, log_every=1, **train)
    cfg.train.num_steps = num_steps
    return cfg


if __name__ == "__main__":
    parallel.start_processes()
    workdir, steps, pause_s = (*sys.argv[1:], "4", "0")[:3]
    install(setattr, source=Source(float(pause_s)))
    loop.train(config(int(steps)), workdir)
