"""DICOM files that are no clip, lack a number, or are damaged."""

from __future__ import annotations

import numpy as np
from bad import Bad
from clips import put_mha, small_clip
from dicoms import CT, base, edit, projection, put, put_singles, save
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLosslessSV1

from fluoro_jax.io.dicom.seg import write_seg
from fluoro_jax.io.dicom.write import write_rt_image
from fluoro_jax.io.overrides import Overrides
from fluoro_jax.io.read_clip import read_clip


def _file(kind="XA", stated=None, **changed):
    def call(folder):
        read_clip(put(folder, kind, **changed), Overrides(**(stated or {})))

    return call


def _folder(change=None, **changed):
    return lambda folder: read_clip(put_singles(folder, change=change, **changed))


def _gap(*lost, stated=None, **changed):
    """A series of one second without some of its frames 0 to 3."""

    def call(folder):
        same = {"AcquisitionTime": "120000", "FrameTime": 100, **changed}
        put_singles(folder, change=lambda _, ds: edit(ds, **same))
        for place, number in enumerate((2, 0, 3, 1)):
            if number in lost:
                (folder / f"frame{place}.dcm").unlink()
        read_clip(folder, Overrides(**(stated or {})))

    return call


def _hurt(change):
    """A series of which one file is damaged."""

    def call(folder):
        put_singles(folder)
        path = folder / "frame2.dcm"
        path.write_bytes(change(path.read_bytes()))
        read_clip(folder)

    return call


def _saved(change):
    def call(folder):
        ds = projection()
        read_clip(save(change(ds) or ds, folder / "clip.dcm"))

    return call


def _bytes(change):
    def call(folder):
        path = put(folder)
        path.write_bytes(change(path.read_bytes()))
        read_clip(path)

    return call


def _syntax(uid, data):
    def change(ds):
        ds.file_meta.TransferSyntaxUID = uid
        ds.PixelData = data
        ds["PixelData"].is_undefined_length = uid.is_encapsulated

    return change


def _one_frame(ds):
    ds.PixelData = ds.PixelData[: 6 * 8 * 2]
    ds.NumberOfFrames = 1


def _turning(ds):
    new = projection("Enhanced XA")
    group = new.PerFrameFunctionalGroupsSequence[2]
    group.PositionerPositionSequence[0].PositionerPrimaryAngle = 20
    return new


def _table(ds):
    table = Dataset()
    table.LUTDescriptor = [9, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.add_new("LUTData", "OW", b"1234")
    ds.ModalityLUTSequence = Sequence([table])


def _other(number, **changed):
    return lambda n, ds: edit(ds, **changed) if n == number else None


def _smaller(number, ds):
    if number == 2:
        edit(ds, Rows=3, Columns=16)


def _items(count):
    mark = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    size = (8 * count).to_bytes(4, "little")
    return b"\x02\x30\x30\x00SQ\x00\x00" + size + mark * count


def _before_pixels(extra):
    def change(raw):
        at = raw.index(b"\xe0\x7f\x10\x00")
        return raw[:at] + extra + raw[at:]

    return change


def _rt(**changed):
    return _file("RT Image", **changed)


def _bare(*keys, kind="XA"):
    return _file(kind, **dict.fromkeys(keys))


def _nameless(folder):
    ds = edit(base("XA"), FrameTime=100)
    read_clip(save(ds, folder / "clip.dcm"))


GEOMETRY = [
    Bad(
        "no sid",
        _bare("DistanceSourceToDetector"),
        ("no SID", "(0018,1110)", "SAD / SID", "--sdd-mm 1500", "--pixels-only"),
    ),
    Bad(
        "no sad",
        _bare("DistanceSourceToPatient"),
        ("no SAD", "(0018,9402)", "SAD / SID", "--sad-mm 1000", "--pixels-only"),
    ),
    Bad("no rt sad", _bare("RadiationMachineSAD", kind="RT Image"), ("no SAD",)),
    Bad("no view", _nameless, ("clip.dcm: no S", "looked for")),
    Bad(
        "no pixel",
        _bare("ImagerPixelSpacing"),
        (
            "no detector pixel spacing",
            "(0018,1164) ImagerPixelSpacing, (0028,0030) PixelSpacing: none",
            "needed for millimetres",
            "--pixel-mm 0.388 0.388",
            "--pixels-only",
        ),
    ),
    Bad(
        "pixel of unknown type",
        _file(ImagerPixelSpacing=None, PixelSpacing=[0.3, 0.3]),
        (
            "(0028,0030) PixelSpacing alone, of unknown type",
            "(0018,1164) ImagerPixelSpacing beside it",
            "cannot be determined",
            "--pixel-mm 0.388 0.388",
        ),
    ),
    Bad(
        "calibrated without sad",
        _file(PixelSpacing=[0.2, 0.2], DistanceSourceToPatient=None),
        ("no SAD",),
    ),
    Bad("pixel 0", _file(ImagerPixelSpacing=[0, 0.3]), ("0 x 0.3 mm",)),
    Bad("one pixel", _file(ImagerPixelSpacing=0.3), ("(0018,1164)", "2 finite")),
    Bad("sid 0", _rt(RTImageSID=0), ("SID (source to detector) of 0 mm",)),
    Bad("sid below", _rt(RTImageSID=900), ("SID 900 mm below SAD 1000",)),
    Bad("no angle", _bare("GantryAngle", kind="RT Image"), ("no angle", "--gantry")),
    Bad("tilted", _file(PositionerSecondaryAngle=20), ("(0018,1511)", "20 degrees")),
    Bad("couch", _rt(PatientSupportAngle=90), ("(300A,0122)", "90 degrees")),
    Bad("receptor", _rt(XRayImageReceptorAngle=45), ("rotated in its plane",)),
    Bad(
        "oblique",
        _rt(RTImageOrientation=[0.8, 0.6, 0, 0, -1, 0]),
        ("rotated in its plane or oblique",),
    ),
    Bad("position", _rt(PatientPosition="UPRIGHT"), ("(0018,5100)", "HFS")),
    Bad("rotated", _file(PatientOrientation=["F", "R"]), ("(0020,0020)", "rotated")),
    Bad("turning", _saved(_turning), ("(0018,1510)", "changes between frames")),
    Bad(
        "turning series",
        _folder(_other(3, PositionerPrimaryAngle=40)),
        ("gantry_deg differs", "one view"),
    ),
    Bad(
        "turning C-arm",
        _file(PositionerPrimaryAngleIncrement=[0, 10, 20, 30]),
        ("(0018,1520)", "angles 30 degrees apart", "one angle, within 0.5 degrees"),
    ),
    Bad(
        "turning by one step",
        _file(PositionerSecondaryAngleIncrement=-0.2),
        ("(0018,1521)", "angles 0.6 degrees apart"),
    ),
    # DICOM allows for whole angles in place of offsets, beside an angle of 0.
    Bad(
        "all angles in the increments",
        _file(PositionerPrimaryAngleIncrement=[30, 30, 30, 30]),
        ("(0018,1520)", "angles 30 degrees apart"),
    ),
    Bad(
        "turning beside a flag",
        _file(
            PositionerPrimaryAngleIncrement=[30, 31, 32, 33],
            stated={"gantry_deg": 30.0},
        ),
        ("angles 3 degrees apart",),
    ),
    Bad(
        "mirrored frame",
        _folder(_other(2, PatientOrientation=["L", "F"])),
        ("frame0.dcm: mirrored or turned against", "(0020,0020)", "one view"),
    ),
]
TIMES = [
    Bad(
        "no time",
        _bare("FrameTime"),
        ("no times", "(0018,1065) FrameTimeVector", "--fps 15"),
    ),
    Bad("few times", _file(FrameTimeVector=[0, 1]), ("2 increments", "for 4 frames")),
    Bad("backwards", _file(FrameTimeVector=[0, 9, -9, 9]), ("frame 2 is -9 ms",)),
    Bad(
        "one frame",
        _saved(_one_frame),
        ("one frame only", "at least 2 frames", "give the folder"),
    ),
    Bad(
        "no order",
        _folder(lambda n, ds: edit(ds, AcquisitionTime=None, InstanceNumber=None)),
        ("no order of its 4 frames",),
    ),
    Bad(
        "gap",
        _gap(1),
        ("no frame 2 ((0020,0013) InstanceNumber; 1 missing among 1 to 4)", "again"),
    ),
    Bad("wide gap", _gap(1, 2), ("no frame 2 to 3 (",)),
    Bad("gap by rate", _gap(2, FrameTime=None, CineRate=10), ("no frame 3 (",)),
    Bad("gap by fps", _gap(2, stated={"fps": 8.0}), ("no frame 3 (",)),
]
KIND = [
    Bad(
        "ct",
        _file(CT, Modality="CT"),
        (
            "no projection but CT",
            "XRF, Enhanced XRF, RT Image",
            "`fluoro inspect PATH`",
        ),
    ),
    Bad("two series", _folder(_other(1, SeriesInstanceUID="9.9")), ("of 2 series",)),
    Bad(
        "sizes",
        _folder(_smaller),
        ("frames of 6 x 8", "3 x 16", "move the other images out"),
    ),
    Bad("multi in folder", _folder(_other(0, NumberOfFrames=2)), ("several frames",)),
    Bad("colour", _file(SamplesPerPixel=3), ("3 samples a pixel",)),
    Bad("bits", _file(BitsStored=17), ("BitsStored = 17 of 16",)),
    Bad("high bit", _file(HighBit=15), ("HighBit = 15 with BitsStored = 12",)),
    Bad(
        "high bit of one frame",
        _folder(_other(2, HighBit=15)),
        ("frame0.dcm: (0028,0102) HighBit = 15",),
    ),
    Bad(
        "palette",
        _file(PhotometricInterpretation="PALETTE COLOR"),
        ("(0028,0004) PhotometricInterpretation is no grey", "MONOCHROME1 or"),
    ),
    Bad("bits 12", _file(BitsAllocated=12), ("of 12 bits",)),
    Bad("slope 0", _file(RescaleSlope=0), ("RescaleSlope is 0",)),
    Bad("table", _saved(_table), ("ModalityLUTSequence is damaged",)),
]
DAMAGED = [
    Bad("text", _bytes(lambda raw: b"x" * 300), ("no DICOM file",)),
    Bad("empty in a series", _hurt(lambda raw: b""), ("frame2.dcm: no DICOM file",)),
    Bad("no preamble", _hurt(lambda raw: raw[132:]), ("frame2.dcm: no DICOM file",)),
    Bad("cut header", _bytes(lambda raw: raw[:600]), ("clip.dcm",)),
    Bad("cut pixels", _bytes(lambda raw: raw[:-100]), ("clip.dcm",)),
    Bad("rows", _file(Rows=65535, Columns=65535), ("65535 x 65535 pixels",)),
    Bad("frames", _file(NumberOfFrames=10**8), ("NumberOfFrames = 100000000",)),
    Bad("frames -1", _file(NumberOfFrames=-1), ("NumberOfFrames = -1",)),
    Bad("claim", _file(Rows=6000, Columns=6000), ("cut off",)),
    Bad("no rows", _bare("Rows"), ("no size of a frame",)),
    Bad(
        "deflated",
        _saved(_syntax(DeflatedExplicitVRLittleEndian, b"12" * 192)),
        ("a deflated file",),
    ),
    Bad(
        "no decoder",
        _saved(_syntax(JPEGLosslessSV1, b"\xfe\xff\x00\xe0" * 60)),
        (
            "JPEG Lossless",
            "without a decoder",
            "pylibjpeg or GDCM",
            "pip install 'fluoro_jax[dicom-compressed]'",
        ),
    ),
    Bad(
        "items",
        _bytes(_before_pixels(_items(60_000))),
        ("ExposureSequence cannot be read",),
    ),
    Bad("huge header", _bytes(_before_pixels(_items(1_200_000))), ("clip.dcm",)),
    Bad("absent", lambda folder: read_clip(folder / "a.dcm"), ("no file",)),
]
FLAGS = [
    Bad("flag pixel", _file(stated={"pixel_mm": (0.0, 1.0)}), ("--pixel-mm 0",)),
    Bad("flag fps", _file(stated={"fps": float("nan")}), ("--fps nan",)),
    Bad(
        "open beam",
        _file(stated={"open_beam": 9.0}, PixelIntensityRelationship="DISP"),
        ("--open-beam with frames of domain display",),
    ),
    Bad("flag domain", _file(stated={"domain": "dark"}), ("--domain dark",)),
    Bad(
        "flag of mha",
        lambda f: read_clip(put_mha(f), Overrides(kv_offset_deg=90.0)),
        ("--kv-offset-deg with a clip of kind mha",),
    ),
    Bad(
        "flag sdd of mha",
        lambda f: read_clip(put_mha(f), Overrides(sdd_mm=900.0)),
        ("SID 900 mm below SAD 1000",),
    ),
]
WRITERS = [
    Bad(
        "position to write",
        lambda f: write_rt_image(f / "a.dcm", small_clip(), patient_position="up"),
        ("patient position 'up'",),
    ),
    Bad(
        "masks to write",
        lambda f: write_seg(f / "a.dcm", small_clip(), np.ones((1, 2)), algorithm="a"),
        ("masks of shape (1, 2)",),
    ),
]
NPZ = [
    Bad("npz text", lambda f: _npz(f, b"x"), ("no frames can be read", "BadZip")),
    Bad("npz name", lambda f: _npz(f, frame=np.ones(3)), ("KeyError",)),
    Bad("npz objects", lambda f: _npz(f, frames=np.array([{}])), ("ValueError",)),
    Bad(
        "npz no frame",
        lambda f: _npz(f, frames=np.zeros((0, 6, 8))),
        ("a.npz: an array of 0 x 6 x 8", "at least one frame"),
    ),
    Bad("npz no row", lambda f: _npz(f, frames=np.zeros((3, 0, 8))), ("of 3 x 0 x 8",)),
    Bad("npz text array", lambda f: _npz(f, frames=np.array(["a"])), ("<U1",)),
]


def _npz(folder, raw=None, **arrays):
    put_mha(folder)
    if raw is not None:
        (folder / "a.npz").write_bytes(raw)
    else:
        np.savez(folder / "a.npz", **arrays)
    read_clip(folder / "a.npz")


ROWS = GEOMETRY + TIMES + KIND + DAMAGED + FLAGS + WRITERS + NPZ
