"""The learning rate by update."""

from __future__ import annotations

import pytest

from configs.base import base_config
from fluoro_jax.training.optim import learning_rate


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("cosine", 4, {0: 0.0, 2: 0.5, 4: 1.0, 12: 0.5, 20: 0.0}),
        ("constant", 4, {0: 0.0, 2: 0.5, 4: 1.0, 12: 1.0, 20: 1.0}),
        ("constant", 0, {0: 1.0, 1: 1.0, 20: 1.0}),
    ],
)
def test_the_schedule_is_a_config_value(schedule, warmup, rates):
    opt = base_config("smoke").gen_opt
    opt.update(schedule=schedule, warmup_steps=warmup, learning_rate=1.0)
    rate = learning_rate(opt, 20)
    for update, value in rates.items():
        assert float(rate(update)) == pytest.approx(value, abs=1e-6)
