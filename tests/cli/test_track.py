"""`fluoro track` on small clips, once with real weights, and the rim of the command."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from clips import edit_json, put_mha

from fluoro_jax import zoo
from fluoro_jax.cli import commands
from fluoro_jax.cli import main as cli
from fluoro_jax.cli.track import options_from
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.io import animation, tracks
from fluoro_jax.io.mha import read_mha

COUNT = 6
VIEW = square_panel(128)


def chest(count=COUNT, rate_hz=4.0):
    """A crude chest, mirrored lungs in tissue, with a disc that goes up and down."""
    rows, cols = np.mgrid[:128, :128]
    lungs = sum(
        ((rows - 60) / 42.0) ** 2 + ((cols - c) / 18.0) ** 2 < 1 for c in (38, 90)
    )
    frames = []
    for t in np.arange(count) / rate_hz:
        row = 60 + 8 * np.sin(2 * np.pi * t / 5.0)
        tumour = (rows - row) ** 2 + (cols - 38) ** 2 < 7**2
        frames.append(5.0 - 1.7 * lungs + 0.8 * tumour)
    frames = np.stack(frames).astype(np.float32)
    return Clip(frames, np.arange(count) / rate_hz, VIEW)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """(folder of the clip, folder of the results), by the command itself."""
    folder = tmp_path_factory.mktemp("clip")
    put_mha(folder, chest())
    argv = ["track", str(folder / "clip.mha"), "--model=group", "--lookahead=0"]
    assert cli.main([*argv, f"--out={folder / 'out'}"]) == 0
    return folder, folder / "out"


def test_a_row_a_frame_in_the_clips_own_pixels(tracked):
    _, out = tracked
    names = [*tracks.FILES, "report.html", "results.json"]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    with (out / "track.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(tracks.COLUMNS)
    assert [int(row["frame"]) for row in rows] == list(range(COUNT))
    np.testing.assert_allclose([float(r["time_s"]) for r in rows], np.arange(COUNT) / 4)
    image = read_mha(out / "masks.mha")
    assert image.array.shape == (COUNT, 128, 128) and image.array.dtype == np.uint8
    assert image.spacing == (2.5, 2.5, 0.25)
    for row, mask in zip(rows, image.array, strict=True):
        number = {key: float(row[key]) for key in tracks.COLUMNS if key != "status"}
        assert number["area_iso_mm2"] == pytest.approx(mask.sum() * 2.5**2, rel=1e-4)
        assert 0.0 < number["latency_ms"] < 3000.0  # compiling is not latency
        if row["status"] == "missed":
            assert np.isnan(number["u_px"]) and mask.sum() == 0
            continue
        where = np.argwhere(mask).mean(axis=0)
        np.testing.assert_allclose([number["v_px"], number["u_px"]], where, atol=0.6)
        right, superior = number["x_iso_mm"], number["y_iso_mm"]
        assert right == pytest.approx((number["u_px"] - 63.5) * 2.5, abs=1e-3)
        assert superior == pytest.approx((63.5 - number["v_px"]) * 2.5, abs=1e-3)
        assert number["x_det_mm"] == pytest.approx(1.5 * right, abs=1e-3)
        assert number["y_det_mm"] == pytest.approx(1.5 * superior, abs=1e-3)


@pytest.mark.parametrize(
    ("answer", "sure"),
    [
        ((), "mean probability inside"),
        (("--answer=followed",), "an error under 2 mm"),
    ],
)
def test_a_network_that_keeps_its_state_tracks(tmp_path, answer, sure):
    put_mha(tmp_path, chest(rate_hz=5.0))
    out = tmp_path / "out"
    argv = ["track", str(tmp_path / "clip.mha"), "--model=causal-cpu", f"--out={out}"]
    assert cli.main([*argv, *answer]) == 0
    run = json.loads((out / "run.json").read_text())
    assert run["window_frames"] is None and sure in run["confidence"]
    assert run["answer"] == ("followed" if answer else "component")
    assert run["command"][-1:] == list(answer) or not answer
    assert sure in (out / "report.html").read_text(encoding="utf-8")


def test_an_unknown_answer_is_refused(tmp_path):
    argv = ["track", str(put_mha(tmp_path)), "--model=group", f"--out={tmp_path}"]
    with pytest.raises(SystemExit, match="2"):
        cli.main([*argv, "--answer=best"])


def test_the_record_says_what_was_done(tracked):
    folder, out = tracked
    run = json.loads((out / "run.json").read_text())
    card = zoo.load("group").card
    assert run["statement"] == tracks.DISCLAIMER and run["precision"] == "float32"
    assert run["model"]["sha256"] == card["weights"]["sha256"]
    assert run["model"]["card_sha256"] == card["card_sha256"]
    assert run["geometry"]["pixel_mm"] == {
        "value": [3.75, 3.75],
        "source": str(folder / "geometry.json"),
    }
    assert run["geometry"]["rows"]["source"] == str(folder / "clip.mha")
    assert run["domain"]["value"] == "line_integral" and run["answer"] == "component"
    assert (run["causal"], run["lookahead_frames"]) == (True, 0)
    assert (run["resampling"]["sequences"], run["resampling"]["frame_s"]) == (2, 0.5)
    assert (run["resampling"]["to"]["rows"], run["input"]["frames"]) == (256, COUNT)
    assert run["files"] == list(tracks.FILES) and run["warnings"] == []
    assert sum(run["status"].values()) == COUNT
    assert {"fluoro_jax", "jax", "numpy", "python"} <= set(run["versions"])
    assert run["runtime"]["seconds"] >= run["runtime"]["compile_s"] > 0.0


def test_without_a_scale_a_clip_is_tracked_in_pixels(
    tracked, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(animation, "draw_scale_bar", None)  # must not be called
    put_mha(tmp_path, chest())
    unknown = dict(sad_mm=None, sdd_mm=None, pixel_mm=None)
    edit_json(tmp_path / "geometry.json", **unknown)
    out = tmp_path / "out"
    argv = ["track", str(tmp_path / "clip.mha"), "--model=group", "--lookahead=0"]
    argv += [f"--out={out}", "--overwrite"]
    assert cli.main(argv) == 2
    assert "fluoro track --pixels-only" in capsys.readouterr().err.splitlines()[3]
    out.mkdir()
    (out / "report.html").write_text("of an earlier track, in mm")
    (out / "run.json").write_text(json.dumps({"files": list(tracks.FILES)}))
    assert cli.main([*argv, "--pixels-only", "--gif"]) == 0
    assert "the scale of the frames is not known" in capsys.readouterr().err
    names = sorted([*tracks.FILES, "track.gif"])
    assert sorted(path.name for path in out.iterdir()) == names
    rows, whole = (
        list(csv.DictReader((folder / "track.csv").read_text().splitlines()))
        for folder in (out, tracked[1])
    )
    assert not [name for name in rows[0] if "_mm" in name]
    # The clip has the model's scale, so that the answers are those with millimetres.
    for name in ("time_s", "u_px", "v_px", "status"):
        assert [row[name] for row in rows] == [row[name] for row in whole]
    assert read_mha(out / "masks.mha").spacing == (1.0, 1.0, 0.25)
    run = json.loads((out / "run.json").read_text())
    assert "no column" in run["pixels_only"] and "--pixels-only" in run["command"]
    assert set(run["geometry"]) == {"rows", "cols", "gantry_deg"}
    assert "_mm" not in json.dumps([run["columns"], run["resampling"]])
    assert "scale of the frames is not known" in run["warnings"][0]
    assert cli.main(["report", str(out), f"--clip={tmp_path / 'clip.mha'}"]) == 2


def test_files_in_millimetres_are_refused_without_a_scale(capsys):
    argv = ["track", "clip.dcm", "--model=group", "--out=out", "--pixels-only"]
    assert cli.main([*argv, "--sr"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "--sr with --pixels-only" in lines[0]


def test_results_are_replaced_only_when_asked(tracked, monkeypatch, capsys):
    folder, out = tracked
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    argv = ["track", str(folder / "clip.mha"), "--model=group", f"--out={out}"]
    assert cli.main(argv) == 2
    text = capsys.readouterr().err
    assert "--overwrite" in text and len(text.splitlines()) == 4

    def full(path, image):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(tracks, "write_mha", full)
    fresh = folder / "fresh"
    quick = [*argv[:3], "--lookahead=0", "--quiet"]
    assert cli.main([*quick, f"--out={out}", "--overwrite"]) == 2
    assert cli.main([*quick, f"--out={fresh}"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not fresh.exists()


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({}, ["--model=groupp"], "did you mean group?"),
        ({}, ["--model="], "no --model"),
        ({}, ["--lookahead=10"], "a whole number from 0 to 9"),
        ({"domain": "counts"}, [], "open_beam"),
        ({"gantry_deg": 90.0}, [], "gantry_deg = 90"),
        ({"time_s": None, "frame_s": 1.0}, [], "between usable frames"),
        ({"pixel_mm": [1.0, 1.0]}, [], "field of view"),
        ({"sad_mm": None}, [], "no sad_mm"),
    ],
)
def test_what_cannot_be_tracked_is_four_lines(change, words, said, tmp_path, capsys):
    put_mha(tmp_path, chest(3))
    edit_json(tmp_path / "geometry.json", **change)
    argv = ["track", str(tmp_path / "clip.mha"), "--model=group"]
    assert cli.main([*argv, f"--out={tmp_path / 'out'}", *words]) == 2
    text = capsys.readouterr().err
    assert said in text and len(text.splitlines()) == 4
    assert not (tmp_path / "out").exists()


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    args = cli.parser().parse_args(["track", "~/a", "--model=m", "--out=~/b"])
    options = options_from(args)
    assert (options.clip, options.out) == (tmp_path / "a", tmp_path / "b")


def test_unknown_words_are_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["track", "a", "--modle=x"])
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_a_closed_pipe_is_no_error(monkeypatch):
    def closed(*args, **kwargs):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "doctor", closed)
    monkeypatch.setattr(os, "dup2", lambda *args: None)
    assert cli.main(["doctor"]) == 141
    monkeypatch.setattr(commands, "_work", closed)
    argv = ["--config=configs/quickstart.py:smoke", "--workdir=x"]
    monkeypatch.setattr(commands, "parse", lambda *args, **kwargs: None)
    assert cli.main(["train", *argv]) == 141


@pytest.mark.multiprocess
def test_head_prints_no_broken_pipe():
    line = f"{sys.executable} -m fluoro_jax.cli.main --help | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.multiprocess
def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from fluoro_jax.cli import main as cli\n"
        "for argv in (['--help'], ['track', '--help']):\n"
        "    try: cli.main(argv)\n"
        "    except SystemExit: pass\n"
        "took = time.perf_counter() - start\n"
        "assert not {'jax', 'numpy', 'ml_collections', 'PIL'} & set(sys.modules)\n"
        "print('seconds', took)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Not a medical device" in " ".join(done.stdout.split())
    assert float(done.stdout.split()[-1]) < 0.5
