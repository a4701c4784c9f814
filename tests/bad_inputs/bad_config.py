"""Values of a config that no run can have."""

from __future__ import annotations

from bad import Bad

from configs.base import base_config
from fluoro_jax.config import validate


def _set(**values):
    def call(folder):
        cfg = base_config("smoke")
        cfg.update_from_flattened_dict(
            {k.replace("__", "."): v for k, v in values.items()}
        )
        validate(cfg, training=False)

    return call


ROWS = [
    Bad(
        "a voxel of no size",
        _set(study__voxel_mm=0.0),
        ("study.voxel_mm", "more than 0"),
    ),
]
