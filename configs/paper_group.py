"""The paper's group study (110 training cases, 30 test cases), as published.

Command:  python -m launch.reproduce --config=configs/paper_group.py --workdir=DIR
Presets:  `:smoke` (4 steps, for tests; 2 min on two cores the first time, nearly all
          of it compilation), `:cpu` (two cores, hours), none = full size.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.base import base_config


def get_config(preset: str = "full") -> ConfigDict:
    """Group study at scale `preset`: any of `SCALES`."""
    preset = preset or "full"
    c = base_config(preset)
    c.name = f"paper_group_{preset}"
    if preset == "smoke":
        c.study.update(num_train=4, num_val=2, num_test=3)
        c.data.batch_size = 4
        c.loss.update(warmup_steps=1, adv_start=1)
        c.train.update(
            num_steps=4, log_every=1, eval_every=2, save_every=2, collapse_after=1000
        )
        c.evaluation.bootstrap = 200
    if preset == "cpu":  # as long as two cores can wait
        c.train.update(num_steps=240, eval_every=60, save_every=30)
        c.loss.update(warmup_steps=100, adv_start=100)
    return c
