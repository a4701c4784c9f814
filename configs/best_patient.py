"""The patient study by our own recipe.

Command:  python -m launch.reproduce --config=configs/best_patient.py:cpu --workdir=DIR
Hardware: `:cpu` two cores; `:gpu` one GPU of 80 GB; `:smoke` for tests; none (`full`)
          is the size of `:gpu` in float32 and small batches, on any device.
Time:     `:cpu` 7 min on two AVX-512 cores, about 25 min on two AVX2 cores
          (estimated: 1,000 updates); `gpu` not measured yet.
Expected: `:cpu` test IoU 0.982 [0.981, 0.984], vertical error 0.17 mm [0.15, 0.19]
          (docs/results/paper_all_cpu).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import best_group
from configs.sets import use_sets
from fluoro_jax.config import Config


def get_config(preset: str = "full") -> ConfigDict:
    """Patient study at scale `preset`: any of `PRESETS`."""
    preset = preset or "full"
    c: Config = best_group.get_config(preset)
    c.name = f"best_patient_{preset}"
    use_sets(c, "patient", preset)
    if preset != "smoke":
        best_group.set_length(c, 1000)
    if preset == "cpu":
        c.gen.background_px = 13.0  # 16 mm at the isocentre; 20 mm at 1.5 mm a pixel
    return c
