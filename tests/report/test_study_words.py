"""What a study's report says of the training, by config."""

from __future__ import annotations

import pytest

from configs import best_group, best_subgroup
from fluoro_jax.report.study import training_words

TABLE = {"checkpoint": {"step": 30}}


def words(cfg, **data):
    cfg.data.update(data)
    return training_words(cfg, TABLE)


def test_sizes_and_places_of_fresh_tumours_are_told():
    said = words(best_group.get_config("cpu"), midline_share=0.0)
    assert "10 to 48 mm" in said and "midline" not in said
    said = words(best_group.get_config("cpu"), midline_share=0.3)
    assert "30% of them nearest the midline" in said


@pytest.mark.parametrize("mm", [0.0, 16.0])
def test_displaced_tumours_of_sets_are_told(mm):
    said = words(best_subgroup.get_config("cpu"), displaced_mm=mm)
    assert "fresh clips of the study's patients" in said
    away = "tumours up to 16 mm along the body from their place"
    assert (away in said) == (mm > 0.0)


def test_the_parent_is_told():
    cfg = best_subgroup.get_config("cpu")
    assert "from the networks of" not in words(cfg)
    cfg.init.parent = "group_frames"
    assert "from the networks of group_frames" in words(cfg)
