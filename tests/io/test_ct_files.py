import sys
import types

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.io import ct, mha


def test_a_volume_comes_back(tmp_path):
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 1000
    grid = Grid((-1.5, 2.0, -700.0), (0.9, 0.8, 3.0))
    ct.write_ct(tmp_path / "a.mha", hu, grid)
    got, where = ct.read_ct(tmp_path / "a.mha")
    np.testing.assert_array_equal(got, hu)
    assert got.dtype == np.float32 and where == grid


def test_turned_volumes_are_straightened(tmp_path):
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    flipped = mha.MetaImage(
        hu, (1.0, 2.0, 3.0), (3.0, 4.0, 5.0), np.diag([-1.0, -1.0, 1.0])
    )
    mha.write_mha(tmp_path / "a.mha", flipped)
    got, where = ct.read_ct(tmp_path / "a.mha")
    np.testing.assert_array_equal(got, hu[:, ::-1, ::-1])
    assert where.origin_mm == (0.0, 0.0, 5.0)


def test_a_slice_is_no_volume(tmp_path):
    mha.write_mha(tmp_path / "a.mha", mha.MetaImage(np.zeros((2, 2)), (1.0, 1.0)))
    with pytest.raises(UserError, match="2 axes"):
        ct.read_ct(tmp_path / "a.mha")


def test_without_simpleitk_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (tmp_path / "a.nii").touch()
    for path in (tmp_path / "a.nii", tmp_path):
        with pytest.raises(UserError) as caught:
            ct.read_ct(path)
        assert "pip install 'fluoro_jax[dicom]'" in str(caught.value)
    with pytest.raises(UserError, match="no file or folder"):
        ct.read_ct(tmp_path / "none.nii")


class FakeImage:
    def GetNumberOfComponentsPerPixel(self):
        return 1

    def GetDimension(self):
        return 3

    def GetSpacing(self):
        return (1.0, 2.0, 3.0)

    def GetOrigin(self):
        return (4.0, 5.0, 6.0)

    def GetDirection(self):
        return (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)


def fake_simpleitk(monkeypatch, *, fails=False):
    def read(source):
        if fails:
            raise RuntimeError("Exception thrown:\nsitk::ERROR: Unable to determine")
        return FakeImage()

    module = types.SimpleNamespace(
        ReadImage=read,
        GetArrayFromImage=lambda image: np.arange(24).reshape(2, 3, 4),
    )
    monkeypatch.setitem(sys.modules, "SimpleITK", module)


def test_what_simpleitk_reads_is_straightened_too(tmp_path, monkeypatch):
    fake_simpleitk(monkeypatch)
    (tmp_path / "a.nrrd").touch()
    hu, grid = ct.read_ct(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(hu, np.arange(24).reshape(2, 3, 4)[:, :, ::-1])
    assert grid.origin_mm == (1.0, 5.0, 6.0) and grid.spacing_mm == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("GetSpacing", (1.0, float("nan"), 3.0)),
        ("GetSpacing", (1.0, 0.0, 3.0)),
        ("GetOrigin", (1.0, float("inf"), 3.0)),
    ],
)
def test_a_header_without_a_place_is_refused(call, value, tmp_path, monkeypatch):
    fake_simpleitk(monkeypatch)
    monkeypatch.setattr(FakeImage, call, lambda self: value)
    (tmp_path / "a.nrrd").touch()
    with pytest.raises(UserError, match=r"a\.nrrd: voxels of") as found:
        ct.read_ct(tmp_path / "a.nrrd")
    assert len(str(found.value).splitlines()) == 4


def test_what_simpleitk_cannot_read_says_why(tmp_path, monkeypatch):
    fake_simpleitk(monkeypatch, fails=True)
    (tmp_path / "a.nrrd").touch()
    with pytest.raises(UserError, match="Unable to determine"):
        ct.read_ct(tmp_path / "a.nrrd")


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "mhd", "mha"])
def test_colours_and_vectors_are_no_volume(tmp_path, suffix):
    sitk = pytest.importorskip("SimpleITK")
    one = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.float32))
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(sitk.Compose(one, one, one), str(path))
    with pytest.raises(UserError, match=r"3 numbers a voxel|several channels") as found:
        ct.read_ct(path)
    assert len(str(found.value).splitlines()) == 4


def test_real_simpleitk_agrees_with_our_reader(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    hu = np.random.default_rng(0).integers(-1000, 2000, (4, 5, 6)).astype(np.int16)
    ct.write_ct(tmp_path / "a.mha", hu, Grid((1.0, 2.0, 3.0), (0.5, 0.6, 2.0)))
    image = sitk.ReadImage(str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), hu)
    assert image.GetSpacing() == (0.5, 0.6, 2.0)
    image.SetDirection((0, 0, -1.0, 1.0, 0, 0, 0, 1.0, 0))
    sitk.WriteImage(image, str(tmp_path / "b.mha"), True)
    sitk.WriteImage(image, str(tmp_path / "b.nrrd"))
    ours, grid = ct.read_ct(tmp_path / "b.mha")
    theirs, there = ct.read_ct(tmp_path / "b.nrrd")
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(grid.origin_mm, there.origin_mm)
