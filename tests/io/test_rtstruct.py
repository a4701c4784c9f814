"""RTSTRUCT, RTPLAN: names, frames of reference, slices, isocentres, phases."""

import dataclasses

import numpy as np
import patients
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.contours import centroid_mm, rasterise, volume_ml
from fluoro_jax.io.dicom.rtplan import choose_isocentre, read_isocentres
from fluoro_jax.io.dicom.rtstruct import read_rtstruct, rois_by_phase
from fluoro_jax.io.dicom.series import read_4dct, read_series_ct
from fluoro_jax.io.dicom.write_ct import Identity, write_ct_series, write_rtstruct
from fluoro_jax.io.volumes import Roi

pydicom = pytest.importorskip("pydicom")
HU = patients.random_hu()
SQUARE = np.array([[-3.0, -3.0, 45.0], [3.0, -3.0, 45.0], [3.0, 3.0, 45.0]])
AT = (12.0, -34.5, 56.25)


@pytest.fixture
def files(tmp_path):
    write_ct_series(tmp_path / "ct", HU, patients.GRID)
    point = Roi("Iso", (), points_mm=np.array([AT]))
    rois = [patients.cylinder(), patients.cylinder("Lung left", radius_mm=9.0), point]
    write_rtstruct(tmp_path / "rt.dcm", rois)
    return tmp_path


def test_every_roi_is_listed(files):
    structures = read_rtstruct(files / "rt.dcm")
    assert structures.names == ("GTV", "Lung left", "Iso")
    np.testing.assert_allclose(structures.rois[2].points_mm, [AT])
    assert [len(roi.contours_mm) for roi in structures.rois] == [3, 3, 0]
    assert structures.label == "PHANTOM"


def test_a_roi_comes_back_on_its_ct(files):
    ct = read_series_ct(files / "ct")
    roi = read_rtstruct(files / "rt.dcm", ct=ct).roi(" gtv ")
    truth = np.pi * 36.0 * 7.5 / 1000.0
    assert volume_ml(roi) == pytest.approx(truth, rel=1e-3)
    share = rasterise(roi, ct.grid, ct.hu.shape)
    assert share.sum() * 3.0 * 2.0 * 2.5e-3 == pytest.approx(truth, rel=2e-3)
    np.testing.assert_allclose(centroid_mm(roi), (0.0, -2.0, 47.5), atol=1e-3)
    assert roi.series_uid == ct.series_uid and roi.frame_uid == ct.frame_uid


def test_contours_are_moved_to_the_nearest_slice(tmp_path):
    write_ct_series(tmp_path / "ct", HU, patients.GRID)
    ct = read_series_ct(tmp_path / "ct")
    off = [p + np.array([0.0, 0.0, 0.4]) for p in patients.cylinder().contours_mm]
    write_rtstruct(tmp_path / "rt.dcm", [Roi("GTV", tuple(off))])
    roi = read_rtstruct(tmp_path / "rt.dcm", ct=ct).roi("GTV")
    assert {float(p[0, 2]) for p in roi.contours_mm} == {45.0, 47.5, 50.0}
    assert "0.40 mm" in roi.sources["slices"]


def test_the_nearest_name_is_suggested(files):
    structures = read_rtstruct(files / "rt.dcm")
    with pytest.raises(UserError, match="0 ROIs called 'Lung lft'") as caught:
        structures.roi("Lung lft")
    assert "'GTV', 'Lung left', 'Iso'" in caught.value.needed
    assert caught.value.fix == "--roi 'Lung left'"
    with pytest.raises(UserError, match="'Iso' has no closed contours"):
        structures.roi("Iso")


def test_two_rois_of_one_name_are_refused(tmp_path):
    write_rtstruct(tmp_path / "rt.dcm", [patients.cylinder(), patients.cylinder()])
    with pytest.raises(UserError, match="2 ROIs called 'GTV'"):
        read_rtstruct(tmp_path / "rt.dcm").roi("GTV")


def test_another_frame_of_reference_is_refused(files):
    ct = read_series_ct(files / "ct")
    other = dataclasses.replace(ct, frame_uid="1.2.3", series_uid="1.2.4")
    with pytest.raises(UserError, match=r"ReferencedFrameOfReferenceUID 2\.25") as got:
        read_rtstruct(files / "rt.dcm", ct=other).roi("GTV")
    assert got.value.needed == "1.2.3, the FrameOfReferenceUID of the CT"
    assert "drawn on this CT, or register" in got.value.fix
    # Drawn on this very series: the UID is the writer's fault, as of rt-utils.
    same = dataclasses.replace(ct, frame_uid="1.2.3")
    roi = read_rtstruct(files / "rt.dcm", ct=same).roi("GTV")
    assert "this very CT" in roi.sources["frame_of_reference"]
    blank = dataclasses.replace(ct, frame_uid="")
    roi = read_rtstruct(files / "rt.dcm", ct=blank).roi("GTV")
    assert "taken as the same" in roi.sources["frame_of_reference"]


def test_contours_beyond_or_across_slices_are_refused(files):
    ct = read_series_ct(files / "ct")
    high = [p + np.array([0.0, 0.0, 30.0]) for p in patients.cylinder().contours_mm]
    upright = SQUARE[:, [0, 2, 1]] + np.array([0.0, -45.0, 50.0])
    write_rtstruct(files / "rt.dcm", [Roi("high", tuple(high)), Roi("up", (upright,))])
    structures = read_rtstruct(files / "rt.dcm", ct=ct)
    with pytest.raises(UserError, match="a CT that covers the whole ROI") as caught:
        structures.roi("high")
    assert "a contour at 75.0 mm, the CT's slices from 40.0" in caught.value.found
    assert "the CT that the contours were drawn on, whole" in caught.value.fix
    with pytest.raises(UserError, match=r"across 6\.0 mm of slices"):
        structures.roi("up")


def test_short_contours_are_left_out(tmp_path):
    rois = [Roi("GTV", (SQUARE, SQUARE[:2], SQUARE + np.array([0.0, 0.0, 2.5])))]
    write_rtstruct(tmp_path / "rt.dcm", rois)
    roi = read_rtstruct(tmp_path / "rt.dcm").roi("GTV")
    assert len(roi.contours_mm) == 2 and roi.sources["left_out"].startswith("1 cont")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [(["1"] * 10, "10 numbers"), (["1", "1", "1e9"] * 3, "9 numbers")],
)
def test_contours_that_are_no_places(files, numbers, words):
    data = pydicom.dcmread(files / "rt.dcm")
    data.ROIContourSequence[0].ContourSequence[0].ContourData = numbers
    data.save_as(files / "rt.dcm")
    with pytest.raises(UserError, match=words):
        read_rtstruct(files / "rt.dcm")


def test_a_ct_is_no_structure_set(files):
    with pytest.raises(UserError, match="CT, no structure set"):
        read_rtstruct(files / "ct" / "0000.dcm")
    with pytest.raises(UserError, match="0 structure sets"):
        read_rtstruct(files / "ct")
    assert read_rtstruct(files).names[0] == "GTV"
    with pytest.raises(UserError, match="no file"):
        read_rtstruct(files / "none.dcm")


def test_rois_by_phase(tmp_path):
    percents = (0, 20, 40, 60, 80)
    patients.write_4d(tmp_path / "ct", percents)
    four = read_4dct(tmp_path / "ct")
    for k in (0, 3):
        roi = patients.cylinder(radius_mm=4.0 + k)
        path = tmp_path / "rt" / f"{k}.dcm"
        write_rtstruct(path, [roi], percent=percents[k])
    rois = rois_by_phase(tmp_path / "rt", "GTV", four)
    assert sorted(rois) == [0, 3]
    assert volume_ml(rois[3]) == pytest.approx(np.pi * 49.0 * 7.5e-3, rel=1e-3)
    write_rtstruct(tmp_path / "rt" / "again.dcm", [roi], percent=percents[0])
    with pytest.raises(UserError, match="a second structure set of one phase"):
        rois_by_phase(tmp_path / "rt", "GTV", four)


def test_a_roi_of_the_average_needs_a_reference_phase(tmp_path):
    patients.write_4d(tmp_path / "ct")
    four = read_4dct(tmp_path / "ct")
    write_rtstruct(tmp_path / "rt.dcm", [patients.cylinder()], percent=None)
    with pytest.raises(UserError, match="of no phase"):
        rois_by_phase(tmp_path / "rt.dcm", "GTV", four)
    rois = rois_by_phase(tmp_path / "rt.dcm", "GTV", four, reference=2)
    assert list(rois) == [2]


def write_plan(path, *isocentres, frame="1.2.3"):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.481.5"
    )
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.5"
    data.Modality, data.FrameOfReferenceUID = "RTPLAN", frame
    data.BeamSequence = []
    for number, place in enumerate(isocentres, start=1):
        beam, point = pydicom.Dataset(), pydicom.Dataset()
        beam.BeamNumber, beam.BeamName = number, f"beam {number}"
        if place is not None:
            point.IsocenterPosition = list(place)
        beam.ControlPointSequence = [point, pydicom.Dataset()]
        data.BeamSequence.append(beam)
    data.save_as(path, enforce_file_format=True)


def test_the_isocentre_of_a_plan(tmp_path):
    write_plan(tmp_path / "plan.dcm", AT, AT)
    found = read_isocentres(tmp_path / "plan.dcm", frame_uid="1.2.3")
    assert len(found) == 1 and found[0].beams == ("beam 1", "beam 2")
    np.testing.assert_allclose(found[0].position_mm, AT)
    chosen = choose_isocentre(plan=tmp_path / "plan.dcm", roi=patients.cylinder())
    assert "(300A,012C)" in chosen.source
    with pytest.raises(UserError, match=r"FrameOfReferenceUID 1\.2\.3"):
        read_isocentres(tmp_path / "plan.dcm", frame_uid="1.2.9")


def test_several_isocentres_need_a_beam(tmp_path):
    write_plan(tmp_path / "plan.dcm", AT, (0.0, 0.0, 0.0))
    with pytest.raises(UserError, match="2 isocentres"):
        choose_isocentre(plan=tmp_path / "plan.dcm")
    chosen = choose_isocentre(plan=tmp_path / "plan.dcm", beam="beam 2")
    np.testing.assert_array_equal(chosen.position_mm, 0.0)
    with pytest.raises(UserError, match="0 isocentres of beam 'x'"):
        choose_isocentre(plan=tmp_path / "plan.dcm", beam="x")


def test_without_a_plan_the_rois_centroid_is_taken_and_said(tmp_path):
    chosen = choose_isocentre(roi=patients.cylinder())
    np.testing.assert_allclose(chosen.position_mm, (0.0, -2.0, 47.5), atol=1e-3)
    assert "centroid of ROI 'GTV'" in chosen.source
    assert "flag" in choose_isocentre(given_mm=AT, roi=patients.cylinder()).source
    with pytest.raises(UserError, match="no isocentre"):
        choose_isocentre()


def test_a_plan_without_an_isocentre(tmp_path, files):
    write_plan(tmp_path / "plan.dcm", None)
    with pytest.raises(UserError, match="IsocenterPosition in any beam"):
        read_isocentres(tmp_path / "plan.dcm")
    with pytest.raises(UserError, match="RTSTRUCT, no plan"):
        read_isocentres(files / "rt.dcm")


def test_written_files_are_the_same_every_time(tmp_path):
    for name in "ab":
        who = Identity(3, "TEST")
        write_rtstruct(tmp_path / name, [patients.cylinder()], identity=who)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(UserError, match="patient position HFX"):
        write_ct_series(tmp_path, HU, patients.GRID, position="HFX")
