import json

import numpy as np
import pytest
from clips import VIEW, edit_json, put_mha, put_png, put_trackrad, small_clip

from fluoro_jax.io.overrides import Overrides
from fluoro_jax.io.read_clip import read_clip, read_clip_with_sources


def same(clip, want, atol=0.0):
    np.testing.assert_allclose(clip.frames, want.frames, rtol=0, atol=atol)
    np.testing.assert_allclose(clip.time_s, want.time_s)
    assert clip.frames.dtype == np.float32
    assert clip.geometry == want.geometry
    assert (clip.domain, clip.periodic) == (want.domain, want.periodic)


def test_an_mha_with_its_geometry(tmp_path):
    want = small_clip().replace(periodic=True, time_s=np.array([0.0, 0.4, 1.1]))
    same(read_clip(put_mha(tmp_path, want)), want)
    own = tmp_path / "clip.geometry.json"
    own.write_text((tmp_path / "geometry.json").read_text())
    edit_json(own, gantry_deg=90.0)
    assert read_clip(tmp_path / "clip.mha").geometry.gantry_deg == 90.0


def test_a_trackrad_case_comes_with_its_mask(tmp_path):
    want = small_clip()
    clip = read_clip(put_trackrad(tmp_path / "case"))
    same(clip, want)
    np.testing.assert_array_equal(clip.mask, want.mask)
    bare = put_trackrad(tmp_path / "bare", want.replace(mask=None))
    assert read_clip(bare).mask is None


def test_a_byte_order_mark_before_json_is_no_error(tmp_path):
    folder = put_trackrad(tmp_path / "case")
    for name in ("geometry.json", "frame-rate.json"):
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(b"\xef\xbb\xbf" + raw)
    same(read_clip(folder), small_clip())


@pytest.mark.parametrize(("dtype", "atol"), [("uint16", 6e-4), ("uint8", 0.021)])
def test_a_folder_of_png_in_the_order_of_its_numbers(dtype, atol, tmp_path):
    folder = put_png(tmp_path / "png", dtype=dtype)  # frame_9, frame_10, frame_11
    same(read_clip(folder), small_clip(), atol)


def test_display_levels_are_shares_of_the_largest(tmp_path):
    folder = put_png(tmp_path / "png")
    edit_json(folder / "geometry.json", domain="display", value_per_grey=None)
    clip = read_clip(folder)
    assert clip.domain == "display" and 0.01 < clip.frames.max() < 0.1
    np.testing.assert_allclose(clip.frames * 65.535, small_clip().frames, atol=6e-4)


def test_counts_with_a_known_open_beam_become_log(tmp_path):
    counts = np.rint(6e4 * np.exp(-small_clip().frames))
    clip = small_clip().replace(frames=counts, domain="counts")
    path = put_mha(tmp_path, clip)
    assert read_clip(path).domain == "counts"
    edit_json(tmp_path / "geometry.json", open_beam=6e4)
    read = read_clip_with_sources(path)
    assert read.clip.domain == "log" and "open_beam" in read.sources["domain"]
    np.testing.assert_allclose(read.clip.frames, small_clip().frames, atol=5e-3)


def test_every_value_says_where_it_comes_from(tmp_path):
    path = put_mha(tmp_path)
    edit_json(tmp_path / "geometry.json", offset_mm=None, time_s=None, frame_s=0.5)
    read = read_clip_with_sources(path)
    file = str(tmp_path / "geometry.json")
    assert read.sources["offset_mm"] == "default"
    assert read.sources["sdd_mm"] == read.sources["frame_s"] == file
    assert read.sources["rows"] == str(path)
    assert read.clip.geometry.offset_mm == (0.0, 0.0)
    assert read.clip.geometry.pixel_mm == VIEW.pixel_mm
    np.testing.assert_allclose(read.clip.time_s, [0.0, 0.5, 1.0])
    json.dumps(read.sources)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_frames_in_an_npz(save, tmp_path):
    want = small_clip()
    put_mha(tmp_path, want)
    save(tmp_path / "clip.npz", frames=want.frames, other=np.zeros(3))
    same(read_clip(tmp_path / "clip.npz"), want)


def test_stated_numbers_win_over_the_sidecar(tmp_path):
    path = put_mha(tmp_path)
    stated = Overrides(
        pixel_mm=(1.0, 2.0), sad_mm=900.0, gantry_deg=45.0, fps=4.0, domain="log"
    )
    read = read_clip_with_sources(path, stated)
    view = read.clip.geometry
    assert (view.pixel_mm, view.sad_mm, view.gantry_deg) == ((1.0, 2.0), 900.0, 45.0)
    assert (view.sdd_mm, view.offset_mm) == (VIEW.sdd_mm, VIEW.offset_mm)
    np.testing.assert_allclose(read.clip.time_s, [0.0, 0.25, 0.5])
    assert read.clip.domain == "log"
    for name in ("pixel_mm", "sad_mm", "gantry_deg", "domain"):
        assert read.sources[name] == f"flag --{name.replace('_', '-')}"
    assert read.sources["time_s"] == "flag --fps"
    assert read.sources["sdd_mm"] == str(tmp_path / "geometry.json")
