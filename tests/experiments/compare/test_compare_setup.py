"""A patient who does not lie where the planning scan has them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from fake_scenarios import disc_clip, settings, use_discs
from small_phases import small_phases

from fluoro_jax.experiments.compare import run
from fluoro_jax.experiments.compare.cases import draw_case
from fluoro_jax.experiments.compare.entries import Entry
from fluoro_jax.experiments.compare.run import compare
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.metrics import centroid_px


def test_it_is_the_same_patient_in_the_same_place():
    clips = settings(clips__seconds=2.0).clips
    there = dataclasses.replace(
        SCENARIOS["clinic"], cases_of="clinic", setup_mm=(3.0, 0.0, -4.0)
    )
    base = draw_case("clinic", SCENARIOS["clinic"], clips, 0)
    one = draw_case("there", there, clips, 0)
    for mine, theirs in ((one.case, base.case), (one.planning, base.planning)):
        pairs = zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a, b)


def test_the_scenario_is_visible_with_a_setup_error_of_5_mm():
    setup, visible = SCENARIOS["setup"], SCENARIOS["visible"]
    assert np.linalg.norm(setup.setup_mm) == pytest.approx(5.0, abs=0.1)
    changes = dict(title=visible.title, cases_of="", setup_mm=(0.0, 0.0, 0.0))
    assert dataclasses.replace(setup, **changes) == visible


def test_the_scan_of_a_patient_who_lies_too_low_and_left_projects_too_high_and_right(
    tmp_path, monkeypatch
):
    """The patient's left is the image's right in a frontal view: columns grow."""
    phases = small_phases()
    monkeypatch.setattr(run, "phases_of_case", lambda *_, **__: phases)
    runner = run.Runner(settings(), tmp_path, None, "")
    given = dataclasses.replace(
        disc_clip(), planning="scan", setup_mm=(8.0, 0.0, -16.0)
    )
    moved = runner._phases(given)
    (_, here), (_, there) = phases.films()[0], moved.films()[0]
    down, right = centroid_px(np.asarray(there)) - centroid_px(np.asarray(here))
    pitch_mm = 260.0 / 48.0 / 1.5  # at the isocentre
    assert down == pytest.approx(-16.0 / pitch_mm, abs=0.8)
    assert right == pytest.approx(-8.0 / pitch_mm, abs=0.8)


@pytest.mark.parametrize(
    ("knowledge", "wanted"), [("nothing", ["clinic"]), ("phases", ["clinic", "setup"])]
)
def test_another_setup_is_for_those_that_are_given_planning_phases(
    tmp_path, monkeypatch, knowledge, wanted
):
    rendered = use_discs(monkeypatch)
    monkeypatch.setattr(
        run, "read_entry", lambda name: Entry(name, knowledge, 1, None, False, "")
    )
    cfg = settings(trackers=("one",), scenarios=("clinic", "setup", "real_ct"))
    compare(cfg, tmp_path / "all")
    assert rendered == wanted
    rendered.clear()
    compare(cfg, tmp_path / "named", scenarios="setup")
    assert rendered == ["setup"]
