"""The first ten minutes: the group study at 64 x 64 with fresh simulated cases.

Command:  make quickstart  (python -m launch.reproduce --config=configs/quickstart.py)
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.base import base_config, check_preset

PRESETS = ("quickstart", "smoke")


def get_config(preset: str = "") -> ConfigDict:
    """`smoke` is the same run in seconds, for the tests."""
    preset = preset or "quickstart"
    check_preset(preset, PRESETS)
    c = base_config(preset)
    c.name = "quickstart"
    c.data.update(source="simulator", random_start=True, stack="edge", batch_size=2)
    # Seen: the paper's losses from step 100 on emptied the mask (IoU 0 at step 120):
    # a run this short stays with the warm-up's, and the critic joins for the end.
    c.loss.update(cross_entropy=1.0, warmup_steps=120, adv_start=100)
    c.train.update(num_steps=120, eval_every=40, save_every=40, ema_decay=0.98)
    if preset == "smoke":
        c.study.update(num_train=4, num_val=2, num_test=3)
        c.data.update(batch_size=4, pool_bodies=2)
        c.loss.update(warmup_steps=1, adv_start=1)
        c.train.update(
            num_steps=4, log_every=1, eval_every=2, save_every=2, collapse_after=1000
        )
        c.evaluation.bootstrap = 200
    return c
