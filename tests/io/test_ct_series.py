"""Folders of DICOM slices: order by position, and every gap refused."""

import numpy as np
import patients
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.ct import read_ct

sitk = pytest.importorskip("SimpleITK")
SERIES = "1.2.826.0.1.3680043.2.1125.1"


def write_slice(path, index, *, series=SERIES, place=None, plane=None, turn=False):
    plane = np.full((6, 5), 10 * index - 1000, np.int16) if plane is None else plane
    image = sitk.GetImageFromArray(plane)
    image.SetSpacing((0.9, 0.8))
    x, y, z = place or (-2.0, -3.0, 100.0 + 2.5 * index)
    axes = "0\\1\\0\\1\\0\\0" if turn else "1\\0\\0\\0\\1\\0"
    for tag, value in {
        "0008|0060": "CT",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
        "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
        "0020|000e": series,
        "0008|0018": f"{series}.{index}.{path.stem}",
        "0020|0013": str(99 - index),  # against the order of the positions
        "0020|0032": f"{x}\\{y}\\{z}",
        "0020|0037": axes,
        "0028|0030": "0.8\\0.9",
    }.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


@pytest.fixture
def series(tmp_path):
    names = ["d", "a", "c", "b", "f", "e"]  # names tell nothing of the order
    for index, name in enumerate(names):
        write_slice(tmp_path / f"{name}.dcm", index)
    (tmp_path / "notes.txt").write_text("not a slice")
    (tmp_path / "._a.dcm").write_bytes(b"what macOS writes beside a.dcm")
    return tmp_path


def test_slices_are_ordered_by_position(series):
    hu, grid = read_ct(series)
    np.testing.assert_array_equal(hu[:, 0, 0], 10.0 * np.arange(6) - 1000)
    assert hu.shape == (6, 6, 5)
    np.testing.assert_allclose(grid.spacing_mm, (0.9, 0.8, 2.5))
    np.testing.assert_allclose(grid.origin_mm, (-2.0, -3.0, 100.0))


def drop(folder):
    (folder / "c.dcm").unlink()


def double(folder):
    write_slice(folder / "again.dcm", 2)


def second(folder):
    write_slice(folder / "other.dcm", 7, series=SERIES + ".5")


def cut(folder, size):
    data = (folder / "c.dcm").read_bytes()
    (folder / "c.dcm").write_bytes(data[: int(size * len(data))])


def tilt(folder):
    for index, name in enumerate(["d", "a", "c", "b", "f", "e"]):
        place = (-2.0, -3.0 + 0.5 * index, 100.0 + 2.5 * index)
        write_slice(folder / f"{name}.dcm", index, place=place)


def edit(**values):
    def change(folder):
        pytest.importorskip("pydicom")
        patients.change(folder / "c.dcm", **values)

    return change


def alone(folder):
    for name in "abcef":
        (folder / f"{name}.dcm").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop, r"5 mm between .*elsewhere 2\.5 mm"),
        (double, "at the same place"),
        (second, "holds 2 series"),
        (lambda f: cut(f, 0.9), "c.dcm"),
        (lambda f: cut(f, 0.3), "c.dcm"),
        (lambda f: cut(f, 0.0), "c.dcm"),
        (tilt, "drift by"),
        (alone, "1 slices"),
        (edit(HighBit=11), "HighBit = 11 with BitsStored = 16"),
        (edit(PhotometricInterpretation="RGB"), "Interpretation is no grey"),
        (lambda f: write_slice(f / "x.dcm", 7, turn=True), "other pixels or dir"),
        (
            lambda f: write_slice(f / "x.dcm", 6, plane=np.zeros((5, 5), np.int16)),
            "other pixels or dir",
        ),
    ],
)
def test_series_that_make_no_volume_are_refused(series, damage, words):
    damage(series)
    with pytest.raises(UserError, match=words) as caught:
        read_ct(series)
    assert len(str(caught.value).splitlines()) == 4


def test_a_folder_without_slices(tmp_path):
    with pytest.raises(UserError, match="no DICOM series"):
        read_ct(tmp_path)
