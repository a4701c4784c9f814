from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from fake_scenarios import disc_clip, settings

from configs.trackers import get_config
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare import clips as rendering
from fluoro_jax.experiments.compare.cases import (
    DAY_TUMOR_MM,
    LEAST_DRIFTING_SI_MM,
    draw_case,
)
from fluoro_jax.experiments.compare.clips import render, scenario_clips
from fluoro_jax.experiments.compare.kept_clips import clip_name
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.geometry import position_iso_mm
from fluoro_jax.sim.body.breathing import breathing_signal
from fluoro_jax.sim.fluoroscope import lung_clearance_mm

CLIPS = settings(clips__seconds=6.0).clips
SHORT = settings(clips__seconds=2.0).clips  # what is rendered: ten frames
DRAWN: dict = {}


def drawn(name, index=0):
    if (name, index) not in DRAWN:
        DRAWN[name, index] = draw_case(name, SCENARIOS[name], CLIPS, index)
    return DRAWN[name, index]


def test_a_case_depends_on_scenario_seed_and_index_alone():
    again = draw_case("clinic", SCENARIOS["clinic"], CLIPS, 0)
    one = drawn("clinic")
    assert again.case.tumor.diameter_mm == one.case.tumor.diameter_mm
    np.testing.assert_array_equal(again.case.tumor.centre_mm, one.case.tumor.centre_mm)
    for other in (drawn("clinic", 1), drawn("paper")):
        assert (other.case.tumor.centre_mm != one.case.tumor.centre_mm).any()
    tuning = settings(clips__seeds="tuning").clips
    other = draw_case("clinic", SCENARIOS["clinic"], tuning, 0)
    assert (other.case.tumor.centre_mm != one.case.tumor.centre_mm).any()


@pytest.mark.parametrize("name", ["clinic", "recorded", "phase_shift"])
def test_tumours_stay_in_the_lung_and_clips_have_their_times(name):
    case = drawn(name).case
    room_mm = lung_clearance_mm(case.anatomy, case.breathing, case.tumor, case.time_s)
    assert room_mm > -0.5  # checked at twelve depths, not at every frame
    np.testing.assert_allclose(case.time_s, np.arange(30) / 5.0, rtol=1e-6)
    assert (float(case.tumor.lag) > 0.0) == (name == "phase_shift")
    assert not case.periodic


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", ["noise_high", "scatter_low", "fps_15", "gantry"])
def test_a_scenario_that_varies_one_thing_has_its_bases_patients(name):
    base, one = drawn("clinic", 1), drawn(name, 1)
    assert one.shared == "tumour" and base.shared == ""
    for attribute in ("anatomy", "breathing", "tumor"):
        mine, theirs = (getattr(case.case, attribute) for case in (one, base))
        for a, b in zip(leaves(mine), leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(leaves(one.planning), leaves(base.planning), strict=True):
        np.testing.assert_array_equal(a, b)
    # Steps of noise are of the same random numbers.
    drawn_twice = [
        draw_case(n, SCENARIOS[n], CLIPS, 1).rng.random() for n in ("clinic", name)
    ]
    assert drawn_twice[0] == drawn_twice[1]
    assert (one.geometry.gantry_deg != 0.0) == (name == "gantry")
    assert len(one.case.time_s) == (90 if name == "fps_15" else 30)


def test_another_motion_keeps_patient_and_size_and_moves_the_tumour_if_it_must():
    base = drawn("clinic")
    for name in ("drift", "recorded", "phase_shift"):
        one = drawn(name)
        assert one.shared in ("tumour", "patient")
        for a, b in zip(
            leaves(one.case.anatomy), leaves(base.case.anatomy), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert one.case.tumor.diameter_mm == base.case.tumor.diameter_mm
        same = (one.case.tumor.centre_mm == base.case.tumor.centre_mm).all()
        assert same == (one.shared == "tumour")
    # Drift and lag are in the clip alone.
    assert bool(drawn("phase_shift").planning.tumor.rides)
    assert not bool(drawn("phase_shift").case.tumor.rides)


def test_what_shares_patients_says_nothing_else_of_them():
    for scenario in SCENARIOS.values():
        if scenario.cases_of:
            base = SCENARIOS[scenario.cases_of]
            assert not base.cases_of and not base.from_ct
            for key in ("study", "diameter_mm", "overlap", "from_ct"):
                assert getattr(scenario, key) == getattr(base, key)
    rate = get_config("cpu").clips.frames_per_s
    assert rate not in {scenario.frames_per_s for scenario in SCENARIOS.values()}


def test_the_planning_scan_is_of_another_day_and_breathes_regularly():
    one = drawn("recorded")
    planning, case = one.planning, one.case
    assert case.breathing.trace is not None and planning.breathing.trace is None
    for name in ("scale_lateral", "scale_ap", "scale_height", "dome_right_mm"):
        assert getattr(planning.anatomy, name) != getattr(case.anatomy, name)
    moved = np.abs(planning.tumor.centre_mm - case.tumor.centre_mm)
    assert 0.0 < moved.max() < DAY_TUMOR_MM + 0.02 * 130.0
    assert planning.tumor.diameter_mm == case.tumor.diameter_mm


def test_a_drifting_tumour_leaves_its_breath_by_5_mm_and_the_body_does_not():
    one = drawn("drift")
    assert one.case.tumor.si_mm >= LEAST_DRIFTING_SI_MM
    time_s = one.case.time_s
    body, _ = breathing_signal(one.case.breathing, time_s)
    tumor, _ = breathing_signal(one.tumor_breathing, time_s)
    drift_mm = np.asarray(tumor - body) * float(one.case.tumor.si_mm)
    np.testing.assert_allclose(drift_mm[0], 0.0, atol=0.05)
    np.testing.assert_allclose(drift_mm[len(drift_mm) // 2 + 1 :], 5.0, atol=0.3)


@pytest.fixture(scope="module")
def plain():
    case = draw_case("clinic", SCENARIOS["clinic"], SHORT, 0)
    return render(case, SCENARIOS["clinic"], voxel_mm=8.0)


def test_a_clip_is_rendered_once_for_scenarios_that_record_it_otherwise(
    tmp_path, plain, monkeypatch
):
    kept, rendered = tmp_path / "clips", []
    body = rendering.render_body

    def render_body(*args, **keys):
        rendered.append(1)
        return body(*args, **keys)

    monkeypatch.setattr(rendering, "render_body", render_body)
    go = lambda name: render(
        draw_case(name, SCENARIOS[name], SHORT, 0),
        SCENARIOS[name],
        voxel_mm=8.0,
        kept=kept,
    )
    first, again, gain = go("clinic"), go("clinic"), go("gain")
    assert rendered == [1] and len(list(kept.iterdir())) == 1
    assert jax.tree.structure(again.clip) == jax.tree.structure(plain.clip)
    for one in (first, again):
        for a, b in zip(leaves(one.clip), leaves(plain.clip), strict=True):
            np.testing.assert_array_equal(a, b)
    half = len(gain.clip.frames) // 2
    np.testing.assert_array_equal(gain.clip.frames[:half], plain.clip.frames[:half])
    # A file that a full disk has cut is rendered anew; so is another patient.
    (path,) = kept.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(go("clinic").clip.frames, plain.clip.frames)
    assert len(rendered) == 2
    names = {
        clip_name(drawn(*which).case, drawn(*which).geometry)
        for which in (("clinic", 0), ("clinic", 1), ("gantry", 0), ("fps_15", 0))
    }
    assert len(names) == 4


def test_the_truth_between_frames_meets_that_of_the_frames(plain):
    clip = plain.clip
    frames_mm = np.asarray(position_iso_mm(clip.geometry, clip.centroid_px))
    between = [
        np.interp(clip.time_s, plain.truth_time_s, plain.truth_mm[:, a])
        for a in range(2)
    ]
    np.testing.assert_allclose(np.stack(between, -1), frames_mm, atol=0.02)
    assert clip.domain == "line_integral" and not clip.periodic


def test_gain_noise_scatter_and_missing_frames():
    given = disc_clip()
    record = lambda **how: rendering._record(
        given.clip,
        dataclasses.replace(SCENARIOS["clinic"], **how),
        np.random.default_rng(0),
    )
    louder = record(gain=0.7).frames - given.clip.frames
    np.testing.assert_allclose(louder[:12], 0.0, atol=1e-6)
    np.testing.assert_allclose(louder[12:], -np.log(0.7), rtol=1e-4)
    noise = record(photons=1e4)
    expected = np.sqrt(np.exp(given.clip.frames).mean() / 1e4)
    assert (noise.frames - given.clip.frames).std() == pytest.approx(expected, rel=0.1)
    assert noise.domain == "log"
    # Scatter adds signal where the patient is thick, so line integrals fall.
    assert record(scatter_ratio=1.0).frames.mean() < given.clip.frames.mean() - 0.2
    fewer = record(dropped=0.4)
    kept = len(fewer.time_s)
    assert kept < 24 and fewer.time_s[0] == 0.0
    sizes = (fewer.frames, fewer.mask, fewer.centroid_px)
    assert {len(part) for part in sizes} == {kept}


def test_a_ct_scenario_without_a_ct_says_so():
    with pytest.raises(UserError, match="--ct"):
        next(scenario_clips("real_ct", SCENARIOS["real_ct"], CLIPS))


def test_every_scenario_reads_what_exists():
    from fluoro_jax.experiments.compare.scenarios import BREATHS, TRACES
    from fluoro_jax.sim.body.breathing import trace_names
    from fluoro_jax.studies import STUDIES

    assert set(TRACES) <= set(trace_names())
    for scenario in SCENARIOS.values():
        assert scenario.study in STUDIES and scenario.breath in BREATHS
        assert scenario.title
