import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.mha import TYPES, MetaImage, read_mha, to_lps, write_mha

GOOD = (
    "ObjectType = Image\nNDims = 2\nBinaryData = True\nDimSize = 3 2\n"
    "ElementSpacing = 0.4 0.3\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
PIXELS = bytes(range(6))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("code", sorted(TYPES.values()))
def test_every_type_comes_back_bit_equal(code, compress, tmp_path):
    rng = np.random.default_rng(0)
    array = (rng.normal(size=(2, 3, 4)) * 50).astype(code)
    image = MetaImage(array, (0.7, 0.8, 2.5), (-3.25, 4.0, 1e-3))
    write_mha(tmp_path / "a.mha", image, compress=compress)
    got = read_mha(tmp_path / "a.mha")
    np.testing.assert_array_equal(got.array, array)
    assert got.array.dtype == array.dtype
    assert got.spacing == image.spacing and got.offset == image.offset
    np.testing.assert_array_equal(got.direction, np.eye(3))
    assert [p.name for p in tmp_path.iterdir()] == ["a.mha"]


def test_x_is_the_fastest_axis(tmp_path):
    path = tmp_path / "a.mha"
    path.write_bytes(GOOD.encode() + PIXELS)
    got = read_mha(path)
    np.testing.assert_array_equal(got.array, [[0, 1, 2], [3, 4, 5]])
    assert got.spacing == (0.4, 0.3)


def test_big_endian_is_read(tmp_path):
    path = tmp_path / "a.mha"
    text = GOOD.replace("MET_UCHAR", "MET_SHORT").replace(
        "DimSize", "BinaryDataByteOrderMSB = True\nDimSize"
    )
    path.write_bytes(text.encode() + np.arange(6, dtype=">i2").tobytes())
    np.testing.assert_array_equal(read_mha(path).array.ravel(), range(6))


def test_a_type_without_a_name_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="complex"):
        write_mha(tmp_path / "a.mha", MetaImage(np.zeros((2, 2), complex), (1.0, 1.0)))
    with pytest.raises(ValueError, match="one number an axis"):
        MetaImage(np.zeros((2, 2)), (1.0,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, d: (t, d[:-1]), "5 bytes of pixels"),
        (lambda t, d: (t, d + b"x"), "7 bytes of pixels"),
        (lambda t, d: ("hello\n", d), "no MetaImage header"),
        (lambda t, d: ("", b"\0" * 100), "no MetaImage header"),
        (lambda t, d: (t.replace("DimSize = 3 2\n", ""), d), "no DimSize"),
        (lambda t, d: (t.replace("LOCAL", "a.raw"), d), "ElementDataFile = a.raw"),
        (lambda t, d: (t.replace("UCHAR", "STRING"), d), "ElementType = MET_STRING"),
        (lambda t, d: (t.replace("Data = True", "Data = False"), d), "BinaryData"),
        (
            lambda t, d: ("ElementNumberOfChannels = 3\n" + t, d),
            "several channels a pixel",
        ),
        (lambda t, d: ("CompressedData = True\n" + t, d), "cannot be read"),
    ],
)
def test_files_that_cannot_be_read_say_why(change, words, tmp_path):
    text, data = change(GOOD, PIXELS)
    (tmp_path / "a.mha").write_bytes(text.encode() + data)
    with pytest.raises(UserError) as caught:
        read_mha(tmp_path / "a.mha")
    assert words in str(caught.value) and "a.mha" in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"no file .*none\.mha"):
        read_mha(tmp_path / "none.mha")


def value_at(image, point):
    """The voxel whose centre is nearest to a world point, by the full affine."""
    step = image.direction * np.array(image.spacing)
    index = np.linalg.solve(step, np.array(point) - image.offset)
    i, j, k = np.round(index).astype(int)
    return image.array[k, j, i]


@pytest.mark.parametrize(
    "direction",
    [
        np.eye(3),
        np.diag([-1.0, -1.0, 1.0]),
        np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]),
    ],
)
def test_to_lps_keeps_every_voxel_where_it_is(direction):
    array = np.arange(24).reshape(2, 3, 4)
    image = MetaImage(array, (1.0, 2.0, 5.0), (10.0, -20.0, 30.0), direction)
    straight = to_lps(image)
    np.testing.assert_array_equal(straight.direction, np.eye(3))
    for k, j, i in np.ndindex(array.shape):
        point = direction @ (np.array([i, j, k]) * image.spacing) + image.offset
        assert value_at(straight, point) == array[k, j, i]


def test_oblique_axes_are_refused():
    turn = np.array([[0.9, -0.436, 0.0], [0.436, 0.9, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(UserError, match="obliquely"):
        to_lps(MetaImage(np.zeros((2, 2, 2)), (1.0,) * 3, (0.0,) * 3, turn))
