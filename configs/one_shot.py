"""A network without memory: every frame alone, for the comparison of trackers.

Command:  python -m launch.train --config=configs/one_shot.py:cpu --workdir=DIR
Hardware: `:cpu` two cores; `:gpu` one GPU of 80 GB; `:smoke` for tests; none (`full`)
          is the size of `:gpu` in float32 and small batches, on any device.
Time:     `:cpu` from fresh networks 48 min beside other work on two AVX-512 cores.
Expected: `:cpu` (`--config.study.num_test=30`) has test IoU 0.802 [0.702, 0.852] and
          misses 1 of 30 single frames (docs/weights.md); median distance 1.02 mm.

The U-Nets of `configs/causal.py` without its ConvLSTMs and without what moves, with
the same losses on the same population: what a single frame can say. An example is one
frame, so a batch holds as many tumours as frames; how they breathe does not count.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import best_group, causal
from fluoro_jax.config import Config


def get_config(preset: str = "full") -> ConfigDict:
    """The network of single frames at scale `preset`: any of `PRESETS`."""
    c: Config = causal.get_config(preset)
    c.name = c.name.replace("causal", "one_shot")
    c.study.update(name="clinic", num_frames=1)
    c.gen.lstm = "none"
    c.data.stack = "single"
    if preset == "gpu":
        c.data.batch_size = 640  # as many frames as 64 clips of 10 have
    if preset == "cpu":
        c.data.update(batch_size=16, pool_bodies=64, renew_every=5)
        c.gen_opt.learning_rate = 4e-3  # from fresh networks
        best_group.set_length(c, 3500)
    return c
