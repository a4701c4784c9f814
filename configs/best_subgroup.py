"""The sub-group study by our own recipe, from scratch or fine-tuned.

Command:  python -m launch.reproduce --config=configs/best_subgroup.py:cpu --workdir=DIR
Hardware: `:cpu` two cores; `:gpu` one GPU of 80 GB; `:smoke` for tests; none (`full`)
          is the size of `:gpu` in float32 and small batches, on any device.
Time:     `:cpu` 20 min on two AVX-512 cores, nothing beside; `gpu` not measured yet.
Expected: `:cpu` on larger amplitudes than trained IoU 0.942 [0.918, 0.952] from
          scratch, 0.970 [0.967, 0.972] fine-tuned with its bottom frozen, 0.971
          [0.967, 0.973] whole, 0.980 [0.978, 0.981] with tumours trained beside
          their places too, so at the tested depths, 0.979 [0.975, 0.981] so in 15
          other patients, where the horizontal error is 0.104 mm, not the 0.1 mm of the
          goal (docs/results/paper_all_cpu).

Fine-tuning needs the group's run beside its own (part `group_frames` of the plan, with
its own parents), and the keys
`--config.init.parent=group_frames --config.init.frozen=bottom` (the paper's choice; or
nothing, ends, all_but_last) `--config.gen_opt.learning_rate=0.002`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import best_group
from configs.sets import use_sets


def get_config(preset: str = "full") -> ConfigDict:
    """Sub-group study at scale `preset`: any of `PRESETS`."""
    preset = preset or "full"
    c = best_group.get_config(preset)
    c.name = f"best_subgroup_{preset}"
    use_sets(c, "subgroup", preset)
    if preset != "smoke":
        best_group.set_length(c, 3000)
    return c
