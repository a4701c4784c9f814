"""Sizes and view of the sets, shared by the sub-group and patient configs.

Command:  none; `configs/best_patient.py` and its neighbours use it.
Hardware, time, expected result: those of the config that uses it.

Numbers of cases come from the registry of studies. At `cpu` the panel is collimated to
the tumour's range: with several patients it keeps the group study's pixels (so that its
networks fit), with one patient it has pixels of 1.5 mm at the isocentre. Our own recipe
has the whole panel at 1.25 mm.
"""

from __future__ import annotations

from fluoro_jax.config import Config
from fluoro_jax.studies import STUDIES

# Ours: unattenuated quanta a pixel of 3.33 mm (sub-group) or 1.5 mm (patient) at the
# isocentre at `cpu` in the paper's form, of 1.25 mm in ours; without noise, two clips
# of one patient would not differ.
PHOTONS = 1e5


def use_sets(c: Config, study: str, preset: str) -> Config:
    """Changes a group config into one of a study of sets."""
    sets, numbers = STUDIES[study].sets, STUDIES[study].numbers
    if sets is None:
        raise ValueError(f"{study} is no study of sets")
    c.study.update({f"num_{split}": number for split, number in numbers.items()})
    c.study.update(name=study, photons=PHOTONS)
    c.data.update(pool_bodies=sets.count, renew_every=10**6)
    one_patient = sets.count == 1
    # Our own recipe sees the whole panel at the paper's pixel, behind cells of 4 x 4.
    small = preset == "cpu" and c.gen.patch == 1
    if small and one_patient:
        c.study.update(collimate=True, rows=96, cols=64, detector_mm=216.0)
        c.study.voxel_mm = 3.0
    elif small:
        c.study.update(collimate=True, rows=64, cols=64, detector_mm=320.0)
    # A network of one or a few patients answers in part from where their tumours are:
    # frames that are moved spoil its answer (docs/experiments.md).
    c.evaluation.update(half_cells=False, threshold=0.5)
    if preset == "smoke":
        c.study.update(num_train=4, num_val=2, num_test=3)
    return c
