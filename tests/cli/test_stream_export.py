"""`fluoro stream` and `fluoro export` on networks of a few hundred parameters."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from clips import edit_json, put_mha
from marks import further
from small_weights import SIDE, put_weights

from fluoro_jax.cli import main as cli
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import iso_pixel_mm, square_panel

COUNT = 8


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{stack: folder of weights}; one forward-only network and one of a window."""
    folders = {}
    for stack in ("moving_past", "edge"):
        folders[stack] = tmp_path_factory.mktemp(stack)
        put_weights(folders[stack], "small", stack)
    return folders


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory):
    """Frames of 32 x 32 pixels, 0.25 s apart: both are resampled."""
    rng = np.random.default_rng(0)
    frames = rng.uniform(2.0, 4.0, (COUNT, 32, 32)).astype(np.float32)
    clip = Clip(frames, 0.25 * np.arange(COUNT), square_panel(32))
    return put_mha(tmp_path_factory.mktemp("clip"), clip)


@pytest.mark.parametrize(
    ("stack", "lookahead"), [further("moving_past", 0), ("edge", 3)]
)
def test_a_clip_is_played(stack, lookahead, models, clip_path, tmp_path, capsys):
    # Slower than real time: on a busy machine too no frame is late.
    argv = ["stream", str(clip_path), f"--model={models[stack]}", "--speed=0.5"]
    argv += ["--no-drop", "--acquisition-ms=10", f"--json={tmp_path / 'a.json'}"]
    assert cli.main(argv) == 0
    told = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert (told["frames"], told["seen"], told["dropped"]) == (COUNT, COUNT, 0)
    # Frames at twice the model's rate: two sequences, each with its own look-ahead.
    assert (told["sequences"], told["lookahead_frames"]) == (2, lookahead)
    assert told["answers"] == COUNT - 2 * lookahead
    assert told["unanswered_at_end"] == 2 * lookahead
    assert told["lookahead_ms"]["p50"] == pytest.approx(1000.0 * lookahead, abs=1e-3)
    latency, compute = told["latency_ms"], told["compute_ms"]
    assert latency["max"] >= latency["p99"] >= latency["p50"] >= 30.0
    assert latency["p50"] >= 30.0 + told["lookahead_ms"]["p50"]
    assert 0.0 < compute["p50"] <= compute["max"]
    assert told["warm_up_s"] > 0.0 and told["processor"] and told["warnings"] == []
    printed = capsys.readouterr().out
    assert f"{COUNT} frames at speed 0.5" in printed
    assert "acquisition 10 ms, transfer 20 ms" in printed
    assert "latency, all included" in printed and "not counted" in printed


def test_frames_that_come_too_fast_are_dropped(models, clip_path, tmp_path):
    argv = ["stream", str(clip_path), f"--model={models['moving_past']}"]
    argv += ["--speed=100000", f"--json={tmp_path / 'a.json'}"]
    assert cli.main(argv) == 0
    told = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert told["dropped"] >= 1 and told["policy"] == "keep the newest"
    assert told["seen"] + told["dropped"] == COUNT
    assert len(told["dropped_frames"]) == told["dropped"]


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({}, ["--model="], "no --model"),
        ({}, ["--speed=0"], "a speed of 0"),
        ({}, ["--transfer-ms=-1"], "transfer time of -1 ms"),
        ({}, ["--lookahead=1"], "reads no later frame"),
        ({}, ["--model=groupp"], "did you mean group?"),
        ({"time_s": None, "frame_s": 1.0}, [], "between usable frames"),
    ],
)
def test_what_cannot_be_played_is_four_lines(
    change, words, said, models, clip_path, tmp_path, capsys
):
    (tmp_path / "clip.mha").write_bytes(clip_path.read_bytes())
    sidecar = clip_path.with_name("geometry.json").read_bytes()
    (tmp_path / "geometry.json").write_bytes(sidecar)
    edit_json(tmp_path / "geometry.json", **change)
    argv = ["stream", str(tmp_path / "clip.mha"), f"--model={models['moving_past']}"]
    assert cli.main([*argv, *words]) == 2
    text = capsys.readouterr().err
    assert said in text and "Traceback" not in text
    assert sum(line.startswith("ERROR") for line in text.splitlines()) == 1


@pytest.mark.parametrize("name", ["nope/latency.json", ".", "n" * 300])
def test_a_file_that_cannot_be_written_is_refused_before_playing(
    name, models, clip_path, tmp_path, monkeypatch, capsys
):
    def never(*args, **keys):
        raise AssertionError("played")

    monkeypatch.setattr("fluoro_jax.tracking.replay.replay", never)
    argv = ["stream", str(clip_path), f"--model={models['moving_past']}"]
    assert cli.main([*argv, f"--json={tmp_path / name}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "--json" in lines[0] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("stack", ["moving_past", further("edge")])
def test_a_model_is_exported_with_what_a_caller_must_know(stack, models, tmp_path):
    pytest.importorskip("flatbuffers")
    out = tmp_path / "out"
    assert cli.main(["export", str(models[stack]), f"--out={out}"]) == 0
    names = ["model.bin", "model.json", "model.mlir"]
    assert sorted(path.name for path in out.iterdir()) == names
    told = json.loads((out / "model.json").read_text("utf-8"))
    for name, file in told["files"].items():
        assert file["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
    weights = (models[stack] / "small.safetensors").read_bytes()
    assert told["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert told["kind"] == ("window" if stack == "edge" else "stream")
    assert told["max_abs_difference"] <= told["max_abs_difference_allowed"] == 1e-5
    shape = ["batch", 4, SIDE, SIDE] if stack == "edge" else [SIDE, SIDE]
    assert told["inputs"][0]["shape"] == shape
    pixel_mm = [float(v) for v in iso_pixel_mm(square_panel(SIDE))]
    assert told["frame"]["pixel_iso_mm"] == pytest.approx(pixel_mm)
    assert (told["frame_s"], told["threshold"]) == (0.5, 0.5)
    assert told["neighbours"] == ([-1, 0, 1] if stack == "edge" else [-2, -1, 0])
    assert "Not a medical device" in told["statement"] and told["limits"]


def test_an_export_is_replaced_only_when_asked(models, tmp_path, capsys):
    model = str(models["edge"])
    (tmp_path / "model.mlir").write_text("mine")
    assert cli.main(["export", model, f"--out={tmp_path}"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "model.mlir").read_text() == "mine"
    assert cli.main(["export", model]) == 2
    assert "no --out" in capsys.readouterr().err
    assert cli.main(["export", model, f"--out={tmp_path / 'model.mlir'}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4
