"""CT and mask from single files."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.io.ct import write_ct
from fluoro_jax.io.volume_files import read_file_ct, read_mask

GRID = Grid((-7.0, 5.0, -40.0), (1.5, 2.0, 3.0))
SHAPE = (6, 5, 4)


def put_ct(folder, hu=None):
    hu = np.full(SHAPE, -800, np.int16) if hu is None else hu
    write_ct(folder / "ct.mha", hu, GRID)
    return read_file_ct(folder / "ct.mha")


def mask(*labels):
    values = np.zeros(SHAPE, np.int16)
    for place, label in enumerate(labels, start=1):
        values[place, 2:4, 1] = label
    return values


def refused(path, ct, **keys):
    with pytest.raises(UserError) as caught:
        read_mask(path, ct, **keys)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    return lines


def test_a_file_is_a_ct_with_its_slices(tmp_path):
    ct = put_ct(tmp_path)
    assert ct.hu.shape == SHAPE and ct.grid == GRID
    np.testing.assert_allclose(ct.slices_mm, -40.0 + 3.0 * np.arange(6))
    np.testing.assert_allclose(ct.affine @ [1, 1, 1, 1], [-5.5, 7.0, -37.0, 1.0])
    assert "FrameOfReferenceUID" in ct.sources["frame_of_reference"]


def test_what_is_no_ct_is_refused(tmp_path):
    hu = np.full(SHAPE, -800.0, np.float32)
    hu[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="1 values that are no finite"):
        put_ct(tmp_path, hu)
    with pytest.raises(UserError, match="one slice"):
        put_ct(tmp_path, np.zeros((1, 5, 4), np.int16))


@pytest.mark.parametrize("suffix", ["mha", "nii.gz", "nrrd"])
def test_a_mask_of_every_kind_lies_on_the_ct(suffix, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    ct = put_ct(tmp_path)
    # Turned and flipped as programs write masks, at the same places.
    image = sitk.GetImageFromArray(mask(7).astype(np.uint8))
    image.SetOrigin(GRID.origin_mm)
    image.SetSpacing(GRID.spacing_mm)
    turned = sitk.DICOMOrient(image, "LAS")
    sitk.WriteImage(turned, str(tmp_path / f"gtv.{suffix}"))
    share = read_mask(tmp_path / f"gtv.{suffix}", ct)
    np.testing.assert_array_equal(share, mask(1))


def test_the_label_is_chosen_or_asked_for(tmp_path):
    ct = put_ct(tmp_path)
    write_ct(tmp_path / "gtv.mha", mask(2, 5), GRID)
    lines = refused(tmp_path / "gtv.mha", ct)
    assert "labels beside 0: 2, 5" in lines[0] and lines[3].endswith("--roi=2")
    assert ", not 4" in refused(tmp_path / "gtv.mha", ct, label=4)[0]
    share = read_mask(tmp_path / "gtv.mha", ct, label=5)
    np.testing.assert_array_equal(share, mask(0, 1))


def test_masks_of_another_ct_and_no_masks_are_refused(tmp_path):
    ct = put_ct(tmp_path)
    path = tmp_path / "gtv.mha"
    write_ct(path, mask(1)[:, :, :3], GRID)
    assert "3 x 5 x 6 voxels" in refused(path, ct)[0]
    write_ct(path, mask(1), Grid((-7.0, 5.0, -39.0), GRID.spacing_mm))
    assert "at (-7, 5, -39) mm" in refused(path, ct)[0]
    write_ct(path, mask(0), GRID)
    assert "labels beside 0: none" in refused(path, ct)[0]
    write_ct(path, mask(1) * np.float32(0.5), GRID)
    assert "no whole numbers, as 0.5" in refused(path, ct)[0]
    write_ct(path, mask(1) * np.float32(np.nan), GRID)
    assert "no whole numbers, as nan" in refused(path, ct)[0]
    assert "of another kind" in refused(tmp_path / "seg.dcm", ct)[0]
