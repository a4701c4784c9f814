"""`fluoro inspect`, and `fluoro track` on DICOM: what is printed and what is not."""

import csv
import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from clips import put_mha, put_png, put_trackrad, small_clip
from dicoms import CT, NUMBER, PERSON, edit, put, put_singles
from PIL import Image
from test_track import chest

from fluoro_jax.cli import main as cli
from fluoro_jax.geometry import Grid, project_point
from fluoro_jax.io import animation as drawing
from fluoro_jax.io.dicom.write import write_rt_image
from fluoro_jax.io.dicom.write_ct import Identity, write_ct_series, write_rtstruct
from fluoro_jax.io.mha import read_mha
from fluoro_jax.io.read_clip import read_clip
from fluoro_jax.io.volumes import Roi

KINDS = ("XA", "Enhanced XA", "XRF", "Enhanced XRF", "RT Image")


def inspected(capsys, *argv):
    assert cli.main(["inspect", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_projection_is(kind, tmp_path, capsys):
    facts = inspected(capsys, put(tmp_path, kind))
    assert facts["what"] == f"a fluoroscopy clip: DICOM {kind}"
    assert (facts["frames"], facts["rows"], facts["cols"]) == (4, 6, 8)
    assert facts["geometry"]["pixel_mm"]["value"] == [0.4, 0.3]
    assert facts["pixel_iso_mm"] == pytest.approx([0.4 / 1.5, 0.2])
    assert facts["time"]["frame_s"] == pytest.approx(0.1)
    assert facts["missing"] == []
    source = facts["geometry"]["sad_mm"]["source"]
    assert re.match(r"\([0-9A-F]{4},[0-9A-F]{4}\) \w+", source)
    assert "5.0%" in facts["millimetres"]
    right = "L" if kind == "RT Image" else "R"  # a C-arm's source is behind
    assert facts["edges"]["right"] == right and facts["edges"]["top"] == "H"


def test_what_is_missing_is_listed_with_its_flag(tmp_path, capsys):
    keys = ("DistanceSourceToPatient", "ImagerPixelSpacing", "FrameTime")
    path = put(tmp_path, PositionerPrimaryAngle=None, **dict.fromkeys(keys))
    facts = inspected(capsys, path, "--out", tmp_path / "a")
    fixes = " ".join(one["fix"] for one in facts["missing"])
    assert len(facts["missing"]) == 4
    for flag in ("--sad-mm", "--pixel-mm", "--gantry-deg", "--fps"):
        assert flag in fixes
    assert "pixel_iso_mm" not in facts and (tmp_path / "a/orientation.png").is_file()
    flags = [
        "--sad-mm",
        "1000",
        "--pixel-mm",
        "0.4",
        "0.3",
        "--gantry-deg",
        "0",
        "--fps",
        "10",
    ]
    facts = inspected(capsys, path, *flags)
    assert facts["missing"] == []
    assert facts["geometry"]["pixel_mm"]["source"] == "flag --pixel-mm"


@pytest.mark.parametrize("make", [put_mha, put_png, put_trackrad])
def test_other_formats_are_described_too(make, tmp_path, capsys):
    facts = inspected(capsys, make(tmp_path / "x" if make is not put_mha else tmp_path))
    assert facts["what"].startswith("a fluoroscopy clip: ") and facts["frames"] == 3
    assert facts["geometry"]["sad_mm"]["source"].endswith("geometry.json")


def test_other_dicom_is_counted_by_modality(tmp_path, capsys):
    put_singles(tmp_path, CT, Modality="MR")
    put(tmp_path, "1.2.840.10008.5.1.4.1.1.481.3", Modality="REG")
    (tmp_path / "frame0.dcm").rename(tmp_path / "a.dcm")
    facts = inspected(capsys, tmp_path)
    assert facts["what"].endswith("files by modality: 4 MR, 1 REG")
    assert facts["files"] == 5


def test_ct_and_contours_are_described_by_their_readers(tmp_path, capsys):
    hu = np.full((6, 20, 24), -800.0, np.float32)
    grid = Grid((-12.0, -10.0, 5.0), (1.0, 1.5, 2.5))
    turn = np.linspace(0.0, 2 * np.pi, 60)[:-1]
    ring = lambda z: np.stack([4 * np.cos(turn), 4 * np.sin(turn), 0 * turn + z], 1)
    roi = Roi("GTV", tuple(ring(z) for z in (7.5, 10.0, 12.5)), spacing_mm=2.5)
    write_ct_series(tmp_path / "ct", hu, grid, identity=Identity())
    write_rtstruct(tmp_path / "contours.dcm", [roi], identity=Identity())
    about = inspected(capsys, tmp_path)["about"]
    assert about["ROIs"] == "GTV (0.38 ml)"  # three discs of 4 mm, 2.5 mm apart
    told = inspected(capsys, tmp_path / "ct")["about"]["voxels"]
    assert told.startswith("24 x 20 x 6 of 1 x 1.5 x 2.5 mm")
    (tmp_path / "ct" / sorted(p.name for p in (tmp_path / "ct").iterdir())[2]).unlink()
    broken = inspected(capsys, tmp_path / "ct")
    assert broken["assumptions"] and "voxels" not in broken["about"]


def test_the_picture_shows_axes_bar_and_isocentre(tmp_path, capsys):
    path = tmp_path / "clip.dcm"
    write_rt_image(path, chest(3))
    out = tmp_path / "out"
    assert cli.main(["inspect", str(path), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "RT Image" in text and "sad_mm      1000  [(3002,0022)" in text
    pixels = np.asarray(Image.open(out / "orientation.png").convert("RGB"), int)
    orange = (np.abs(pixels - (230, 159, 0)).sum(axis=2) < 30).astype(int)
    height, width = orange.shape
    # Letters at all four edges, the bar below on the left, the cross in the middle.
    top = int(np.argwhere(orange.any(axis=1))[0, 0])
    middle = (top + height) // 2
    for rows, cols in (
        (slice(middle - 40, middle + 40), slice(0, width // 8)),
        (slice(middle - 40, middle + 40), slice(-width // 8, None)),
        (slice(top, top + 60), slice(width // 3, 2 * width // 3)),
        (slice(-60, None), slice(width // 3, 2 * width // 3)),
        (slice(-120, None), slice(0, width // 4)),
        (slice(middle - 40, middle + 40), slice(width // 2 - 30, width // 2 + 30)),
    ):
        assert orange[rows, cols].sum() > 20, (rows, cols)
    assert json.loads((out / "inspect.json").read_text())["frames"] == 3
    assert cli.main(["inspect", str(path), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_path_that_cannot_be_read_is_four_lines(tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path / "nothing")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4


@pytest.mark.multiprocess
def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom fluoro_jax.cli import main as cli\n"
        "try: cli.main(['inspect', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'jax', 'numpy', 'pydicom', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--pixel-mm" in done.stdout and "Not a medical device" in done.stdout


SECRET = re.compile(
    "|".join([*re.split(r"\W", PERSON), NUMBER, "19600101", "KLINIK"]), re.IGNORECASE
)


def all_text(folder):
    return "".join(
        path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_names_the_patient(kind, tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "in"
    folder.mkdir()
    path = put(folder, kind, InstitutionName="KLINIK", BurnedInAnnotation="YES")
    out = tmp_path / "out"
    for argv in ([], ["--json"], ["--out", str(out)]):
        assert cli.main(["inspect", str(path), *argv]) == 0
    # Errors too: a number in whose place the name stands, and a damaged file.
    for key in ("DistanceSourceToDetector", "Rows", "FrameTime", "PatientPosition"):
        for vr in ("LO", "CS", "DS"):
            ds = pydicom.dcmread(path)
            tag = pydicom.datadict.tag_for_keyword(key)
            with pydicom.config.disable_value_validation():
                ds.add_new(tag, "LO", PERSON)
                ds.save_as(folder / "bad.dcm")
            raw = (folder / "bad.dcm").read_bytes()
            # The type alone is changed: pydicom would not write such a value.
            mark = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
            lying = raw.replace(mark + b"LO", mark + vr.encode())
            (folder / "bad.dcm").write_bytes(lying)
            cli.main(["inspect", str(folder / "bad.dcm"), "--debug"])
    raw = path.read_bytes()
    (folder / "cut.dcm").write_bytes(raw[: raw.index(PERSON.encode()) + 5])
    cli.main(["inspect", str(folder / "cut.dcm")])
    said = capsys.readouterr()
    printed = said.out + said.err + caplog.text
    assert not SECRET.search(printed), SECRET.search(printed)
    assert not SECRET.search(all_text(out)) and SECRET.search(all_text(folder))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """(folder of the clip, folder of the results) of an RT Image with real weights."""
    folder = tmp_path_factory.mktemp("dicom")
    write_rt_image(folder / "clip.dcm", chest(4))
    ds = pydicom.dcmread(folder / "clip.dcm")
    edit(ds, PatientName=PERSON, PatientID=NUMBER, PatientBirthDate="19600101")
    ds.save_as(folder / "clip.dcm")
    argv = ["track", str(folder / "clip.dcm"), "--model=group", "--lookahead=0"]
    argv += [
        "--seg",
        "--sr",
        "--slicer",
        "--trackrad",
        "--gif",
        "--quiet",
        "--gantry-deg",
        "0",
    ]
    assert cli.main([*argv, f"--out={folder / 'out'}"]) == 0
    return folder, folder / "out"


def test_an_rt_image_is_tracked_with_the_source_of_every_number(tracked):
    _, out = tracked
    run = json.loads((out / "run.json").read_text())
    geometry = run["geometry"]
    assert geometry["sad_mm"]["source"] == "(3002,0022) RadiationMachineSAD"
    assert geometry["gantry_deg"]["source"] == "flag --gantry-deg"
    assert run["command"][-1] == "--gantry-deg=0.0"
    assert run["time_s"]["source"] == "(0018,1065) FrameTimeVector"
    others = ["seg.dcm", "frames.dcm", "centroid_sr.dcm", "slicer", "trackrad"]
    assert run["more_files"] == [*others, "track.gif"]
    assert run["input"]["patient_position"] == "HFS"
    assert not SECRET.search(all_text(out))
    assert not list(out.glob(".new-*"))


def test_the_seg_refers_to_the_frames_beside_it(tracked):
    _, out = tracked
    seg, frames = (pydicom.dcmread(out / name) for name in ("seg.dcm", "frames.dcm"))
    masks = read_mha(out / "masks.mha").array
    np.testing.assert_array_equal(seg.pixel_array, masks)
    assert seg.StudyInstanceUID == frames.StudyInstanceUID
    for number, group in enumerate(seg.PerFrameFunctionalGroupsSequence, start=1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == frames.SOPInstanceUID
        assert source.ReferencedFrameNumber == number
    if shutil.which("dciodvfy"):
        for name in ("seg.dcm", "frames.dcm", "centroid_sr.dcm"):
            done = subprocess.run(
                ["dciodvfy", str(out / name)], capture_output=True, text=True
            )
            assert "Error" not in done.stderr + done.stdout, done.stderr


def test_the_report_has_the_tracks_numbers(tracked):
    _, out = tracked
    report = pydicom.dcmread(out / "centroid_sr.dcm")
    frames = pydicom.dcmread(out / "frames.dcm")
    assert report.StudyInstanceUID == frames.StudyInstanceUID
    name = lambda item: item.ConceptNameCodeSequence[0].CodeMeaning
    content = {name(item): item for item in report.ContentSequence}
    (group,) = content["Imaging Measurements"].ContentSequence
    with (out / "track.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["status"] != "missed"]
    numbers = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            how = item.get("ContentSequence")
            how = how[0].ConceptCodeSequence[0].CodeMeaning if how else ""
            value = float(item.MeasuredValueSequence[0].NumericValue)
            numbers[name(item), how] = value
    assert numbers["Number of frames", ""] == 4.0
    for axis, key in (("SI, superior", "y_iso_mm"), ("LR, image right", "x_iso_mm")):
        values = [float(row[key]) for row in rows]
        title = f"Centroid at the isocentre, {axis} positive"
        get = lambda how, title=title: numbers[title, how]
        assert get("Mean") == pytest.approx(np.mean(values), rel=1e-4)
        highest = np.percentile(values, 95.0)
        # The report holds six digits.
        assert get("95th percentile") == pytest.approx(highest, rel=1e-5)
    points = content["Centroid of the tumour's mask in each frame"].ContentSequence
    for row, point in zip(rows, points, strict=True):
        place = [float(row["u_px"]) + 0.5, float(row["v_px"]) + 0.5]
        assert list(point.GraphicData) == pytest.approx(place, rel=1e-4)
        source = point.ContentSequence[0].ReferencedSOPSequence[0]
        assert source.ReferencedSOPInstanceUID == frames.SOPInstanceUID
        assert source.ReferencedFrameNumber == int(row["frame"]) + 1


def test_the_trackrad_case_is_read_back_with_its_masks(tracked, capsys):
    folder, out = tracked
    case = read_clip(out / "trackrad" / "clip")
    np.testing.assert_array_equal(case.mask, read_mha(out / "masks.mha").array)
    clip = read_clip(folder / "clip.dcm")
    assert case.geometry.pixel_mm == pytest.approx(clip.geometry.pixel_mm, rel=1e-5)
    # The track judged by its own masks: perfect in every measure.
    capsys.readouterr()
    argv = ["evaluate-track", str(out), f"--truth={out / 'trackrad' / 'clip'}"]
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    assert "TrackRAD, as the challenge computes it" in printed
    assert "dsc 1.000" in printed


def test_the_animation_has_every_frame_under_a_line_of_text(tracked):
    _, out = tracked
    masks = read_mha(out / "masks.mha").array
    with Image.open(out / "track.gif") as picture:
        assert picture.n_frames == 4
        scale = picture.width // masks.shape[2]
        assert picture.height == scale * masks.shape[1] + drawing.MARGIN_PX
        picture.seek(2)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    orange = np.abs(pixels - drawing.OUTLINE).sum(-1) < 60
    want = drawing.edge(np.kron(masks[2] > 0, np.ones((scale, scale), bool)))
    assert orange[drawing.MARGIN_PX :][want].mean() > 0.9
    assert (pixels[: drawing.MARGIN_PX] > 200).any()


def test_the_slicer_folder_has_the_tracks_millimetres(tracked):
    _, out = tracked
    folder = out / "slicer"
    images = sorted((folder / "images").iterdir())
    assert [path.name for path in images] == [f"0000{n}.mha" for n in range(4)]
    with (folder / "Transforms.csv").open() as file:
        moved = [[float(row[k]) for k in "XYZ"] for row in csv.DictReader(file)]
    with (out / "track.csv").open() as file:
        rows = list(csv.DictReader(file))
    solid = read_mha(folder / "Segmentation.mha")
    masks = read_mha(out / "masks.mha").array
    first = int(np.flatnonzero(masks.any(axis=(1, 2)))[0])
    np.testing.assert_array_equal(solid.array[0], masks[first])
    for row, (x, y, z) in zip(rows, moved, strict=True):
        if row["status"] == "missed":
            continue
        shift = [
            float(row[k]) - float(rows[first][k]) for k in ("x_iso_mm", "y_iso_mm")
        ]
        assert (x, z) == pytest.approx(shift, abs=1e-3) and y == 0.0  # gantry 0: LR, SI


def test_slicer_planes_stand_where_the_geometry_puts_them(tmp_path):
    from fluoro_jax.clip import Track
    from fluoro_jax.io.slicer import write_slicer

    clip = small_clip()
    clip = clip.replace(geometry=clip.geometry.replace(gantry_deg=90.0))
    nowhere = np.full(2, np.nan, np.float32)
    tracks = [Track(t, nowhere, nowhere, clip.mask[t], 0.0, "missed") for t in range(3)]
    write_slicer(tmp_path / "s", clip, tracks, np.asarray(clip.mask))
    image = read_mha(tmp_path / "s" / "images" / "00001.mha")
    np.testing.assert_array_equal(image.array[0], clip.frames[1])
    # A pixel's place in space, which lies in the isocentre plane, projects to itself.
    for row, col in ((0, 0), (5, 2)):
        place = image.offset + image.direction @ (
            np.array([col, row, 0]) * np.array(image.spacing)
        )
        np.testing.assert_allclose(
            project_point(clip.geometry, place[None])[0], (row, col), atol=1e-4
        )
    text = (tmp_path / "s" / "Transforms.csv").read_text().split()
    assert text == ["X,Y,Z", *["0.0000,0.0000,0.0000"] * 3]
    assert "0, 1, 2" in (tmp_path / "s" / "README.txt").read_text()


def test_a_folder_of_single_frames_is_inspected(tmp_path, capsys):
    facts = inspected(capsys, put_singles(tmp_path / "a"))
    assert facts["frames"] == 4 and facts["about"]["files"] == 4


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
@pytest.mark.parametrize("name", [b"M\xfcller", b"of 5$ and 3^$"])
def test_any_name_of_a_file_can_be_printed_and_drawn(name, tmp_path, capsys):
    path = put_mha(tmp_path, small_clip())
    odd = tmp_path / os.fsdecode(name)
    odd.mkdir()
    for one in ("clip.mha", "geometry.json"):
        (tmp_path / one).rename(odd / one)
    facts = inspected(capsys, odd / path.name, "--out", odd / "out")
    assert (
        facts["path"] == f"{tmp_path}/{name.decode(errors='backslashreplace')}/clip.mha"
    )
    written = (odd / "out" / "inspect.json").read_text(encoding="utf-8")
    assert json.loads(written) == facts
    assert (odd / "out" / "orientation.png").is_file()
