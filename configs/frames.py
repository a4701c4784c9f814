"""Where the other recipes may start: their networks, on single frames of many tumours.

Command:  python -m launch.train --config=configs/frames.py:cpu --workdir=DIR
Hardware: `:cpu` two cores; `:gpu` one GPU of 80 GB; `:smoke` for tests; none (`full`)
          is the size of `:gpu` in float32 and small batches, on any device.
Time:     `:cpu` 64 min on two AVX-512 cores, tests beside it.
Expected: `:cpu` test IoU 0.808 [0.722, 0.860], median distance 0.64 mm, 5 of 60 single
          frames missed; as many steps more (part `frames_more`) 0.830, 0.49 mm, 3;
          those with 3 of 10 near the midline (`frames_midline`) 0.847, 0.57 mm, 3; then
          clips, and 6000 steps more with log IoU (`frames_log`) 0.861, 0.56 mm, 2; both
          from fresh networks (`frames_afresh`) 0.837, 0.65 mm, 3, and 9000 steps more
          from there (`frames_longer`) 0.865, 0.56 mm, 2 (docs/results/paper_all_cpu).

The networks of `configs/clinic.py` with all their ConvLSTMs, in clips of one frame. Ten
frames of a clip cost ten times what one does and show one tumour; here each shows
another. What has moved, and what the frame before held, is learnt afterwards, in clips:
`--config.init.parent=NAME` of the recipes that have the same arrays.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import best_group, clinic
from fluoro_jax.config import Config


def get_config(preset: str = "full") -> ConfigDict:
    """Single frames at scale `preset`: any of `PRESETS`."""
    c: Config = clinic.get_config(preset)
    c.name = c.name.replace("clinic", "frames")
    # Not the seed of the clinic study: its patients are to be new to these networks.
    c.study.update(num_frames=1, seed=2020)
    if preset == "gpu":
        c.data.batch_size = 640  # as many frames as 64 clips of 10 have
    if preset == "cpu":
        # From 8 mm on, as the causal network is trained; a tumour of it fills half a
        # dozen pixels across.
        c.data.update(batch_size=16, pool_bodies=64, renew_every=4, smallest_mm=8.0)
        c.gen_opt.learning_rate = 4e-3  # from fresh networks
        best_group.set_length(c, 12000)
    return c
