"""`fluoro track --frame0`: the outline of the first frame, from a file."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from clips import put_mha
from ml_collections import ConfigDict
from PIL import Image
from small_weights import SIDE, put_weights

from fluoro_jax.cli import frame0
from fluoro_jax.cli import main as cli
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.io.mha import MetaImage, read_mha, write_mha
from fluoro_jax.io.trackrad import TrackRadCase, write_trackrad
from fluoro_jax.tracking.tracker import make_track
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
    # A square that lies between pixels is cut to another row, column or corner.
    assert np.ptp(masks.sum(axis=(1, 2))) <= 13 * 13 - 12 * 12
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
    assert run["frame0_moved_by"] is None
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


def test_the_labels_of_a_trackrad_case_are_read_as_they_are_stored(folder, tmp_path):
    """Their frames are along the last axis."""
    frames = np.zeros((3, PIXELS, PIXELS // 2))
    clip = Clip(frames, 0.5 * np.arange(3), square_panel(PIXELS))
    labels = np.zeros(frames.shape, np.uint8)
    labels[0, 20:32, 4:9], labels[1:, 40:52, 10:15] = 1, 1
    case = TrackRadCase(frames, 2.0, (1.0, 1.0), labels)
    write_trackrad(tmp_path / "case", case)
    (path,) = (tmp_path / "case" / "targets").glob("*_labels.mha")
    moved, _ = frame0.given(path, clip, tracker_of("small", folder=folder))
    np.testing.assert_array_equal(moved, labels[0])


def disc_clip(count=12):
    """A disc that moves over noise that does not, and its places (row, column)."""
    places = np.array([25.5, 29.5]) + np.stack(
        [6.0 * np.sin(0.4 * np.arange(count)), 0.5 * np.arange(count)], axis=-1
    )
    rows, cols = np.mgrid[:PIXELS, :PIXELS]
    still = np.random.default_rng(1).uniform(2.0, 2.2, (PIXELS, PIXELS))
    frames = [
        still + 0.5 * (np.hypot(rows - row, cols - col) < 6.0) for row, col in places
    ]
    times = 0.125 * np.arange(count)
    return Clip(np.float32(frames), times, square_panel(PIXELS)), places


@pytest.mark.parametrize("words", [[], ["--lookahead=0"], ["--pixels-only"]])
def test_a_template_moves_it_in_the_clips_own_order(words, folder, tmp_path):
    """The clip is split into sequences for the model, which knows no tumour."""
    clip, places = disc_clip()
    put_mha(tmp_path, clip)
    argv = ["track", str(tmp_path / "clip.mha"), f"--model={folder}", "--quiet"]
    asked = f"--frame0={folder / 'mask.png'}"
    assert cli.main([*argv, *words, f"--out={tmp_path / 'out'}", asked]) == 0
    with (tmp_path / "out" / "track.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [[float(row[key]) for key in ("v_px", "u_px")] for row in rows]
    np.testing.assert_allclose(found, places, atol=0.6)
    assert {row["status"] for row in rows} == {"low_confidence"}
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["frame0_moved_by"] == frame0.GUARDED


def test_a_model_that_knows_the_tumour_rules_where_the_template_is_lost():
    clip, _ = disc_clip(4)
    outlined = outline() > 0
    view, asked = clip.geometry, dict(offset_share=0.5)
    plan = SimpleNamespace(
        tracker=SimpleNamespace(cfg=ConfigDict(dict(evaluation=asked))),
        resampler=SimpleNamespace(source=view),
    )
    far = np.array([[0, 0], [20, 0], [20, 0], [20, 0]])
    masks = [np.roll(outlined, step, axis=(0, 1)) for step in far]
    rows = [(make_track(n, mask, view), 5.0) for n, mask in enumerate(masks)]
    moved, cut = frame0.moved(
        rows, np.stack(masks), outline=np.float32(outlined), plan=plan, clip=clip
    )
    np.testing.assert_allclose(moved[2][0].centroid_px, [45.5, 29.5], atol=1e-3)
    np.testing.assert_array_equal(cut[2] > 0, masks[2])
    assert all(latency_ms > 5.0 for _, latency_ms in moved)


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
