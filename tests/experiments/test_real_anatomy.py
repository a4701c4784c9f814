"""Simulated tumours in a CT: the table, and trackers that are shown the truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from chest import PITCH_MM, chest_hu

from configs import clinic
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import real_anatomy as ra
from fluoro_jax.experiments.ct_clips import clips
from fluoro_jax.geometry import Grid, square_panel
from fluoro_jax.sim.ct import ct_volume
from fluoro_jax.tracking.checks import begin
from fluoro_jax.tracking.tracker import make_track
from fluoro_jax.zoo import Weights


class Shown:
    """Answers with the true masks, moved by a number of pixels."""

    causal, lookahead_frames = True, 0

    def __init__(self, masks, shift=0):
        self.masks, self.shift = np.asarray(masks), shift

    def init(self, geometry, reference=None, *, periodic=False, domain=""):
        return begin(geometry, reference, domain=domain or "line_integral"), 0

    def step(self, state, frame, time_s):
        check, number = state
        mask = np.roll(self.masks[number], self.shift, axis=1)
        return (check, number + 1), make_track(number, mask, check.geometry)

    def flush(self, state):
        return []


@pytest.fixture(scope="module")
def sequences():
    volume = ct_volume(chest_hu(spine=False), Grid((0.0, 0.0, 0.0), (PITCH_MM,) * 3))
    made = clips(
        volume,
        square_panel(64),
        count=3,
        seed=0,
        num_frames=3,
        diameter_mm=(30.0, 36.0),
    )
    return list(made)


def test_clips_hold_the_tumour_where_their_truth_says(sequences):
    for diameter, clip in sequences:
        assert 30.0 <= diameter <= 36.0
        assert clip.mask.shape == clip.frames.shape == (3, 64, 64)
        rows, cols = np.nonzero(clip.mask[0])
        middle = [rows.mean(), cols.mean()]
        np.testing.assert_allclose(middle, clip.centroid_px[0], atol=0.5)
    first, second = sequences[0][1], sequences[1][1]
    differ = np.abs(first.frames - second.frames) > 1e-4
    either = (first.mask > 0) | (second.mask > 0)
    # elsewhere the frames are the same CT; a box voxel is half a millimetre
    assert (differ & ~either).mean() < 0.03


def test_the_truth_is_found_and_a_shifted_answer_is_not(sequences):
    diameter, clip = sequences[0]
    exact = ra.answer(Shown(clip.mask), diameter, clip, 0.5)[ra.OURS]
    off = ra.answer(Shown(clip.mask, shift=2), diameter, clip, 0.5)[ra.OURS]
    assert exact.mean_mm < 1.0 and exact.iou.min() == 1.0
    pixel = 480.0 / 64 / 1.5
    assert off.mean_mm == pytest.approx(2 * pixel, abs=1.0)


def test_shown_frame_0_an_answer_beside_the_tumour_moves_its_outline(sequences):
    """One that is steadily off is right then; held still, the motion is the error."""
    diameter, clip = sequences[0]
    found = ra.answer(Shown(clip.mask, shift=2), diameter, clip, 0.5)
    assert found[ra.MOVED].mean_mm < 1.5 < found[ra.OURS].mean_mm
    assert found[ra.MOVED].iou[0] == 1.0 and found[ra.MOVED].iou.min() > 0.7
    places = np.asarray(clip.centroid_px)
    away = np.linalg.norm(places - places[0], axis=-1) * 480.0 / 64 / 1.5
    np.testing.assert_allclose(found[ra.HELD].distance_mm, away, atol=1.0)
    assert away.max() > 3.0
    # With no share of it corrected, an offset of one pixel stays.
    kept = ra.answer(Shown(clip.mask, shift=1), diameter, clip, 0.5, share=0.0)
    assert kept[ra.MOVED].distance_mm[0] < 1.0
    late = kept[ra.MOVED].distance_mm[1:].mean()
    assert late == pytest.approx(480.0 / 64 / 1.5, abs=1.0)


def test_a_template_moves_the_outline_where_the_network_is_blind(
    a_run, tmp_path, monkeypatch
):
    a_run.study.update(rows=128, cols=128)
    blank = np.zeros((a_run.study.num_frames, 128, 128), np.float32)
    monkeypatch.setattr(ra, "network_tracker", lambda *_: Shown(blank))
    found = ra.evaluate_in_ct(a_run, tmp_path, ct="chest.mha", count="2")
    rival, held = (found["shown_frame0"][w]["all"] for w in (ra.TEMPLATE, ra.HELD))
    assert rival["median_mm"] < 0.5 * held["median_mm"]
    guarded = found["shown_frame0"][ra.GUARDED]["all"]
    assert guarded["median_mm"] == pytest.approx(rival["median_mm"], abs=0.05)
    for who in (ra.TEMPLATE, ra.GUARDED):
        assert f"| {who} | all | 2 | 100 (2) |" in ra.markdown(found)


def test_the_table_counts_found_and_ranks_confidence():
    say = lambda size, miss, sure: ra.Answer(
        size,
        np.array([miss]),
        np.array([0.5]),
        np.array([sure]),
        np.zeros((1, 2, 2), bool),
    )
    rows = ra.table(
        [
            say(14.0, 1.0, 0.6),
            say(20.0, 2.0, 0.9),
            say(30.0, 50.0, 0.4),
            say(25.0, np.nan, 0.0),
        ]
    )
    assert rows["all"]["found"] == 2 and rows["all"]["n"] == 4
    assert rows["from 18 mm on"]["n"] == 3
    assert rows["all"]["auc"] == 1.0


@pytest.fixture
def a_run(monkeypatch):
    """A run whose network sees nothing, and a CT of a synthetic chest."""
    cfg = clinic.get_config("smoke")
    blank = np.zeros((10, cfg.study.rows, cfg.study.cols), np.float32)
    chest = (chest_hu(spine=False), Grid((0.0, 0.0, 0.0), (PITCH_MM,) * 3))
    monkeypatch.setattr(ra, "restore_generator", lambda *_: (None, None, 7))
    monkeypatch.setattr(ra, "network_tracker", lambda *_: Shown(blank))
    monkeypatch.setattr(ra, "read_ct", lambda path: chest)
    return cfg


def test_a_record_says_what_made_it_and_a_picture_stands_beside_it(
    a_run, tmp_path, capsys
):
    found = ra.evaluate_in_ct(a_run, tmp_path, ct="chest.mha", count="2")
    stored = json.loads((tmp_path / "tables" / "real_anatomy.json").read_text())
    assert stored["config"] == a_run.to_dict() and stored["step"] == 7
    assert found["rows"]["all"]["found"] == 0 and len(stored["tumours"]) == 2
    assert stored["tumours"][0]["distance_mm"] is None  # an empty mask has no place
    assert (tmp_path / "figures" / "real_anatomy.png").stat().st_size > 10_000
    assert stored["rows"]["all"]["median_mm"] is None
    printed = capsys.readouterr().out
    assert "| ours | all | 2 | 0 (0) |" in printed
    # Nothing is answered, so the outline of frame 0 stays where it was shown.
    moved, held = (stored["shown_frame0"][who]["all"] for who in (ra.MOVED, ra.HELD))
    assert moved["median_mm"] == held["median_mm"] > 0.0
    # An outline that is held still says nothing of how sure it is.
    (line,) = [row for row in printed.splitlines() if f"| {ra.HELD} | all | 2 |" in row]
    assert line.endswith("| - | - |")
    assert stored["shown_frame0"][ra.HELD]["all"]["confidence"] is None
    assert stored["shown_frame0"][ra.HELD]["all"]["auc"] is None
    apart = [one["shown_frame0_mm"] for one in stored["tumours"]]
    assert np.median([one[ra.MOVED] for one in apart]) == pytest.approx(
        moved["median_mm"], abs=1e-3
    )


def test_the_share_of_an_offset_is_the_configs(a_run, tmp_path, monkeypatch):
    asked, anchor = [], ra.anchor

    def noted(tracks, outline, geometry, share, **more):
        asked.append(share)
        return anchor(tracks, outline, geometry, share, **more)

    monkeypatch.setattr(ra, "anchor", noted)
    a_run.evaluation.offset_share = 0.25
    ra.evaluate_in_ct(a_run, tmp_path, ct="chest.mha", count="1")
    assert asked == [0.25, 0.25, 1.0]


def test_published_weights_take_the_place_of_a_run(a_run, tmp_path, monkeypatch):
    """Their own config counts, not the one of the command line."""
    asked = []

    def load(name, *, folder=None):
        asked.append((name, folder))
        card = {"training": {"step": 12}}
        return Weights(clinic.get_config("smoke"), None, None, card)

    monkeypatch.setattr(ra, "load", load)
    monkeypatch.setattr(ra, "restore_generator", None)  # no run is read
    file = tmp_path / "mine.safetensors"
    a_run.seed = 5
    found = ra.evaluate_in_ct(a_run, tmp_path, ct="c.mha", count="1", model=str(file))
    assert asked == [("mine", tmp_path)]
    assert found["model"] == "mine.safetensors" and found["step"] == 12
    assert found["config"]["seed"] == 0
    assert "Step 12 of mine.safetensors." in ra.markdown(found)
    for end in (".json", ".safetensors"):
        (tmp_path / f"alone{end}").touch()
    monkeypatch.chdir(tmp_path)
    found = ra.evaluate_in_ct(a_run, tmp_path, ct="c.mha", count="1", model=".")
    assert asked[-1] == ("alone", Path(".")) and found["model"] == "alone.safetensors"


@pytest.mark.parametrize("flag", ["count", "sites_seed"])
def test_flags_that_are_no_numbers_are_refused(a_run, tmp_path, flag):
    with pytest.raises(UserError, match=f"--{flag}=many"):
        ra.evaluate_in_ct(a_run, tmp_path, ct="chest.mha", **{flag: "many"})
