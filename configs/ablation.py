"""Ablations of the method: one base and rows that change one thing each.

Command:  python -m launch.train --config=configs/ablation.py:ablation/no_convlstm
          --workdir=DIR --data_dir=DATA --config.seed=1
Presets:  `ablation` (48 x 48, pixel 6.7 mm at the isocentre), `gpu` (the paper's size)
          and `smoke` (a few steps for tests; minutes the first time, nearly all of it
          compilation), alone for the base or with /ROW, a name in `VARIANTS`.
          `--data_dir` may be shared by all rows: the study is simulated once.

Hardware: `ablation` two cores, `gpu` one GPU of 80 GB.
Time:     about 1.5 min a row; all 20 rows and seeds of the plan in 38 min on two
          AVX-512 cores, evaluation and other work beside it included.
Expected: base IoU 0.458 and 0.498 (seeds 0 and 1), 13 and 14 of 30 cases missed; only
          the rows without warm-up or refinement stand apart: docs/experiments.md.

The base is our own recipe (`best_group.py`) for the first half of the steps, since the
paper's losses alone empty the mask: that is the row `no_warmup`. In the second half
the paper's losses and its critic stand beside the cross-entropy, so that each can be
left out. Rows have the same steps and as many generator updates.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.base import base_config, check_preset

VARIANTS: dict[str, dict[str, Any]] = {
    "no_convlstm": {"gen.lstm": "none"},
    "no_refinement": {"gen.refine_levels": 0},
    "no_adversarial": {"loss.adversarial": 0.0},
    # The paper's losses and critic from the first step on.
    "no_warmup": {
        "loss.cross_entropy": 0.0,
        "loss.warmup_steps": 0,
        "loss.critic_start": 0,
        "loss.adv_start": 0,
    },
    "bottom_convlstm": {"gen.lstm": "bottom"},
    "one_direction": {"gen.bidirectional": False},
    "single_frame": {"data.stack": "single"},
    "pooling": {"gen.resample": "pool"},
    "linear_critic": {"critic.output": "linear"},
    # WGAN-GP's 1:5, at as many generator updates and new bodies as the other rows.
    "critic_5_to_1": {"train.critic_updates": 10, "data.renew_every": 250},
    "l1_only": {"loss.ssim": 0.0, "loss.iou": 0.0, "loss.cross_entropy": 0.0},
    "no_ssim": {"loss.ssim": 0.0},
    "no_iou": {"loss.iou": 0.0},
    "no_cross_entropy": {"loss.cross_entropy": 0.0},
    # The other reading of eq. 5 and 9: 100 (L_1 + L_ssim + L_iou).
    "lambda_on_all": {"loss.ssim": 100.0, "loss.iou": 100.0},
}
PRESETS = ("ablation", "smoke", "gpu")


def get_config(preset: str = "") -> ConfigDict:
    """The base at PRESET, or a row of `VARIANTS` as PRESET/ROW.

    Raises:
        UserError: for other names.
    """
    size, _, row = (preset or "ablation").partition("/")
    check_preset(size, PRESETS)
    if row:
        check_preset(row, VARIANTS)
    c = _base(size)
    c.name = "_".join(part for part in ("ablation", size, row) if part)
    c.update_from_flattened_dict(VARIANTS.get(row, {}))
    return c


def _base(size: str) -> ConfigDict:
    c = base_config(size)
    c.data.update(source="simulator", random_start=True, stack="edge")
    if size != "gpu":
        c.data.batch_size = 2
    c.gen.update(input_mean=0.0, input_scale=0.25)
    c.gen.background_px = c.study.rows / 16  # 20 mm at the isocentre
    c.gen_opt.update(learning_rate=4e-3, b2=0.99)
    # Collapse is a result here, not a reason to stop.
    c.train.update(num_steps=300, ema_decay=0.99, collapse_after=10_000)
    c.train.update(eval_every=100, save_every=100)
    if size == "smoke":
        c.study.update(num_train=4, num_val=2, num_test=3)
        c.data.update(batch_size=4, pool_bodies=2)
        c.train.update(num_steps=4, log_every=1, eval_every=2, save_every=2)
        c.evaluation.bootstrap = 200
    half = c.train.num_steps // 2
    c.loss.update(cross_entropy=1.0)
    c.loss.update(warmup_steps=half, critic_start=half, adv_start=half)
    return c
