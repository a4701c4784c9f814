"""RT Image written and read back, and views worked out by hand for each position."""

import shutil
import subprocess

import numpy as np
import pytest
from dicoms import base, edit, put_rt_image, rt_view, save

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry, project_point
from fluoro_jax.io.dicom.patient import POSITIONS
from fluoro_jax.io.dicom.write import write_rt_image
from fluoro_jax.io.read_clip import read_clip, read_clip_with_sources

POINTS = np.array([[10.0, -5.0, 20.0], [-30.0, 12.0, 4.0], [0.0, 0.0, 0.0]])


def clip_at(gantry_deg, domain="line_integral", high=6.0):
    view = Geometry(1000.0, 1500.0, gantry_deg, 20, 30, (0.4, 0.3), (12.5, -7.25))
    frames = np.random.default_rng(0).uniform(0.0, high, (3, 20, 30))
    return Clip(frames.astype(np.float32), 0.1 * np.arange(3), view, domain=domain)


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP"])
@pytest.mark.parametrize("gantry_deg", [0.0, 90.0, 30.0])
def test_an_rt_image_comes_back_as_it_was(gantry_deg, position, tmp_path):
    want = clip_at(gantry_deg)
    read = read_clip_with_sources(
        put_rt_image(tmp_path, want, patient_position=position)
    )
    clip = read.clip
    step = 6.0 / 65535
    np.testing.assert_allclose(clip.frames, want.frames, rtol=0, atol=0.51 * step)
    np.testing.assert_allclose(clip.time_s, want.time_s, atol=1e-9)
    assert clip.geometry == want.geometry
    assert clip.domain == "line_integral" and read.kind == "dicom RT Image"
    assert read.sources["pixel_mm"] == "(3002,0011) ImagePlanePixelSpacing"
    assert read.sources["offset_mm"].startswith("(3002,0012) RTImagePosition + ")
    assert read.about["patient_position"] == position and not read.notes
    np.testing.assert_array_equal(
        project_point(clip.geometry, POINTS), project_point(want.geometry, POINTS)
    )


@pytest.mark.parametrize("position", sorted(POSITIONS))
def test_every_position_on_the_table_comes_back(position, tmp_path):
    want = clip_at(75.0)
    clip = read_clip(put_rt_image(tmp_path, want, patient_position=position))
    np.testing.assert_allclose(clip.frames, want.frames, atol=1e-4)
    assert clip.geometry.gantry_deg == pytest.approx(75.0, abs=1e-6)
    assert clip.geometry.replace(gantry_deg=75.0) == want.geometry


@pytest.mark.parametrize(("domain", "high"), [("log", 6.0), ("counts", 3e4)])
def test_other_domains_come_back(domain, high, tmp_path):
    want = clip_at(0.0, domain, high)
    clip = read_clip(put_rt_image(tmp_path, want))
    assert clip.domain == domain
    np.testing.assert_allclose(clip.frames, want.frames, atol=high / 65535)


def test_display_levels_come_back(tmp_path):
    want = clip_at(0.0, "display", 1.0)
    with pytest.warns(UserWarning, match="polarity by"):
        clip = read_clip(put_rt_image(tmp_path, want))
    assert clip.domain == "display"
    np.testing.assert_allclose(clip.frames, want.frames, atol=1 / 65535)


def test_a_vector_of_times_longer_than_64_kilobytes(tmp_path):
    steps = np.random.default_rng(0).uniform(0.066, 0.067, 7000)
    view = Geometry(1000.0, 1500.0, 0.0, 2, 2, (0.4, 0.3))
    frames = np.zeros((7000, 2, 2), np.float32)
    times = np.cumsum(steps)
    clip = read_clip(put_rt_image(tmp_path, Clip(frames, times, view)))
    np.testing.assert_allclose(clip.time_s, times - times[0], atol=1e-6)


# Patient (LPS) to the room's axes (Xf, Yf, Zf), written out by hand from IEC 61217: how
# a patient's left, back and head lie on the table.
ROOM = {
    "HFS": lambda x, y, z: (x, z, -y),
    "FFS": lambda x, y, z: (-x, -z, -y),
    "HFP": lambda x, y, z: (-x, z, y),
}
MARKERS = np.array(
    [[35.0, 0.0, -20.0], [0.0, 25.0, 10.0], [0.0, 0.0, 45.0], [-20.0, 9.0, 8.0]]
)


def by_hand(point, position, gantry_deg):
    """(row, column) of a point in an image of 101 x 121 pixels, from IEC 61217 alone.

    The room's axes are turned into the gantry's (Xg, Yg, Zg), the source lies at Zg =
    1000, the image plane at Zg = -500; the first pixel's centre at (-68, 78) mm.
    """
    xf, yf, zf = ROOM[position](*point)
    g = np.deg2rad(gantry_deg)
    xg, zg = xf * np.cos(g) - zf * np.sin(g), xf * np.sin(g) + zf * np.cos(g)
    scale = 1500.0 / (1000.0 - zg)
    return (78.0 - yf * scale) / 1.6, (xg * scale + 68.0) / 1.2


@pytest.mark.parametrize("position", sorted(ROOM))
@pytest.mark.parametrize("gantry_deg", [0, 90, 180, 270, 30])
def test_markers_lie_where_iec_61217_puts_them(position, gantry_deg, tmp_path):
    pixels = np.zeros((2, 101, 121), np.uint16)
    where = [by_hand(point, position, gantry_deg) for point in MARKERS]
    for number, (row, col) in enumerate(where, start=1):
        pixels[:, round(row), round(col)] = 100 * number
    ds = base("RT Image", pixels)
    edit(ds, FrameTime=100, **rt_view())
    # Off centre by 2 and 4 mm: half of 100 rows is 80 mm, of 120 columns 72 mm.
    edit(
        ds,
        ImagePlanePixelSpacing=[1.6, 1.2],
        RTImagePosition=[-68.0, 78.0],
        GantryAngle=gantry_deg,
        PatientPosition=position,
    )
    clip = read_clip(save(ds, tmp_path / "clip.dcm"))
    places = np.asarray(project_point(clip.geometry, MARKERS))
    frame = clip.frames[0]
    for number, (row, col) in enumerate(places, start=1):
        found = np.argwhere(frame == 100 * number)
        assert np.abs(found[0] - (row, col)).max() <= 0.51, (number, row, col)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="no dicom3tools")
def test_dciodvfy_finds_no_error_in_an_rt_image(tmp_path):
    write_rt_image(tmp_path / "a.dcm", clip_at(0.0))
    done = subprocess.run(
        ["dciodvfy", str(tmp_path / "a.dcm")], capture_output=True, text=True
    )
    assert "Error" not in done.stderr + done.stdout, done.stderr
