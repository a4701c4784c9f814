"""XCAT's raw volumes and their log."""

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.xcat import read_xcat, read_xcat_4d

WATER = 0.0477  # 1/pixel
LOG = f"""
-----------------Phantom Dimensions------------------
 pixel width =  0.3125 (cm/pixel)
 slice width =  0.2500 (cm/pixel)
 voxel volume =  0.0244 (cm^3)
 array_size = 6
 starting slice number    = 3
 ending slice number      = 7

Linear Attenuation Coefficients (1/cm):
   Body (water)     =    0.1526
   Lung             =    0.0451

Linear Attenuation Coefficients (1/pixel):
   Body (water)     =    {WATER}
   Lung             =    0.0141

energy = 140 keV
"""


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "run_log").write_text(LOG)
    values = WATER * np.linspace(0.0, 2.0, 5 * 6 * 6, dtype="<f4").reshape(5, 6, 6)
    for frame in (1, 2, 3):
        values.tofile(tmp_path / f"run_atn_{frame}.bin")
    return tmp_path, values


def test_hu_and_place_by_the_log(volume):
    folder, values = volume
    ct = read_xcat(folder / "run_atn_1.bin")
    np.testing.assert_allclose(ct.hu, 1000.0 * (values / WATER - 1.0), atol=0.01)
    assert ct.hu.dtype == np.float32 and ct.hu.shape == (5, 6, 6)
    np.testing.assert_allclose(ct.grid.spacing_mm, (3.125, 3.125, 2.5))
    np.testing.assert_allclose(ct.grid.origin_mm, (-7.8125, -7.8125, -5.0))
    assert "140 keV" in ct.sources["hu"]
    np.testing.assert_allclose(ct.slices_mm, [-5.0, -2.5, 0.0, 2.5, 5.0])


def test_frames_are_the_phases_of_a_breath(volume):
    folder, _ = volume
    paths = [folder / f"run_atn_{k}.bin" for k in (3, 1, 2)]
    four = read_xcat_4d(paths)
    np.testing.assert_allclose(four.percents, [0.0, 100 / 3, 200 / 3])
    with pytest.raises(UserError, match="XCAT frames 1, 3"):
        read_xcat_4d(paths[:2])
    with pytest.raises(UserError, match="no frame number"):
        read_xcat_4d([*paths, folder / "run_atn_av.bin"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("array_size = 6", "", "no array_size"),
        ("(water)     =    0.0477", "= 1", "no 'Body"),
        ("array_size = 6", "array_size = 7", "no whole slices of 7 x 7: array_size"),
        ("= 7\n", "= 8\n", "5 slices of 6 x 6: slice numbers"),
        ("array_size = 6", "array_size = 600000", "absurd sizes"),
        ("0.3125", "0.0.1", "readable numbers"),
    ],
)
def test_a_log_that_does_not_fit(volume, old, new, words):
    folder, _ = volume
    (folder / "run_log").write_text(LOG.replace(old, new))
    with pytest.raises(UserError, match=words):
        read_xcat(folder / "run_atn_1.bin")


def test_files_of_another_kind(volume):
    folder, values = volume
    values.tofile(folder / "run_act_1.bin")
    with pytest.raises(UserError, match="an activity volume"):
        read_xcat(folder / "run_act_1.bin")
    values.astype(">f4").tofile(folder / "run_atn_1.bin")
    with pytest.raises(UserError, match="finite attenuation"):
        read_xcat(folder / "run_atn_1.bin")
    with pytest.raises(UserError, match="no file"):
        read_xcat(folder / "run_atn_9.bin")
    with pytest.raises(UserError, match="no XCAT log"):
        read_xcat(folder / "other_atn_1.bin")
