"""What `fluoro track` does to files that are there already, by a tiny network."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys

import numpy as np
import pytest
from clips import edit_json, put_mha, put_png, put_trackrad
from renames import contents
from small_weights import put_weights

from fluoro_jax.cli import main as cli
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.io import tracks
from fluoro_jax.tracking import follow

COUNT = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    put_weights(folder, "small", "moving_past")
    return folder


def small(rate_hz=2.0):
    frames = np.random.default_rng(0).uniform(2.0, 4.0, (COUNT, 32, 32))
    times = np.arange(COUNT) / rate_hz
    return Clip(frames.astype(np.float32), times, square_panel(32))


def track(clip, model, out, *words):
    argv = ["track", str(clip), f"--model={model}", f"--out={out}", "--quiet"]
    return cli.main([*argv, *words])


def tracks_nothing(monkeypatch):
    def never(*args, **keys):
        raise AssertionError("tracked")

    monkeypatch.setattr(follow.Plan, "run", never)


@pytest.mark.parametrize("words", [(), ("--overwrite",)])
def test_the_clip_that_is_tracked_is_never_replaced(
    words, model, tmp_path, monkeypatch, capsys
):
    tracks_nothing(monkeypatch)
    case = put_trackrad(tmp_path / "trackrad" / "caseA", small())
    put_trackrad(tmp_path / "trackrad" / "caseB", small())
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "files": ["track.csv", "masks.mha", "run.json"],
                "more_files": ["trackrad"],
            }
        )
    )
    before = contents(tmp_path)
    assert track(case, model, tmp_path, "--trackrad", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and ("is read from" in lines[0]) == bool(words)
    path = put_mha(tmp_path, small()).rename(tmp_path / "masks.mha")
    sidecar = tmp_path / "geometry.json"
    sidecar.rename(tmp_path / "masks.geometry.json")
    assert track(path, model, tmp_path, *words) == 2
    left = contents(tmp_path)
    assert {name: left[name] for name in before} == before and "masks.mha" in left


def test_no_dicom_is_written_between_the_frames_of_a_clip(model, tmp_path, capsys):
    pytest.importorskip("pydicom")
    clip = put_png(tmp_path / "png", small())
    before = contents(clip)
    assert track(clip, model, clip, "--seg") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "holds the frames of the clip" in lines[0]
    assert contents(clip) == before
    case = put_trackrad(tmp_path / "case", small())
    for folder in (clip, case):
        words = ("--seg",) if folder == case else ()
        assert track(folder, model, folder, *words) == 0
        assert cli.main(["report", str(folder), f"--clip={folder}"]) == 0


def test_the_mask_of_frame0_is_not_removed_with_an_earlier_track(model, tmp_path):
    clip, out = put_mha(tmp_path, small()), tmp_path / "out"
    assert track(clip, model, out, "--slicer", "--trackrad") == 0
    mask = out / "slicer" / "images" / "00000.mha"
    assert track(clip, model, out, "--overwrite", f"--frame0={mask}") == 0
    assert mask.is_file() and not (out / "trackrad").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
@pytest.mark.parametrize("words", [(), ("--pixels-only",)])
def test_a_name_that_is_no_utf8_does_not_lose_the_results(words, model, tmp_path):
    put_mha(tmp_path, small())
    odd = tmp_path / os.fsdecode(b"M\xfcller")
    odd.mkdir()
    for name in ("clip.mha", "geometry.json"):
        (tmp_path / name).rename(odd / name)
    assert track(odd / "clip.mha", model, odd / "out", *words) == 0
    run = json.loads((odd / "out" / "run.json").read_text(encoding="utf-8"))
    name = f"{tmp_path}/M\\xfcller/clip.mha"
    assert name == run["input"]["read"][0] == run["command"][2]
    assert (odd / "out" / "report.html").is_file() != bool(words)


def test_without_millimetres_the_page_of_another_run_stands_in_no_ones_way(
    model, tmp_path
):
    clip, out = put_mha(tmp_path, small()), tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("of another run")
    assert track(clip, model, out, "--pixels-only") == 0
    assert (out / "report.html").read_text() == "of another run"


def test_a_folder_that_cannot_be_made_is_refused_before_tracking(
    model, tmp_path, monkeypatch, capsys
):
    tracks_nothing(monkeypatch)
    clip = put_mha(tmp_path, small())
    assert track(clip, model, clip / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and f"--out {clip / 'out'}: Not a directory" in lines[0]


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EACCES, "change the permissions or --out"),
        (errno.ENOSPC, "run the same command again"),
        (errno.ENOENT, "correct that path, or --out"),
        (errno.ENAMETOOLONG, "correct that path, or --out"),
    ],
)
def test_an_error_of_the_system_names_the_commands_own_option(
    number, fix, model, tmp_path, monkeypatch, capsys
):
    def fail(*args, **keys):
        raise OSError(number, os.strerror(number), "a/b")

    monkeypatch.setattr(tracks, "write_mha", fail)
    assert track(put_mha(tmp_path, small()), model, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and lines[3].endswith(fix)


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (
            small().replace(frames=np.ones((COUNT, 32, 24), np.float32)),
            "frames [4, 32, 24]",
        ),
        (small().replace(time_s=0.52 * np.arange(COUNT)), "up to 0.06 s"),
        (small().replace(geometry=square_panel(32, detector_mm=470.0)), "pixel_mm"),
        (small().replace(frames=small().frames[::-1].copy()), "other frames"),
    ],
)
def test_a_page_of_another_clip_is_refused(clip, said, results, tmp_path, capsys):
    before = contents(results)
    path = put_mha(tmp_path, clip)
    assert cli.main(["report", str(results), f"--clip={path}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and said in lines[0]
    assert contents(results) == before


@pytest.fixture(scope="module")
def results(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    assert track(put_mha(folder, small()), model, folder / "out") == 0
    return folder / "out"


def test_the_page_of_the_clip_itself_is_written_again(results):
    page = (results / "report.html").read_bytes()
    (results / "report.html").unlink()
    clip = results.parent / "clip.mha"
    assert cli.main(["report", str(results), f"--clip={clip}"]) == 0
    assert (results / "report.html").stat().st_size == pytest.approx(len(page), rel=0.1)


def test_a_page_is_of_the_numbers_that_were_stated(model, tmp_path):
    counts = np.rint(6e4 * np.exp(-small().frames))
    clip = put_mha(tmp_path, small(4.0).replace(frames=counts, domain="counts"))
    edit_json(tmp_path / "geometry.json", open_beam=6e4, pixel_mm=[5.0, 5.0])
    pitch = [str(one) for one in small().geometry.pixel_mm]
    out = tmp_path / "out"
    assert track(clip, model, out, "--fps=2", "--pixel-mm", *pitch) == 0
    run = json.loads((out / "run.json").read_text("utf-8"))
    # A logarithm's last bits depend on the processor.
    assert run["input"]["frames_sha256"] is None
    assert cli.main(["report", str(out), f"--clip={clip}"]) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"command": ["--fps=x"]},
        {"command": 5},
        {"time_s": []},
        {"time_s": {"value": [0.0, 1.0]}},
        {"geometry": {"sad_mm": {"value": "far"}}},
    ],
)
def test_a_record_that_was_edited_is_four_lines(changed, results, tmp_path, capsys):
    out = shutil.copytree(results, tmp_path / "out")
    run = json.loads((out / "run.json").read_text("utf-8"))
    (out / "run.json").write_text(json.dumps({**run, **changed}))
    clip = results.parent / "clip.mha"
    assert cli.main(["report", str(out), f"--clip={clip}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "run.json" in lines[0]
