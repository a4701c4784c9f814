"""NIfTI files that ITK would read as something else are refused."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.ct import read_ct

sitk = pytest.importorskip("SimpleITK")
HU = np.random.default_rng(0).integers(-1000, 400, (6, 5, 4)).astype(np.int16)
# Where NIfTI-1 has what the tests change, little-endian.
DIM, DATATYPE, PIXDIM, START, FORMS = 40, 70, 76, 108, 252


@pytest.fixture(params=[".nii", ".nii.gz"])
def path(request, tmp_path):
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((1.5, 2.0, 3.0))
    path = tmp_path / f"ct{request.param}"
    sitk.WriteImage(image, str(path))
    return path


def unpacked(path):
    data = path.read_bytes()
    return bytearray(gzip.decompress(data) if path.suffix == ".gz" else data)


def put(path, data):
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def change(path, place, kind, *values):
    data = unpacked(path)
    struct.pack_into(f"<{kind}", data, place, *values)
    put(path, data)


def refused(path):
    with pytest.raises(UserError) as caught:
        read_ct(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and path.name in lines[0]
    return lines


def test_a_whole_file_is_read(path):
    hu, grid = read_ct(path)
    np.testing.assert_array_equal(hu, HU)
    assert grid.spacing_mm == (1.5, 2.0, 3.0)


@pytest.mark.parametrize("lost", [1, 40, 239])
def test_lost_voxels_are_no_air(path, lost):
    put(path, unpacked(path)[:-lost])
    lines = refused(path)
    assert f"{592 - lost} bytes" in lines[0] and "592 bytes" in lines[1]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_file_that_is_cut_off(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert any(words in refused(path)[0] for words in ("bytes", "no NIfTI-1 header"))


def test_damaged_compression(path):
    data = bytearray(gzip.compress(unpacked(path)))
    data[-8] ^= 1  # of the sum at its end
    packed = path.with_name("packed.nii.gz")
    packed.write_bytes(data)
    assert "CRC" in refused(packed)[0]


@pytest.mark.parametrize("size", [0.0, -2.0, math.nan, math.inf])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_voxels_without_a_size(path, size, axis):
    change(path, PIXDIM + 4 * axis, "f", size)
    assert f"{size:g}" in refused(path)[0]


def test_an_unknown_orientation(path):
    change(path, FORMS, "2h", 0, 0)
    assert "no orientation" in refused(path)[0]


@pytest.mark.parametrize(
    ("place", "kind", "values", "words"),
    [
        (0, "i", [540], "no NIfTI-1 header"),  # the size of NIfTI-2's
        (344, "4s", [b"ni1\0"], "no NIfTI-1 header"),  # its voxels in another file
        (DIM, "4h", [3, 1200, 1200, 1200], "1200 x 1200 x 1200 voxels"),
        (DIM, "4h", [3, 4, 0, 6], "dim = [3, 4, 0, 6"),
        (DIM, "h", [9], "dim = [9, 4, 5, 6"),
        (DATATYPE, "h", [1], "datatype 1"),
        (START, "f", [math.nan], "vox_offset = nan"),
        (START, "f", [-5.0], "vox_offset = -5"),
        (START, "f", [400.0], "592 bytes"),
    ],
)
def test_headers_that_cannot_be(path, place, kind, values, words):
    change(path, place, kind, *values)
    assert words in refused(path)[0]


def big_endian():
    """A file of the other byte order, by hand: SimpleITK writes its own alone."""
    head = bytearray(352)
    for place, kind, *values in (
        (0, "i", 348),
        (DIM, "8h", 3, 4, 5, 6, 1, 1, 1, 1),
        (DATATYPE, "2h", 4, 16),
        (PIXDIM, "8f", 1.0, 1.5, 2.0, 3.0, 1, 1, 1, 1),
        (START, "f", 352),
        (FORMS, "2h", 0, 1),
        (280, "12f", -1.5, 0, 0, 0, 0, -2.0, 0, 0, 0, 0, 3.0, 0),
        (344, "4s", b"n+1"),
    ):
        struct.pack_into(f">{kind}", head, place, *values)
    return bytes(head) + HU.astype(">i2").tobytes()


def test_the_other_byte_order(tmp_path):
    path = tmp_path / "ct.nii"
    path.write_bytes(big_endian())
    hu, grid = read_ct(path)
    np.testing.assert_array_equal(hu, HU)
    assert grid.spacing_mm == (1.5, 2.0, 3.0)
    path.write_bytes(big_endian()[:-1])
    assert "591 bytes" in refused(path)[0]
