"""The paper's sub-group study (table 1), trained from scratch, as published.

Command:  python -m launch.reproduce --config=configs/paper_subgroup.py --workdir=DIR
Presets:  `:smoke` (4 steps, for tests; 2 min on two cores the first time, nearly all
          of it compilation), `:cpu` (two cores), none = full size.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import paper_group
from configs.sets import use_sets


def get_config(preset: str = "full") -> ConfigDict:
    """Sub-group study at scale `preset`: any of `SCALES`."""
    preset = preset or "full"
    c = paper_group.get_config(preset)
    c.name = f"paper_subgroup_{preset}"
    return use_sets(c, "subgroup", preset)
