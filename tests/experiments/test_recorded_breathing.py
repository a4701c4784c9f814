from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fakes import clip_of, config, fake_results

from fluoro_jax.evaluation.evaluate import Method
from fluoro_jax.experiments import recorded_breathing
from fluoro_jax.experiments.recorded_breathing import recorded_section
from fluoro_jax.sim.fluoroscope import lung_clearance_mm
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.anchored import AnchoredTracker, beside


def test_a_minute_of_frames_with_the_tumour_in_the_lung_throughout():
    spec = StudySpec(rows=32, cols=32, voxel_mm=8.0)
    case = recorded_breathing.recorded_case(spec)
    assert len(case.time_s) == 120 and not case.periodic
    np.testing.assert_allclose(np.diff(case.time_s), spec.frame_s)
    room = lung_clearance_mm(case.anatomy, case.breathing, case.tumor, case.time_s)
    assert float(room) >= 0.0
    assert 0.5 < np.ptp(case.breathing.trace) < 3.0


@pytest.fixture
def short(results, monkeypatch):
    """`track_recorded` on a ready clip instead of a simulated one."""
    case = dataclasses.make_dataclass("Case", ["time_s"])(np.arange(4))
    clip = clip_of(11, 12, 4).replace(periodic=False)
    monkeypatch.setattr(recorded_breathing, "recorded_case", lambda spec: case)
    monkeypatch.setattr(recorded_breathing, "render_clip", lambda *args: clip)
    cfg = config()
    cfg.study.update(detector_mm=480.0, voxel_mm=8.0, photons=0.0, seed=1)
    cfg.study.collimate = False
    cfg.study.update(num_val=1, num_test=1)
    return recorded_breathing.track_recorded(results.runs, cfg)


def test_every_tracker_is_scored_on_every_frame(short):
    rows = {row["key"]: row for row in short.rows()}
    blind = {"static", "phase_prior", "phase_prior_frame0"}
    assert set(rows) == {"ours", "ours_frame0", *blind}
    assert rows["ours"]["frames"] == 4 and rows["ours"]["iou"] > rows["static"]["iou"]
    distance_mm = short.scores["static"].distance_mm
    assert rows["static"]["p95_mm"] == pytest.approx(np.percentile(distance_mm, 95))


def test_section_has_words_rows_and_pictures(short, tmp_path):
    section = recorded_section(short, tmp_path, config())
    assert "CC BY 4.0" in section["words"] and len(section["figures"]) == 2
    assert all(figure.path.exists() for figure in section["figures"])
    text = recorded_breathing.recorded_markdown(section["rows"])
    assert "static" in text and "of 4" in text and "yes; 0" in text


def test_a_network_that_looks_ahead_becomes_a_stream(results):
    @dataclasses.dataclass(frozen=True)
    class Whole:
        lookahead_frames: int = 9
        causal: bool = False

    run = dataclasses.replace(
        results.runs["ours"], method=Method("ours", "ours", Whole())
    )
    shown = Method("ours_frame0", "ours + frame 0", AnchoredTracker(Whole()), True)
    guarded = AnchoredTracker(Whole(), 0.5, beside(), 0.3)
    both = Method("ours_template_frame0", "both", guarded, True)
    runs = {
        one.key: dataclasses.replace(run, method=one)
        for one in (run.method, shown, both)
    }
    found = recorded_breathing._streaming(runs, 2, frame_s=0.5)
    assert [one.tracker.lookahead_frames for one in found] == [2, 2, 2]
    labels = ["ours, 1 s behind", "ours + frame 0, 1 s behind", "both, 1 s behind"]
    assert [one.label for one in found] == labels and found[1].frame0
    # Only the look-ahead is another; what guards it is the same.
    again = dataclasses.replace(found[2].tracker, inner=Whole())
    assert again == guarded and guarded.template is not None


def test_fakes_are_seeded(tmp_path, results):
    again = fake_results(tmp_path)
    assert again.table["rows"] == results.table["rows"]
