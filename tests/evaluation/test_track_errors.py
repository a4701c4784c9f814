"""Errors of a track against a truth, with answers known in closed form."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clips import put_trackrad

from fluoro_jax.cli.main import main
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.track_errors import compare
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.tracks import TrackTable, read_track

TIMES = np.arange(0.0, 60.0, 0.5)
BREATH = np.stack([8.0 * np.cos(2 * np.pi * TIMES / 4.0), 0.0 * TIMES], axis=1)


def table(place, times=TIMES):
    return TrackTable(times, np.asarray(place, float), ("",) * len(times))


def test_an_offset_is_a_bias_without_spread():
    found = compare(table(BREATH + np.array([1.5, -2.0])), table(BREATH))
    assert found["frames"] == len(TIMES) and found["left_out"] == 0
    vertical, horizontal = found["vertical"], found["horizontal"]
    assert vertical["bias"] == pytest.approx(1.5)
    assert vertical["sd"] == pytest.approx(0.0, abs=1e-9)
    assert vertical["mae"] == vertical["p95"] == pytest.approx(1.5)
    assert horizontal["bias"] == horizontal["p5"] == pytest.approx(-2.0)
    assert horizontal["max"] == pytest.approx(2.0)
    assert found["distance_mm"]["median"] == pytest.approx(2.5)
    assert found["within_pct"] == {"1_mm": 0, "2_mm": 0, "3_mm": 100, "5_mm": 100}


def test_a_damped_amplitude_is_a_slope():
    found = compare(table(0.8 * BREATH), table(BREATH))
    assert found["vertical"]["slope"] == pytest.approx(-0.2)
    assert found["vertical"]["rmse"] == pytest.approx(1.6 / np.sqrt(2.0))
    assert found["horizontal"]["slope"] is None  # nothing moved along it


def test_frames_without_an_answer_are_missed_and_in_no_mean():
    place = BREATH.copy()
    place[:12] = np.nan
    place[12:18] += 50.0
    found = compare(table(place), table(BREATH))
    assert found["without_answer_pct"] == pytest.approx(10.0)
    assert found["missed_pct"] == pytest.approx(15.0)
    assert found["vertical"]["max"] == pytest.approx(50.0)
    assert found["within_pct"]["1_mm"] == pytest.approx(85.0)
    nothing = compare(table(np.full_like(BREATH, np.nan)), table(BREATH))
    assert nothing["missed_pct"] == 100.0 and nothing["vertical"]["bias"] is None
    json.dumps(nothing, allow_nan=False)


def test_a_perfect_track_gates_as_the_truth_does():
    gating = compare(table(BREATH), table(BREATH), window_mm=3.0)["gating"]
    assert gating["duty_cycle_pct"] == gating["ideal_duty_cycle_pct"] > 0.0
    assert gating["false_beam_on_pct"] == gating["missed_beam_pct"] == 0.0
    held = table(np.full_like(BREATH, np.nan))
    gating = compare(held, table(BREATH))["gating"]
    assert gating["duty_cycle_pct"] == 0.0 and gating["missed_beam_pct"] == 100.0


def test_a_window_counts_its_switches():
    times = np.arange(0.0, 61.0, 1.0)
    up = np.where(times % 10 < 5, 0.0, 20.0)  # in and out twelve times a minute
    place = np.stack([up, 0.0 * up], axis=1)
    gating = compare(table(place, times), table(place, times))["gating"]
    assert gating["switches_per_min"] == pytest.approx(12.0)


def test_the_truth_is_read_between_its_times():
    slow = np.arange(0.0, 30.5, 1.0)
    line = np.stack([2.0 * slow, slow], axis=1)
    fast = np.arange(0.0, 40.0, 0.25)
    found = compare(
        table(np.stack([2.0 * fast, fast], axis=1), fast), table(line, slow)
    )
    assert found["left_out"] == np.count_nonzero(fast > 30.0)
    assert found["distance_mm"]["p99"] == pytest.approx(0.0, abs=1e-9)


def test_nothing_in_common_is_refused():
    with pytest.raises(UserError, match=r"times that overlap|a track of"):
        compare(table(BREATH), table(BREATH, TIMES + 1000.0))
    with pytest.raises(UserError, match="gating window"):
        compare(table(BREATH), table(BREATH), window_mm=0.0)


def write(path, place, times=TIMES):
    rows = [f"{t},{x},{y}" for t, (y, x) in zip(times, place, strict=True)]
    path.write_text("\n".join(["time_s,x_iso_mm,y_iso_mm", *rows]) + "\n")
    return path


def test_the_command_prints_and_writes(tmp_path, capsys):
    track = write(tmp_path / "track.csv", BREATH + np.array([1.0, 0.0]))
    truth, out = write(tmp_path / "truth.csv", BREATH), tmp_path / "errors.json"
    argv = ["evaluate-track", str(tmp_path), f"--truth={truth}", f"--json={out}"]
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert "vertical                 1.00" in told and "gating at 3 mm" in told
    assert json.loads(out.read_text())["vertical"]["bias"] == pytest.approx(1.0)
    assert read_track(track).place_mm[0] == pytest.approx([9.0, 0.0])


def test_masks_of_another_clip_are_refused_before_anything_is_said(tmp_path, capsys):
    track = write(tmp_path / "track.csv", np.zeros((3, 2)), 0.5 * np.arange(3))
    case, out = put_trackrad(tmp_path / "case"), tmp_path / "errors.json"
    write_mha(tmp_path / "masks.mha", MetaImage(np.ones((3, 6, 9), np.uint8), (1,) * 3))
    argv = ["evaluate-track", str(track.parent), f"--truth={case}", f"--json={out}"]
    assert main(argv) == 2
    said = capsys.readouterr()
    assert not said.out and "masks of (3, 6, 9)" in said.err and not out.exists()
    write_mha(tmp_path / "masks.mha", MetaImage(np.ones((3, 6, 8), np.uint8), (1,) * 3))
    assert main(argv) == 0
    assert set(json.loads(out.read_text())["trackrad"]) == {
        "trackrad_compat",
        "corrected",
    }
    for place in (tmp_path, tmp_path / "nowhere" / "errors.json"):
        capsys.readouterr()
        assert main([*argv[:-1], f"--json={place}"]) == 2
        assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time_s,x_iso_mm\n0,1\n",
        "time_s,x_iso_mm,y_iso_mm\n0,1,two\n",
        "time_s,x_iso_mm,y_iso_mm\n1,0,0\n1,0,0\n",
        "time_s,x_iso_mm,y_iso_mm\n0,0\n",
        "\x00\x01",
    ],
)
def test_a_csv_that_is_no_track_is_refused(tmp_path, text, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text(text)
    good = write(tmp_path / "truth.csv", BREATH)
    assert main(["evaluate-track", str(bad), f"--truth={good}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
    assert main(["evaluate-track", str(good)]) == 2
