"""The paper's patient study (table 2), as published.

Command:  python -m launch.reproduce --config=configs/paper_patient.py:cpu --workdir=DIR
Hardware: `:cpu` two cores; `:gpu` one GPU of 80 GB; `:smoke` for tests; none (`full`)
          is the size of `:gpu` in float32 and small batches, on any device.
Time:     `:cpu` about 10 min, 5 min on two AVX-512 cores; `gpu` not measured yet.
Expected: `:cpu` test IoU 0.934 [0.932, 0.936], vertical error 0.30 mm [0.28, 0.33]
          (docs/results/paper_all_cpu; the paper: IoU 0.981, Dice 0.989, 0.3 mm
          vertical, 0.1 mm horizontal).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import paper_group
from configs.sets import use_sets


def get_config(preset: str = "full") -> ConfigDict:
    """Patient study at scale `preset`: any of `PRESETS`."""
    preset = preset or "full"
    c = paper_group.get_config(preset)
    c.name = f"paper_patient_{preset}"
    return use_sets(c, "patient", preset)
