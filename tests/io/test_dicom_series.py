"""CT and 4DCT folders: orientation, HU, phases, and what is refused."""

import shutil
import sys

import numpy as np
import patients
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.dicom.series import Assumed, list_series, read_4dct, read_series_ct
from fluoro_jax.io.dicom.write_ct import (
    POSITIONS,
    Identity,
    write_ct_series,
    write_rtstruct,
)

pydicom = pytest.importorskip("pydicom")
HU = patients.random_hu()
SECONDARY = "1.2.840.10008.5.1.4.1.1.7.3"


@pytest.fixture
def series(tmp_path):
    write_ct_series(tmp_path / "ct", HU, patients.GRID)
    return tmp_path / "ct"


@pytest.mark.parametrize("position", POSITIONS)
def test_every_patient_position_comes_back_along_lps(tmp_path, position):
    write_ct_series(tmp_path, HU, patients.GRID, position=position)
    ct = read_series_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, HU)
    np.testing.assert_allclose(ct.grid.spacing_mm, patients.GRID.spacing_mm)
    np.testing.assert_allclose(ct.grid.origin_mm, patients.GRID.origin_mm, atol=1e-9)
    assert ct.sources["patient_position"] == position
    assert ("flipped" in ct.sources["axes"]) == (position != "HFS")
    assert ct.hu.dtype == np.float32 and ct.percent is None


def test_the_affine_leads_from_stored_voxels_to_the_patient(tmp_path):
    write_ct_series(tmp_path, HU, patients.GRID, position="FFS")
    ct = read_series_ct(tmp_path)
    data = pydicom.dcmread(tmp_path / "0000.dcm")
    column, row = 4, 7
    x, y, z, _ = ct.affine @ [column, row, 0, 1]
    place = (np.array([x, y, z]) - ct.grid.origin_mm) / ct.grid.spacing_mm
    i, j, k = np.round(place).astype(int)
    assert data.pixel_array[row, column] - 1024 == ct.hu[k, j, i]
    np.testing.assert_allclose(np.diff(ct.slices_mm), 2.5)


def test_slope_and_intercept_are_those_of_every_slice(series):
    path = series / "0003.dcm"
    stored = pydicom.dcmread(path).pixel_array
    doubled = (2 * stored).astype("<u2").tobytes()
    patients.change(path, RescaleSlope="0.5", PixelData=doubled)
    np.testing.assert_array_equal(read_series_ct(series).hu, HU)


def test_padding_becomes_air(series):
    path = series / "0002.dcm"
    stored = pydicom.dcmread(path).pixel_array.astype("<i2") - 1024
    stored[0] = -2048
    patients.change(
        path,
        PixelRepresentation=1,
        RescaleIntercept="0",
        PixelPaddingValue=-2048,
        PixelData=stored.tobytes(),
    )
    ct = read_series_ct(series)
    assert (ct.hu[2, 0] == -1000.0).all()
    np.testing.assert_array_equal(ct.hu[2, 1:], HU[2, 1:])
    assert "14 padded" in ct.sources["padding"]


def test_other_series_files_and_copies_may_lie_beside(series):
    shutil.copy(series / "0004.dcm", series / "again.dcm")
    (series / "notes.txt").write_text("not a slice")
    (series / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    write_rtstruct(series / "rt.dcm", [patients.cylinder()])
    other = series / "scout"
    write_ct_series(other, HU, patients.GRID, identity=Identity(5))
    patients.change_all(other, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    ct = read_series_ct(series)
    np.testing.assert_array_equal(ct.hu, HU)
    assert ct.sources["copies"].startswith("1 copies")
    kinds = {one.kind: len(one.files) for one in list_series(series)}
    assert kinds == {"ct": 10, "RTSTRUCT": 1, "localizer": 9}


def test_a_series_is_chosen_by_its_name(series):
    write_ct_series(series / "b", HU + 1.0, patients.GRID, identity=Identity(5))
    patients.change_all(series / "b", SeriesDescription="second")
    with pytest.raises(UserError, match="2 CT series"):
        read_series_ct(series)
    ct = read_series_ct(series, series="second")
    np.testing.assert_array_equal(ct.hu, HU + 1.0)


def test_compressed_slices_are_read_by_gdcm(series):
    from pydicom.uid import RLELossless

    for path in series.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    np.testing.assert_array_equal(read_series_ct(series).hu, HU)


def test_a_compressed_file_that_claims_too_much_is_refused(series):
    from pydicom.uid import RLELossless

    data = pydicom.dcmread(series / "0004.dcm")
    data.compress(RLELossless)
    data.NumberOfFrames = 1_000_000
    data.save_as(series / "0004.dcm")
    with pytest.raises(UserError, match="that claim 672000000 of pixels"):
        read_series_ct(series)


def test_oblique_slices_are_resampled(tmp_path):
    shape, turn = (24, 26, 28), np.deg2rad(12.0)
    rotation = np.array(
        [
            [np.cos(turn), -np.sin(turn), 0.0],
            [np.sin(turn), np.cos(turn), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    k, j, i = np.indices(shape)
    stored = np.stack([i, j, k]) * np.reshape([3.0, 2.0, 2.5], (3, 1, 1, 1))
    world = np.tensordot(rotation, stored, axes=1)
    ramp = lambda x, y, z: np.round(2.0 * x - 3.0 * y + z)
    grid = patients.Grid((0.0, 0.0, 0.0), (3.0, 2.0, 2.5))
    write_ct_series(tmp_path, ramp(*world), grid)
    axes = [float(v) for v in [*rotation[:, 0], *rotation[:, 1]]]
    patients.change_all(tmp_path, ImageOrientationPatient=[f"{v:.9f}" for v in axes])
    ct = read_series_ct(tmp_path)
    assert "oblique" in ct.sources["axes"]
    axes = [o + s * np.arange(n) for o, s, n in zip(
        ct.grid.origin_mm, ct.grid.spacing_mm, ct.hu.shape[::-1], strict=True
    )]  # fmt: skip
    x, y, z = axes
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    inside = slice(8, 16), slice(10, 22), slice(10, 20)
    # Rounding to whole HU, at eight voxels around.
    np.testing.assert_allclose(ct.hu[inside], ramp(x, y, z)[inside], atol=1.01)
    assert (ct.hu[:, 0, 0] == -1000.0).all()


def test_a_multi_frame_file_without_geometry_needs_assumptions(series, tmp_path):
    planes = [pydicom.dcmread(path) for path in sorted(series.glob("*.dcm"))]
    first = planes[0]
    for word in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(first, word)
    del first.RescaleIntercept, first.RescaleSlope
    first.SOPClassUID = SECONDARY
    first.NumberOfFrames = len(planes)
    # From the head down, as such files are mostly written.
    first.PixelData = b"".join(one.PixelData for one in planes[::-1])
    path = tmp_path / "one.dcm"
    first.save_as(path)
    with pytest.raises(UserError, match=r"no \(0020,0032\) ImagePositionPatient"):
        read_series_ct(path)
    with pytest.raises(UserError, match="RescaleIntercept"):
        read_series_ct(path, assumed=Assumed((3.0, 2.0, 2.5)))
    ct = read_series_ct(path, assumed=Assumed((3.0, 2.0, 2.5), -1024.0))
    np.testing.assert_array_equal(ct.hu, HU)
    assert ct.grid.spacing_mm == (3.0, 2.0, 2.5)
    assert "assumed" in ct.sources["geometry"] and "assumed" in ct.sources["hu"]


def enhanced(series, path):
    """Writes the series as one enhanced CT."""
    planes = [pydicom.dcmread(one) for one in sorted(series.glob("*.dcm"))]
    first, frames = planes[0], []
    item = lambda **values: _item(values)
    for one in planes:
        position = item(ImagePositionPatient=one.ImagePositionPatient)
        frames.append(item(PlanePositionSequence=[position]))
    shared = item(
        PlaneOrientationSequence=[
            item(ImageOrientationPatient=first.ImageOrientationPatient)
        ],
        PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing)],
        PixelValueTransformationSequence=[
            item(RescaleIntercept="-1024", RescaleSlope="1")
        ],
    )
    words = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    for word in (*words, "RescaleIntercept", "RescaleSlope"):
        delattr(first, word)
    first.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    first.NumberOfFrames = len(planes)
    first.SharedFunctionalGroupsSequence = [shared]
    first.PerFrameFunctionalGroupsSequence = frames
    first.PixelData = b"".join(one.PixelData for one in planes)
    first.save_as(path)


def _item(values):
    data = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def test_an_enhanced_ct_is_read_by_its_functional_groups(series, tmp_path):
    enhanced(series, tmp_path / "enhanced.dcm")
    ct = read_series_ct(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(ct.hu, HU)
    np.testing.assert_allclose(ct.grid.origin_mm, patients.GRID.origin_mm)


def lose(folder):
    (folder / "0004.dcm").unlink()


def double(folder):
    shutil.copy(folder / "0004.dcm", folder / "x.dcm")
    data = np.zeros(patients.SHAPE[1:], "<u2").tobytes()
    patients.change(folder / "x.dcm", PixelData=data)


def cut(folder, share):
    data = (folder / "0004.dcm").read_bytes()
    (folder / "0004.dcm").write_bytes(data[: int(share * len(data))])


def edit(**values):
    return lambda folder: patients.change(folder / "0004.dcm", **values)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose, r"5 mm between .*elsewhere 2\.5 mm"),
        (double, "at the same place"),
        (lambda f: cut(f, 0.9), "0004.dcm"),
        (lambda f: cut(f, 0.3), "0004.dcm"),
        (edit(ImagePositionPatient=None), "no .* ImagePositionPatient"),
        (edit(PixelSpacing=["0", "1"]), "pixels"),
        (edit(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "orientation"),
        (edit(ImagePositionPatient=[0, 0, "1e30"]), "position"),
        (edit(RescaleIntercept=None), "RescaleIntercept"),
        (edit(RescaleSlope="-1"), "RescaleSlope"),
        (edit(Rows=60000), "60000 x 14 pixels"),
        (edit(NumberOfFrames=2_000_000_000), "2000000000 frames"),
        (edit(PixelData=None), "no pixels"),
        (edit(BitsStored=12), "HighBit = 15 with BitsStored = 12"),
        (edit(PhotometricInterpretation="PALETTE COLOR"), "Interpretation is no grey"),
        (edit(FrameOfReferenceUID="1.2.3"), "FrameOfReferenceUID 1.2.3"),
        (edit(PatientID="somebody else"), "0004.dcm: another PatientID than in "),
    ],
)
def test_series_that_make_no_volume_are_refused(series, damage, words):
    damage(series)
    with pytest.raises(UserError, match=words) as caught:
        read_series_ct(series)
    assert len(str(caught.value).splitlines()) == 4
    assert "somebody" not in str(caught.value)


def test_nothing_to_read(tmp_path, series):
    with pytest.raises(UserError, match="no file or folder"):
        read_series_ct(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no DICOM series"):
        read_series_ct(tmp_path / "empty")
    with pytest.raises(UserError, match="1 slices"):
        read_series_ct(series / "0004.dcm")


def test_without_pydicom_the_extra_is_named(series, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'fluoro_jax\[dicom\]'"):
        read_series_ct(series)


def test_a_deflated_file_is_refused(series):
    path = series / "0004.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.save_as(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_series_ct(series)


def test_phases_are_grouped_and_others_set_aside(tmp_path):
    patients.write_4d(tmp_path)
    for seed, words in ((6, "4D average"), (7, "MIP 0%-90%")):
        folder = tmp_path / words
        write_ct_series(folder, HU, patients.GRID, identity=Identity(seed))
        patients.change_all(folder, SeriesDescription=words)
    write_rtstruct(tmp_path / "rt.dcm", [patients.cylinder()])
    four = read_4dct(tmp_path)
    np.testing.assert_array_equal(four.percents, [0, 20, 40, 60, 80])
    assert "average" in four.sources["set_aside"]
    assert "mip" in four.sources["set_aside"]
    assert "before %" in four.sources["phases"]
    assert four.index_of(four.phases[3].series_uid) == 3
    assert four.index_of("") is None and four.grid == four.phases[0].grid


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Thorax phase {}", [0, 25, 50, 75]),
        ("T={}0% gated", [0, 10, 20, 30]),
        ("CT Phase: {}0 B30f", [0, 10, 20, 30]),
    ],
)
def test_phases_by_their_description(tmp_path, words, expected):
    for k, folder in enumerate(patients.write_4d(tmp_path, (0, 25, 50, 75)).values()):
        patients.change_all(folder, SeriesDescription=words.format(k))
    if "{}0" in words:  # 0 to 30 % is no whole breath
        with pytest.raises(UserError, match="no phase 40 %"):
            read_4dct(tmp_path)
        found = [s.percent for s in list_series(tmp_path)]
    else:
        found = read_4dct(tmp_path).percents
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [("TemporalPositionIdentifier", "0020,0100"), ("TemporalPositionIndex", "9128")],
)
def test_phases_of_one_series_by_temporal_position(tmp_path, keyword, tag):
    for k, folder in enumerate(patients.write_4d(tmp_path, (0, 25, 50, 75)).values()):
        values = {"SeriesDescription": "4D", "SeriesInstanceUID": "1.2.3"}
        patients.change_all(folder, **values, **{keyword: k + 1})
    four = read_4dct(tmp_path)
    np.testing.assert_array_equal(four.percents, [0, 25, 50, 75])
    assert tag in four.sources["phases"]


def test_an_override_names_phases(tmp_path):
    folders = patients.write_4d(tmp_path, (0, 10, 20))
    for name, folder in zip("abc", folders.values(), strict=True):
        patients.change_all(folder, SeriesDescription=name)
    with pytest.raises(UserError, match="0 breathing phases"):
        read_4dct(tmp_path)
    four = read_4dct(tmp_path, phases={"a": 50.0, "b": 0.0, "c": 15.0})
    np.testing.assert_array_equal(four.percents, [0, 15, 50])
    assert four.sources["phases"] == "override"
    with pytest.raises(UserError, match="phase 10 % of 'd'"):
        read_4dct(tmp_path, phases={"d": 10.0})
    with pytest.raises(UserError, match="phase 100 %"):
        read_4dct(tmp_path, phases={"a": 100.0})


def other_frame(folders, tmp):
    patients.change_all(folders[40], FrameOfReferenceUID="1.2.3")


def other_spacing(folders, tmp):
    patients.change_all(folders[40], PixelSpacing=["2.1", "3"])


def no_phase(folders, tmp):
    shutil.rmtree(folders[40])


def few(folders, tmp):
    for percent in (20, 40, 60):
        shutil.rmtree(folders[percent])


def twice(folders, tmp):
    write_ct_series(tmp / "b", HU, patients.GRID, percent=40)
    patients.change_all(tmp / "b", SeriesInstanceUID="1.2.3")


def lost_slice(folders, tmp):
    (folders[40] / "0004.dcm").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_frame, "FrameOfReferenceUID 1.2.3"),
        (other_spacing, r"3 x 2.1 x 2.5 mm"),
        (no_phase, r"no phase 40 % \(there are 0 %, 20 %, 60 %, 80 %\)"),
        (few, "2 breathing phases"),
        (twice, "phase 40 % is there twice"),
        (lost_slice, "5 mm between"),
    ],
)
def test_a_4dct_that_is_not_whole_is_refused(tmp_path, damage, words):
    damage(patients.write_4d(tmp_path), tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        read_4dct(tmp_path)
    assert len(str(caught.value).splitlines()) == 4
    if "phase 40 %" in words:
        needed = "every phase once" if damage is twice else "phases every 20 %"
        assert needed in caught.value.needed and "--phase" in caught.value.fix


def test_no_message_has_the_patients_name(tmp_path):
    patients.write_4d(tmp_path, (0, 50))
    for folder in tmp_path.iterdir():
        patients.change_all(folder, PatientName="Doe^Jane")
    with pytest.raises(UserError) as caught:
        read_4dct(tmp_path)
    assert "Doe" not in str(caught.value)
