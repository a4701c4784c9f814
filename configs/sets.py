"""What the sub-group and patient configs share: sizes and the view of the sets.

Not run by itself. At `cpu` the panel is collimated to the tumour's range: the sub-group
keeps the group study's pixels (so that its networks fit), the patient has pixels of
1.5 mm at the isocentre.
"""

from __future__ import annotations

from fluoro_jax.config import Config

PHOTONS = 1e5  # ours: quanta are what differs between two films of one body
CASES = {  # training, validation, test
    "subgroup": (150, 15, 150),
    "subgroup_shuffled": (150, 15, 150),
    "patient": (80, 10, 20),
    "patient_left": (80, 10, 20),
    "patient_other": (80, 10, 20),
}


def use_sets(c: Config, study: str, preset: str) -> Config:
    """Changes a group config into one of a study of sets."""
    train, val, test = CASES[study]
    c.study.update(name=study, num_train=train, num_val=val, num_test=test)
    c.study.update(photons=PHOTONS)
    c.data.update(pool_bodies=15, renew_every=10**6)
    if study.startswith("patient"):
        c.data.pool_bodies = 1
    if preset == "cpu" and study.startswith("subgroup"):
        c.study.update(collimate=True, rows=64, cols=64, detector_mm=320.0)
    if preset == "cpu" and study.startswith("patient"):
        c.study.update(collimate=True, rows=96, cols=64, detector_mm=216.0)
        c.study.voxel_mm = 3.0
    if preset == "smoke":
        c.study.update(num_train=4, num_val=2, num_test=3)
    return c
