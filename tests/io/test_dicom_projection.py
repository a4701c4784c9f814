"""Which tag gives which number: precedence, calibration, polarity, times, turns."""

import warnings

import numpy as np
import pytest
from dicoms import (
    PIXELS,
    SHAPE,
    base,
    edit,
    projection,
    put,
    put_singles,
    rt_view,
    save,
)
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import iso_pixel_mm
from fluoro_jax.io.describe import describe
from fluoro_jax.io.dicom import header
from fluoro_jax.io.dicom.patient import as_head_first_supine
from fluoro_jax.io.overrides import Overrides
from fluoro_jax.io.read_clip import read_clip_with_sources

KINDS = ("XA", "XRF", "Enhanced XA", "Enhanced XRF", "RT Image")


def read(path, **stated):
    """The clip, its sources and its notes in one string."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_clip_with_sources(path, Overrides(**stated))


def noted(found):
    return "; ".join(found.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_projection_is_read(kind, tmp_path):
    found = read(put(tmp_path, kind))
    view, clip = found.clip.geometry, found.clip
    assert found.kind == f"dicom {kind}"
    assert (view.sad_mm, view.sdd_mm, view.pixel_mm) == (1000.0, 1500.0, (0.4, 0.3))
    assert (view.rows, view.cols) == SHAPE[1:] and clip.domain == "counts"
    np.testing.assert_allclose(clip.time_s, [0.0, 0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_array_equal(clip.frames, PIXELS)
    angle = {"RT Image": 0.0}.get(kind, 180.0)  # a C-arm's angle is the detector's
    assert view.gantry_deg == angle
    names = {"sad_mm", "sdd_mm", "pixel_mm", "gantry_deg", "offset_mm", "time_s"}
    assert names | {"domain", "rows", "cols"} <= set(found.sources)
    assert all(found.sources.values())


@pytest.mark.parametrize(
    ("kind", "changed", "value", "source"),
    [
        ("RT Image", {"RadiationMachineSAD": 900}, 900, "(3002,0022)"),
        ("RT Image", {"DistanceSourceToIsocenter": 7}, 1000, "(3002,0022)"),
        ("XA", {"DistanceSourceToIsocenter": 950}, 950, "(0018,9402)"),
        ("XA", {}, 1000, "(0018,1111)"),
    ],
)
def test_sad_is_the_first_of_three_tags(kind, changed, value, source, tmp_path):
    found = read(put(tmp_path, kind, **changed))
    assert found.clip.geometry.sad_mm == value
    assert found.sources["sad_mm"].startswith(source)
    assert ("SAD is (0018,1111)" in noted(found)) == (source == "(0018,1111)")


def test_an_rt_image_takes_no_sad_from_the_patient_distance(tmp_path):
    path = put(
        tmp_path, "RT Image", RadiationMachineSAD=None, DistanceSourceToPatient=1000
    )
    with pytest.raises(UserError, match="no SAD"):
        read(path)


def test_the_image_plane_of_an_rt_image_comes_before_the_detector(tmp_path):
    path = put(
        tmp_path,
        "RT Image",
        DistanceSourceToDetector=1700,
        ImagerPixelSpacing=[0.5, 0.5],
    )
    found = read(path)
    assert found.clip.geometry.sdd_mm == 1500
    assert found.clip.geometry.pixel_mm == (0.4, 0.3)


@pytest.mark.parametrize(
    ("changed", "iso_mm", "calibrated"),
    [
        ({}, (0.4 / 1.5, 0.2), False),
        ({"PixelSpacing": [0.4, 0.3]}, (0.4 / 1.5, 0.2), False),
        ({"PixelSpacing": [0.25, 0.19]}, (0.25, 0.19), True),
        (
            {"PixelSpacing": [0.4, 0.3], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.4, 0.3),
            True,
        ),
        (
            {
                "PixelSpacing": [0.25, 0.19],
                "PixelSpacingCalibrationType": "GEOMETRY",
                "ImagerPixelSpacing": None,
            },
            (0.25, 0.19),
            True,
        ),
    ],
)
def test_a_calibrated_spacing_is_not_scaled_again(
    changed, iso_mm, calibrated, tmp_path
):
    found = read(put(tmp_path, "XA", **changed))
    assert iso_pixel_mm(found.clip.geometry) == pytest.approx(iso_mm, rel=1e-6)
    assert ("calibrated" in found.about) == calibrated
    assert ("not scaled again" in noted(found)) == calibrated


def test_flags_win_and_say_so(tmp_path):
    stated = {
        "pixel_mm": (0.5, 0.6),
        "sad_mm": 1010.0,
        "sdd_mm": 1520.0,
        "gantry_deg": 20.0,
        "fps": 8.0,
        "domain": "display",
    }
    found = read(put(tmp_path, "RT Image"), **stated)
    view = found.clip.geometry
    for name in ("pixel_mm", "sad_mm", "sdd_mm", "gantry_deg"):
        assert getattr(view, name) == stated[name]
        assert found.sources[name] == f"flag --{name.replace('_', '-')}"
    assert found.sources["time_s"] == "flag --fps"
    assert found.sources["domain"].startswith("flag --domain")
    np.testing.assert_allclose(found.clip.time_s, np.arange(4) / 8)


def test_without_a_scale_a_clip_is_read_where_pixels_are_enough(tmp_path):
    lost = dict.fromkeys(("ImagerPixelSpacing", "DistanceSourceToDetector"))
    path = put(tmp_path, "XA", **lost)
    with pytest.raises(UserError, match="no SID"):
        read(path)
    found = read(path, pixels_only=True)
    view = found.clip.geometry
    assert np.isnan(view.sdd_mm) and np.isnan(view.pixel_mm).all()
    assert view.sad_mm > 0 and "pixel_mm" not in found.sources
    np.testing.assert_array_equal(found.clip.frames.shape, PIXELS.shape)
    # Its side must be known all the same: another one shows other anatomy.
    with pytest.raises(UserError, match="no angle of the view"):
        read(put(tmp_path, "XA", **lost, PositionerPrimaryAngle=None), pixels_only=True)


def test_the_kv_arm_is_turned_only_when_asked(tmp_path):
    path = put(tmp_path, "RT Image", KVP=80, GantryAngle=10)
    found = read(path)
    assert found.clip.geometry.gantry_deg == 10 and "--kv-offset-deg" in noted(found)
    found = read(path, kv_offset_deg=90.0)
    assert found.clip.geometry.gantry_deg == 100
    assert "--kv-offset-deg 90" in found.sources["gantry_deg"]
    assert "--kv-offset-deg" not in noted(found)


@pytest.mark.parametrize(
    ("changed", "times", "source"),
    [
        ({"FrameTimeVector": [0, 50, 60, 50]}, [0, 50, 110, 160], "(0018,1065)"),
        ({"FrameTimeVector": [9, 50, 50, 50]}, [0, 50, 100, 150], "(0018,1065)"),
        ({"CineRate": 30}, [0, 100, 200, 300], "(0018,1063)"),
        ({"FrameTime": None, "CineRate": 20}, [0, 50, 100, 150], "(0018,0040)"),
    ],
)
def test_times_by_vector_then_step_then_rate(changed, times, source, tmp_path):
    found = read(put(tmp_path, "XA", **changed))
    np.testing.assert_allclose(found.clip.time_s, np.array(times) / 1e3, atol=1e-9)
    assert found.sources["time_s"].startswith(source)
    uneven = 60 in changed.get("FrameTimeVector", [])
    assert ("--fps" in noted(found)) == (uneven or source == "(0018,0040)")
    assert ("uneven: 50 to 60 ms apart, usually 50 ms" in noted(found)) == uneven
    assert ("check the recording" in noted(found)) == uneven


RELATION, SIGN = "PixelIntensityRelationship", "PixelIntensityRelationshipSign"


@pytest.mark.parametrize(
    ("changed", "domain", "bone_bright", "note"),
    [
        ({}, "counts", False, ""),
        ({SIGN: -1}, "counts", False, "minus the value"),
        ({SIGN: None}, "counts", False, "--invert"),
        ({RELATION: "DISP"}, "display", True, "without a unit"),
        (
            {
                RELATION: "DISP",
                SIGN: -1,
            },
            "display",
            False,
            "without a unit",
        ),
        (
            {
                RELATION: None,
                SIGN: None,
            },
            "display",
            False,
            "MONOCHROME2 alone",
        ),
        (
            {
                RELATION: None,
                SIGN: None,
                "PhotometricInterpretation": "MONOCHROME1",
            },
            "display",
            True,
            "MONOCHROME1 alone",
        ),
    ],
)
def test_polarity_and_domain(changed, domain, bone_bright, note, tmp_path):
    """`bone_bright`: the stored numbers were turned round."""
    found = read(put(tmp_path, "XA", **changed))
    assert found.clip.domain == domain and note in noted(found)
    stored = PIXELS.astype(np.float32)
    expected = stored / 4095 if domain == "display" else stored
    if note == "minus the value":
        expected = 4095 - stored
    expected = 1.0 - expected if bone_bright else expected
    np.testing.assert_allclose(found.clip.frames, expected, rtol=1e-6, atol=1e-6)


def test_rescale_and_modality_table_come_before_the_logarithm(tmp_path):
    found = read(put(tmp_path, "XA", RescaleSlope=2, RescaleIntercept=5))
    np.testing.assert_array_equal(found.clip.frames, PIXELS * 2.0 + 5)
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.add_new("LUTData", "OW", (np.arange(4096, dtype="<u2") * 3).tobytes())
    path = put(
        tmp_path,
        "XA",
        PixelIntensityRelationship="LOG",
        ModalityLUTSequence=Sequence([table]),
    )
    found = read(path)
    assert found.clip.domain == "counts" and "(0028,3000)" in found.sources["domain"]
    np.testing.assert_array_equal(found.clip.frames, PIXELS * 3.0)
    log = read(path, open_beam=12288.0).clip
    assert log.domain == "log"
    np.testing.assert_allclose(log.frames, -np.log(PIXELS * 3.0 / 12288), rtol=1e-5)


def test_a_stated_domain_decides_where_no_tag_does(tmp_path):
    path = put(tmp_path, "RT Image", **{RELATION: None, SIGN: None})
    found = read(path, domain="counts", open_beam=4095.0)
    assert found.clip.domain == "log" and not found.notes
    np.testing.assert_allclose(found.clip.frames, -np.log(PIXELS / 4095), rtol=1e-5)
    np.testing.assert_array_equal(read(path, domain="log").clip.frames, PIXELS)


def test_an_inverted_chest_is_suspected(tmp_path):
    rows, cols = np.mgrid[:40, :60]
    lungs = sum(((rows - 20) / 16) ** 2 + ((cols - c) / 9) ** 2 < 1 for c in (16, 44))
    pixels = np.repeat((800 + 2000 * lungs)[None].astype(np.uint16), 3, 0)
    ds = edit(base("RT Image", pixels), FrameTime=100, **rt_view())
    ds = edit(ds, RTImagePosition=[0, 0])
    path = save(ds, tmp_path / "clip.dcm")
    assert "inverted" not in noted(read(path))  # counts: lungs let more through
    save(edit(ds, PixelIntensityRelationshipSign=-1), path)
    told = noted(read(path))
    assert "inverted polarity suspected" in told and "give --invert if" in told
    assert "inverted" not in noted(read(path, invert=True))


@pytest.mark.parametrize(
    ("changed", "offset_mm", "source"),
    [
        ({}, (0.0, 0.0), "(3002,0012)"),
        ({"RTImagePosition": [-11.05, 3.0]}, (-2.0, -10.0), "(3002,0012)"),
        (
            {"XRayImageReceptorTranslation": [5, 2, -500]},
            (-2.0, 5.0),
            "(3002,0012)",
        ),
        # At half the distance from the source: twice as far in the image plane.
        (
            {"XRayImageReceptorTranslation": [5, 2, 250]},
            (-4.0, 10.0),
            "(3002,0012)",
        ),
        # Stored from the lower right: the first pixel is at the other corner.
        (
            {
                "RTImageOrientation": [-1, 0, 0, 0, 1, 0],
                "RTImagePosition": [1.05, -1.0],
            },
            (0.0, 0.0),
            "(3002,0012)",
        ),
        (
            {"RTImagePosition": None, "XRayImageReceptorTranslation": None},
            (0.0, 0.0),
            "default: image centre",
        ),
    ],
)
def test_the_place_of_an_rt_image_on_the_central_ray(
    changed, offset_mm, source, tmp_path
):
    found = read(put(tmp_path, "RT Image", **changed))
    np.testing.assert_allclose(found.clip.geometry.offset_mm, offset_mm, atol=1e-6)
    assert found.sources["offset_mm"].startswith(source)
    flipped = "RTImageOrientation" in changed
    stored = PIXELS[:, ::-1, ::-1] if flipped else PIXELS
    np.testing.assert_array_equal(found.clip.frames, stored)


def test_the_active_area_of_a_detector(tmp_path):
    # 6 x 8 pixels of 0.4 x 0.3 mm from element (10, 20) of a panel of 30 x 40 mm.
    whole = {
        "DetectorActiveOrigin": [10, 20],
        "DetectorElementSpacing": [0.4, 0.3],
        "PhysicalDetectorSize": [30, 40],
        "PatientOrientation": ["L", "F"],  # mirrored: left and right change places
    }
    found = read(put(tmp_path, "XA", **whole))
    assert found.sources["offset_mm"].startswith("(0018,7028)")
    np.testing.assert_allclose(
        found.clip.geometry.offset_mm, (4 + 1.2 - 15, -(6 + 1.2 - 20)), atol=1e-9
    )
    np.testing.assert_array_equal(found.clip.frames, PIXELS[:, :, ::-1])
    found = read(put(tmp_path, "XA", **{**whole, "PhysicalDetectorSize": None}))
    assert "(0018,7028)" in noted(found) and "image's centre" in noted(found)


@pytest.mark.parametrize(
    ("primary", "gantry_deg"), [(0, 180.0), (90, 270.0), (-90, 90.0), (-30, 150.0)]
)
def test_c_arm_angles_are_the_detectors(primary, gantry_deg, tmp_path):
    """LAO 90 has the detector at the patient's left, so the source at the right."""
    found = read(put(tmp_path, PositionerPrimaryAngle=primary, PatientOrientation=None))
    assert found.clip.geometry.gantry_deg == gantry_deg
    assert "facing the patient" in noted(found)
    np.testing.assert_array_equal(found.clip.frames, PIXELS[:, :, ::-1])


def test_a_c_arm_that_stands_may_say_so_frame_by_frame(tmp_path):
    both = ("PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement")
    for still in ([0, 0.2, -0.2, 0.1], 0, 0.1, []):
        found = read(put(tmp_path, **dict.fromkeys(both, still)))
        assert found.clip.geometry.gantry_deg == 180.0
    # With the angle stated, what the offsets are added to is not used.
    path = put(tmp_path, PositionerPrimaryAngleIncrement=[30] * 4)
    assert read(path, gantry_deg=210.0).clip.geometry.gantry_deg == 210.0


def test_all_eight_positions_turn_the_angle():
    """Worked out by hand: where the patient sees the source of gantry 90 (at Xf)."""
    angles = {p: as_head_first_supine(90.0, p)[0] for p in ("HFS", "FFS", "HFP", "FFP")}
    assert angles == {"HFS": 90.0, "FFS": 270.0, "HFP": 270.0, "FFP": 90.0}
    # Gantry 0 is above: the side that is up; decubitus left has the right side up.
    above = {p: as_head_first_supine(0.0, p)[0] for p in ("HFDL", "HFDR", "FFDL")}
    assert above == {"HFDL": 270.0, "HFDR": 90.0, "FFDL": 270.0}


def test_single_frames_are_sorted_by_time(tmp_path):
    found = read(put_singles(tmp_path / "a"))
    np.testing.assert_array_equal(found.clip.frames, PIXELS)
    np.testing.assert_allclose(found.clip.time_s, [0, 1, 2, 3], atol=1e-6)
    assert found.sources["time_s"].startswith("(0008,0022) AcquisitionDate")
    assert [path.name for path in found.files] == [
        f"frame{place}.dcm" for place in (1, 3, 0, 2)
    ]


def test_single_frames_of_one_second_are_sorted_by_number(tmp_path):
    same = lambda number, ds: edit(ds, AcquisitionTime="120000")
    found = read(put_singles(tmp_path / "a", change=same))
    np.testing.assert_array_equal(found.clip.frames, PIXELS)
    assert found.sources["time_s"].startswith("(0018,1063)")


def test_frames_may_be_missing_where_a_clock_gives_their_times(tmp_path):
    folder = put_singles(tmp_path / "a")
    (folder / "frame3.dcm").unlink()  # the second of four
    (folder / "._frame0.dcm").write_bytes(b"\0" * 82)  # of macOS
    found = read(folder)
    np.testing.assert_allclose(found.clip.time_s, [0, 2, 3], atol=1e-6)
    assert "uneven" in noted(found)
    with pytest.raises(UserError, match="no frame 2 "):
        read(folder, fps=4.0)


def test_a_picture_beside_dicom_frames_hides_none(tmp_path):
    folder = put_singles(tmp_path / "a")
    (folder / "orientation.png").write_bytes(b"as fluoro inspect writes it")
    np.testing.assert_array_equal(read(folder).clip.frames, PIXELS)
    assert describe(folder).facts["what"] == "a fluoroscopy clip: DICOM XA"
    # Not the first by its name alone: a damaged file is refused by its name.
    (folder / "a.dcm").touch()
    for call in (read, describe):
        with pytest.raises(UserError, match=r"a\.dcm: no DICOM file"):
            call(folder)


def test_every_other_frame_is_a_clip_where_its_rate_is_stated(tmp_path):
    """As of one plane of two, whose frames are numbered in turn."""
    odd = lambda number, ds: edit(ds, InstanceNumber=2 * number + 1, AcquisitionTime="")
    folder = put_singles(tmp_path / "a", change=odd)
    found = read(folder, fps=4.0)
    np.testing.assert_array_equal(found.clip.frames, PIXELS)
    np.testing.assert_allclose(found.clip.time_s, [0.0, 0.25, 0.5, 0.75])
    with pytest.raises(UserError, match="no frame 2, 4, 6"):  # by its own FrameTime
        read(folder)


def test_hidden_files_are_no_frames(tmp_path):
    folder = put_singles(tmp_path / "a")
    (folder / ".old-12-0-frame0.dcm").write_bytes((folder / "frame0.dcm").read_bytes())
    np.testing.assert_array_equal(read(folder).clip.frames, PIXELS)


@pytest.mark.parametrize("key", ["PositionerMotion", "TableMotion"])
def test_what_may_have_moved_is_noted(key, tmp_path):
    path = put(tmp_path, **{key: "DYNAMIC"})
    assert any(
        f"{key} is DYNAMIC" in note for note in describe(path).facts["assumptions"]
    )


def test_numbers_that_are_all_the_same_say_nothing_of_gaps(tmp_path):
    same = lambda number, ds: edit(ds, InstanceNumber=1)
    found = read(put_singles(tmp_path / "a", change=same), fps=4.0)
    np.testing.assert_array_equal(found.clip.frames, PIXELS)


def test_overlays_in_unused_bits_are_no_pixels(tmp_path):
    ds = projection("XA")
    ds.PixelData = (PIXELS | 0x8000).astype("<u2").tobytes()
    found = read(save(ds, tmp_path / "clip.dcm"))
    np.testing.assert_array_equal(found.clip.frames, PIXELS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_other_byte_orders(order, tmp_path):
    ds = projection("Enhanced XA")
    little = order == "<"
    syntax = uid.ImplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = PIXELS.astype(f"{order}u2").tobytes()
    found = read(save(ds, tmp_path / "clip.dcm"))
    np.testing.assert_array_equal(found.clip.frames, PIXELS)
    assert found.clip.geometry.pixel_mm == (0.4, 0.3)


def test_letters_that_contradict_an_rt_image_are_told(tmp_path):
    says = "PatientOrientation contradicts"
    for words, wrong in ((["L", "F"], False), (["R", "F"], True), (["L", "H"], True)):
        found = read(put(tmp_path, "RT Image", PatientOrientation=words))
        assert (says in noted(found)) == wrong, words
    lying = {"PatientPosition": "FFS", "PatientOrientation": ["R", "H"]}
    found = read(put(tmp_path, "RT Image", **lying))
    assert says not in noted(found) and found.about["flipped"] == "rows, columns"
    np.testing.assert_array_equal(found.clip.frames, PIXELS[:, ::-1, ::-1])


def test_rle_is_decoded_and_a_clip_too_large_for_memory_refused(tmp_path, monkeypatch):
    from pydicom.uid import RLELossless

    from fluoro_jax.io.dicom import pixels

    ds = projection("XA")
    ds.compress(RLELossless)
    path = save(ds, tmp_path / "clip.dcm")
    np.testing.assert_array_equal(read(path).clip.frames, PIXELS)
    monkeypatch.setattr(pixels, "free_bytes", lambda: 100)
    with pytest.raises(UserError, match="free memory"):
        read(path)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = put(tmp_path)

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(header.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'fluoro_jax\[dicom\]'"):
        read(path)


def test_burned_in_text_is_warned_of(tmp_path):
    said = r"WARNING \(0028,0301\) BurnedInAnnotation is YES.*do not pass pictures on"
    with pytest.warns(UserWarning, match=said):
        read_clip_with_sources(put(tmp_path, "RT Image", BurnedInAnnotation="YES"))
