"""The paper's sub-group study (table 1), trained from scratch, as published.

Command:  python -m launch.reproduce --config=configs/paper_subgroup.py:cpu
          --workdir=DIR
Hardware: `:cpu` two cores; `:gpu` one GPU of 80 GB; `:smoke` for tests; none (`full`)
          is the size of `:gpu` in float32 and small batches, on any device.
Time:     `:cpu` 4 min of training on two cores; `gpu` not measured yet.
Expected: `:cpu` test IoU 0.705 [0.677, 0.728], vertical 3.93 mm [3.74, 4.17], none of
          150 missed (docs/results/paper_all_cpu; the paper, easy / hard set: IoU
          0.96 / 0.93).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import paper_group
from configs.sets import use_sets


def get_config(preset: str = "full") -> ConfigDict:
    """Sub-group study at scale `preset`: any of `PRESETS`."""
    preset = preset or "full"
    c = paper_group.get_config(preset)
    c.name = f"paper_subgroup_{preset}"
    return use_sets(c, "subgroup", preset)
