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
from fluoro_jax.tracking.anchored import AnchoredTracker
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
    assert (masks[0] & truth).sum() / (masks[0] | truth).sum() > 0.8
    areas = masks.sum(axis=(1, 2))
    np.testing.assert_allclose(areas, truth.sum(), rtol=0.25)
    with (tmp_path / "out" / "track.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = [float(rows[0][key]) for key in ("v_px", "u_px")]
    np.testing.assert_allclose(first, [25.5, 29.5], atol=1e-2)
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["frame0"] == str(folder / name) and run["threshold"] == 0.5
    assert f"--frame0={folder / name}" in run["command"]


def test_without_it_nothing_changes(folder, tmp_path):
    assert track(folder, tmp_path / "out") == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["frame0"] is None and "--frame0" not in " ".join(run["command"])


def test_one_that_follows_a_component_starts_at_the_outline(folder):
    clip = Clip(np.zeros((1, PIXELS, PIXELS)), np.zeros(1), square_panel(PIXELS))
    answers = {"component": True, "followed": False}
    for answer, anchored in answers.items():
        model = tracker_of("small", folder=folder, answer=answer)
        shown, reference = frame0.shown(model, clip, folder / "mask.png")
        np.testing.assert_array_equal(reference[1], outline() > 0)
        assert isinstance(shown, AnchoredTracker) == anchored
        assert not anchored or shown.share == 0.5
    assert frame0.shown(model, clip, None) == (model, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.png", "none.png"),
        ("notes.txt", "a file .mha or .png"),
        ("small.png", "8 x 8 pixels"),
        ("empty.png", "the reference mask is empty"),
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
