"""Files that hold no clip or volume: damaged, contradictory, too large."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from bad import Bad
from clips import edit_json, put_mha, put_png, put_trackrad, small_clip
from PIL import Image

from fluoro_jax.geometry import Grid
from fluoro_jax.io.files import expand_path
from fluoro_jax.io.mha import MetaImage, read_mha, write_mha
from fluoro_jax.io.read_clip import read_clip
from fluoro_jax.sim.ct import ct_volume

HEADER = (
    "ObjectType = Image\nNDims = 2\nBinaryData = True\nDimSize = 3 2\n"
    "ElementSpacing = 0.4 0.3\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
BOMB = zlib.compress(bytes(50_000_000), 9)


def _mha(old="", new="", data=bytes(6), text=None):
    header = HEADER.replace(old, new) if text is None else text

    def call(folder):
        raw = header if isinstance(header, bytes) else header.encode()
        (folder / "a.mha").write_bytes(raw + data)
        read_mha(folder / "a.mha")

    return call


def _packed(size, data):
    text = HEADER.replace("DimSize = 3 2", f"CompressedData = True\nDimSize = {size}")
    return _mha(data=data, text=text)


def _sidecar(**changed):
    def call(folder):
        path = put_mha(folder)
        edit_json(folder / "geometry.json", **changed)
        read_clip(path)

    return call


def _sidecar_text(text):
    def call(folder):
        path = put_mha(folder)
        (folder / "geometry.json").write_bytes(text)
        read_clip(path)

    return call


def _clip(array):
    def call(folder):
        path = put_mha(folder)
        write_mha(path, MetaImage(array, (1.0,) * array.ndim))
        read_clip(path)

    return call


def _png(change):
    def call(folder):
        put_png(folder / "png")
        change(folder / "png")
        read_clip(folder / "png")

    return call


def _trackrad(change):
    def call(folder):
        put_trackrad(folder / "case")
        change(folder / "case")
        read_clip(folder / "case")

    return call


def _save(name, mode="L", size=(8, 6)):
    return lambda folder: Image.new(mode, size).save(folder / name)


def _cut(name):
    def change(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return change


def _huge_png(folder):
    """A header of 100,000 x 100,000 pixels without any."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "frame_9.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def _labels(value):
    def change(folder):
        array = np.full((8, 6, 3), value, np.uint8)
        write_mha(
            folder / "targets" / "case_labels.mha", MetaImage(array, (1.0, 3.0, 2.0))
        )

    return change


def _rate(text):
    return lambda folder: (folder / "frame-rate.json").write_bytes(text)


def _geometry(**changed):
    return lambda folder: edit_json(folder / "geometry.json", **changed)


def _ct(spacing, origin=(0.0, 0.0, 0.0)):
    hu = np.full((2, 2, 2), -1000.0)
    return lambda folder: ct_volume(hu, Grid(origin, spacing))


NAN_FRAME = np.array(small_clip().frames)
NAN_FRAME[1, 0, 0] = np.nan

MHA = [
    Bad("no header", _mha(text=b"\xff\xfe\x00\n"), ("no MetaImage header",)),
    Bad("no line at all", _mha(text="x" * 70_000), ("no MetaImage header",)),
    Bad("empty", _mha(text="", data=b""), ("no MetaImage header",)),
    Bad("no data file", _mha("ElementDataFile = LOCAL\n"), ("no ElementDataFile",)),
    Bad("elsewhere", _mha("LOCAL", "a.raw"), ("ElementDataFile = a.raw",)),
    Bad("list", _mha("LOCAL", "LIST"), ("ElementDataFile = LIST",)),
    Bad("type", _mha("UCHAR", "UCHAR_ARRAY"), ("MET_UCHAR_ARRAY",)),
    Bad("not ascii", _mha("MET_UCHAR", "MET_ÜCHAR"), ("ElementType",)),
    Bad("control", _mha("MET_UCHAR", "MET_\x0bU\x1c"), ("MET_?U", "MET_UCHAR,")),
    Bad("twice", _mha("NDims = 2", "NDims = 2\nNDims = 3"), ("NDims twice",)),
    Bad("axes", _mha("NDims = 2", "NDims = two"), ("NDims = two",)),
    Bad("no axes", _mha("NDims = 2", "NDims = 0"), ("NDims = 0", "from 1 to 4")),
    Bad("many axes", _mha("NDims = 2", "NDims = 99999"), ("NDims = 99999",)),
    Bad("more axes", _mha("NDims = 2", "NDims = 3"), ("DimSize = 3 2", "3 finite")),
    Bad("size word", _mha("= 3 2", "= 3 x"), ("DimSize = 3 x",)),
    Bad("size 0", _mha("= 3 2", "= 0 2", b""), ("DimSize = 0 2",)),
    Bad("size -1", _mha("= 3 2", "= -3 -2"), ("DimSize = -3 -2",)),
    Bad("size half", _mha("= 3 2", "= 3 2.5"), ("DimSize = 3 2.5",)),
    Bad("size nan", _mha("= 3 2", "= nan 2"), ("DimSize = nan 2",)),
    Bad("huge", _mha("= 3 2", "= 99999 99999"), ("at most 4 GiB",)),
    Bad("past 64 bits", _mha("= 3 2", "= 9999999999 9999999999"), ("DimSize",)),
    Bad("spacing nan", _mha("0.4 0.3", "nan 0.3"), ("ElementSpacing = nan 0.3",)),
    Bad("spacing 0", _mha("0.4 0.3", "0 0.3"), ("ElementSpacing", "more than 0")),
    Bad("spacing -1", _mha("0.4 0.3", "0.4 -1"), ("ElementSpacing", "more than 0")),
    Bad("spacing inf", _mha("0.4 0.3", "inf 0.3"), ("ElementSpacing",)),
    Bad("spacing few", _mha("0.4 0.3", "0.4"), ("2 finite numbers",)),
    Bad("offset", _mha("DimSize", "Offset = a b\nDimSize"), ("Offset = a b",)),
    Bad("matrix", _mha("DimSize", "Rotation = 1 0\nDimSize"), ("4 finite",)),
    Bad("flat", _mha("DimSize", "Rotation = 0 0 0 0\nDimSize"), ("right angles",)),
    Bad("cut off", _mha(data=bytes(5)), ("5 bytes of pixels", "cut off")),
    Bad("too long", _mha(data=bytes(7)), ("7 bytes of pixels",)),
    Bad("zlib cut", _packed("3 2", zlib.compress(bytes(6))[:-3]), ("truncated",)),
    Bad("no zlib", _packed("3 2", b"abcdef"), ("cannot be read",)),
    Bad("zlib short", _packed("3 3", zlib.compress(bytes(6))), ("6 bytes of pix",)),
    Bad("bomb", _packed("3 2", BOMB), ("7 bytes of pixels", "6 bytes")),
    Bad("claim", _packed("60000 60000", zlib.compress(bytes(6))), ("cannot hold",)),
    Bad("absent", lambda folder: read_mha(folder / "a.mha"), ("no file",)),
    Bad("folder", lambda folder: read_mha(folder), ("no file",)),
]
SIDECAR = [
    Bad("no json", _sidecar_text(b"{"), ("no JSON",)),
    Bad("no text", _sidecar_text(b"\xff\xfe"), ("no JSON",)),
    Bad("deep", _sidecar_text(b"[" * 100_000), ("no JSON",)),
    Bad("no object", _sidecar_text(b"[1]"), ("a list",)),
    Bad("no gantry", _sidecar(gantry_deg=None), ("no gantry_deg", 'add "gantry_deg"')),
    Bad("no domain", _sidecar(domain=None), ("no domain",)),
    Bad("no pixel", _sidecar(pixel_mm=None), ("no pixel_mm",)),
    Bad("no time", _sidecar(time_s=None), ("no time of frames",)),
    Bad("two times", _sidecar(frame_s=0.5), ("both frame_s and time_s",)),
    Bad("unknown", _sidecar(sid_mm=1.0), ("unknown key 'sid_mm'",)),
    Bad("one pixel", _sidecar(pixel_mm=3.0), ("pixel_mm = 3.0", "[row, column]")),
    Bad("pixel 0", _sidecar(pixel_mm=[0, 3]), ("pixel_mm = [0, 3]",)),
    Bad("pixel nan", _sidecar(pixel_mm=[float("nan"), 3]), ("pixel_mm = [NaN, 3]",)),
    Bad("far", _sidecar(offset_mm=[1e6, 0]), ("offset_mm",)),
    Bad("gantry nan", _sidecar(gantry_deg=float("nan")), ("gantry_deg = NaN",)),
    Bad("gantry word", _sidecar(gantry_deg="AP"), ('gantry_deg = "AP"',)),
    Bad("huge number", _sidecar(sad_mm=10**400), ("sad_mm",)),
    Bad("sdd", _sidecar(sdd_mm=500.0), ("sdd_mm = 500 below sad_mm",)),
    Bad("backwards", _sidecar(time_s=[0, 1, 0.5]), ("time_s", "increase")),
    Bad("few times", _sidecar(time_s=[0, 1]), ("2 times for 3 frames",)),
    Bad("clip domain", _sidecar(domain="dark"), ("one of line_integral",)),
    Bad("open beam", _sidecar(open_beam=1e4), ("open_beam with domain",)),
    Bad("periodic", _sidecar(periodic="no"), ("periodic",)),
    Bad(
        "nan frame", _clip(NAN_FRAME), ("frame 1 holds", "finite numbers", "leave out")
    ),
    Bad("two axes", _clip(np.ones((3, 4))), ("2 axes",)),
    Bad("nothing", lambda folder: read_clip(folder / "x"), ("not there",)),
    Bad("empty folder", read_clip, ("no clip that can be read",)),
    Bad("home", lambda folder: expand_path("~nobody-at-all/x"), ("no home folder",)),
    Bad("no path", lambda folder: expand_path(" "), ("an empty path",)),
]
PNG = [
    Bad("png gap", _png(lambda f: (f / "frame_10.png").unlink()), ("10 is missing",)),
    Bad("png twice", _png(_save("scan_9.png")), ("same number",)),
    Bad("png unnamed", _png(_save("film.png")), ("no number",)),
    Bad("png size", _png(_save("frame_12.png", "I;16", (8, 7))), ("(7, 8)",)),
    Bad("png depth", _png(_save("frame_12.png")), ("up to 255", "up to 65535")),
    Bad("png colour", _png(_save("frame_9.png", "RGB")), ("mode RGB",)),
    Bad("png cut", _png(_cut("frame_9.png")), ("cannot be read",)),
    Bad("png huge", _png(_huge_png), ("frame_9.png",)),
    Bad("png text", _png(lambda f: (f / "frame_9.png").write_text("x")), ("be read",)),
    Bad("png levels", _png(_geometry(value_per_grey=None)), ("no value_per_grey",)),
    Bad("png scale", _png(_geometry(value_per_grey=0)), ("value_per_grey = 0",)),
]
TRACKRAD = [
    Bad("no geometry", _trackrad(lambda f: (f / "geometry.json").unlink()), ("there",)),
    Bad("pixel", _trackrad(_geometry(pixel_mm=[3.0, 4.5])), ("3 x 2 mm in the",)),
    Bad("rate", _trackrad(_rate(b"15.0")), ("15 frames a second", "one frame rate")),
    Bad("rate true", _trackrad(_rate(b"true")), ("no frame rate",)),
    Bad("rate bytes", _trackrad(_rate(b"\xff")), ("no frame rate",)),
    Bad("rate huge", _trackrad(_rate(b"1" + b"0" * 400)), ("no frame rate",)),
    Bad("rate nan", _trackrad(_rate(b"NaN")), ("no frame rate",)),
    Bad("labels", _trackrad(_labels(7)), ("labels from 7 to 7",)),
]
CT = [
    Bad("ct spacing 0", _ct((1.0, 1.0, 0.0)), ("more than 0 mm",)),
    Bad("ct spacing -1", _ct((-1.0, 1.0, 1.0)), ("more than 0 mm",)),
    Bad("ct spacing nan", _ct((1.0, float("nan"), 1.0)), ("more than 0 mm",)),
    Bad(
        "ct origin", _ct((1.0, 1.0, 1.0), (0.0, float("inf"), 0.0)), ("finite origin",)
    ),
]
ROWS = MHA + SIDECAR + PNG + TRACKRAD + CT
