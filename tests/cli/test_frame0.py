"""`fluoro track --frame0`: the outline of the first frame, from a file."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from clips import put_mha
from PIL import Image
from small_weights import SIDE, put_weights

from fluoro_jax.cli import frame0
from fluoro_jax.cli import main as cli
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.io.mha import MetaImage, read_mha, write_mha
from fluoro_jax.tracking.anchored import SAME_MM
from fluoro_jax.zoo import tracker as tracker_of

COUNT, PIXELS = 4, 4 * SIDE


def outline():
    mask = np.zeros((PIXELS, PIXELS), np.uint8)
    mask[20:32, 24:36] = 255
    return mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights and a clip of four times as many pixels a side."""
    folder = tmp_path_factory.mktemp("frame0")
    asked = {"evaluation.answer": "component", "evaluation.offset_share": 0.5}
    put_weights(folder, "small", "edge", **asked)
    frames = np.random.default_rng(0).uniform(2, 4, (COUNT, PIXELS, PIXELS))
    clip = Clip(frames.astype(np.float32), 0.5 * np.arange(COUNT), square_panel(PIXELS))
    put_mha(folder, clip)
    Image.fromarray(outline()).save(folder / "mask.png")
    masks = np.stack([outline(), 0 * outline()])
    write_mha(folder / "masks.mha", MetaImage(masks, (1.0, 1.0, 1.0)))
    write_mha(folder / "mask.mha", MetaImage(masks[0], (1.0, 1.0)))
    return folder


def track(folder, out, *words):
    argv = ["track", str(folder / "clip.mha"), f"--model={folder}", f"--out={out}"]
    return cli.main([*argv, *words])


@pytest.mark.parametrize("name", ["mask.png", "masks.mha", "mask.mha"])
def test_the_outline_is_answered_in_frame_0_and_moved_after_it(name, folder, tmp_path):
    assert track(folder, tmp_path / "out", f"--frame0={folder / name}") == 0
    masks = read_mha(tmp_path / "out" / "masks.mha").array > 0
    truth = outline() > 0
    np.testing.assert_array_equal(masks[0], truth)
    # A square that lies between pixels is cut to one row or column more.
    assert set(masks.sum(axis=(1, 2))) <= {12 * 12, 12 * 13, 13 * 13}
    with (tmp_path / "out" / "track.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = [float(rows[0][key]) for key in ("v_px", "u_px")]
    np.testing.assert_allclose(first, [25.5, 29.5], atol=1e-2)
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["frame0"] == str(folder / name)
    assert f"--frame0={folder / name}" in run["command"]


def test_without_it_nothing_changes(folder, tmp_path):
    assert track(folder, tmp_path / "out") == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["frame0"] is None and "--frame0" not in " ".join(run["command"])


def test_one_that_follows_a_component_starts_at_the_outline(folder):
    clip = Clip(np.zeros((1, PIXELS, PIXELS)), np.zeros(1), square_panel(PIXELS))
    truth = outline() > 0
    path = folder / "mask.png"
    model = tracker_of("small", folder=folder)
    moved, reference = frame0.given(path, clip, model)
    np.testing.assert_array_equal(moved, truth)
    assert reference is None
    follows = tracker_of("small", folder=folder, answer="followed")
    moved, reference = frame0.given(path, clip, follows)
    assert moved is None
    np.testing.assert_array_equal(reference[1], truth)
    assert frame0.given(None, clip, model) == (None, None)


def test_a_clip_of_more_frames_a_second_is_moved_in_its_own_order(folder, tmp_path):
    """It is split into sequences for the model; only the clip's frame 0 is known."""
    count = 12
    frames = np.random.default_rng(1).uniform(2, 4, (count, PIXELS, PIXELS))
    times = 0.125 * np.arange(count)
    clip = Clip(frames.astype(np.float32), times, square_panel(PIXELS))
    put_mha(tmp_path, clip)
    words = [f"--model={folder}", "--quiet"]
    argv = ["track", str(tmp_path / "clip.mha"), *words]
    assert cli.main([*argv, f"--out={tmp_path / 'free'}"]) == 0
    asked = f"--frame0={folder / 'mask.png'}"
    assert cli.main([*argv, f"--out={tmp_path / 'out'}", asked]) == 0
    places = {}
    for name in ("free", "out"):
        with (tmp_path / name / "track.csv").open() as file:
            rows = list(csv.DictReader(file))
        places[name] = [[float(r[k]) for k in ("v_px", "u_px")] for r in rows]
    free, out = np.array(places["free"]), np.array(places["out"])
    start = np.array([25.5, 29.5])
    offset = start - free[0]
    far_mm = np.linalg.norm(offset) * 480 / 1.5 / PIXELS
    expected = free + (offset if far_mm > SAME_MM else 0.5 * offset)
    expected[0] = start
    # The outline is cut to whole pixels.
    np.testing.assert_allclose(out, expected, atol=0.51)
    assert np.ptp(out[:4], axis=0).max() > 0.5  # of one sequence's first frames each


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.png", "none.png"),
        ("notes.txt", "a file .mha or .png"),
        ("small.png", "8 x 8 pixels"),
        ("empty.png", "empty.png is empty"),
        ("colour.png", "a grey PNG"),
        ("deep.mha", "4 axes"),
        ("cut.mha", "cut.mha"),
    ],
)
def test_other_files_are_four_lines(name, said, folder, tmp_path, capsys):
    Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(0 * outline()).save(tmp_path / "empty.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "colour.png")
    deep = MetaImage(np.zeros((2, 2, 8, 8), np.uint8), (1.0,) * 4)
    write_mha(tmp_path / "deep.mha", deep)
    data = (folder / "masks.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(data[:-20])
    assert track(folder, tmp_path / "out", f"--frame0={tmp_path / name}") == 2
    text = capsys.readouterr().err
    assert said in text and len(text.splitlines()) == 4
    assert not (tmp_path / "out").exists()
