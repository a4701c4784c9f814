"""MetaImage (`.mha`) in and out, without a library.

One file: `Key = value` lines, the last of them `ElementDataFile = LOCAL`, then the
pixels, raw or compressed by zlib. The first axis of the header (x) is the fastest in
memory, so it is the last axis of the array.

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.io.files import write_all

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
NAMES = {code: name for name, code in TYPES.items()}
MOST_HEADER = 65536  # bytes in which the header must end
END = "ElementDataFile"


@dataclass
class MetaImage:
    """Pixels and where they lie.

    Attributes:
        array: last axis is the header's first (x).
        spacing: distance of pixel centres along each axis in the header's order.
        offset: centre of the first pixel, in the header's order; by default zeros.
        direction: `[n, n]`; column i is the direction of the header's axis i; by
            default the identity.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    offset: tuple[float, ...] = ()
    direction: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        count = self.array.ndim
        self.offset = self.offset or (0.0,) * count
        if not self.direction.size:
            self.direction = np.eye(count)
        if not len(self.spacing) == len(self.offset) == count:
            raise ValueError("spacing and offset need one number an axis")


def write_mha(path: Path, image: MetaImage, *, compress: bool = True) -> None:
    """Writes one file, whole or not at all (beside it first, then renamed).

    Raises:
        ValueError: for an array of a type that the format does not have.
    """
    array = np.ascontiguousarray(image.array)
    code = array.dtype.str[1:]
    if code not in NAMES:
        raise ValueError(f"MetaImage has no type for {array.dtype}")
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if compress:
        data = zlib.compress(data, 4)
    numbers = lambda values: " ".join(f"{v:.12g}" for v in values)
    lines = {
        "ObjectType": "Image",
        "NDims": array.ndim,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": compress,
        **({"CompressedDataSize": len(data)} if compress else {}),
        "TransformMatrix": numbers(image.direction.T.ravel()),
        "Offset": numbers(image.offset),
        "CenterOfRotation": numbers((0.0,) * array.ndim),
        "ElementSpacing": numbers(image.spacing),
        "DimSize": numbers(array.shape[::-1]),
        "ElementType": NAMES[code],
        END: "LOCAL",
    }
    header = "".join(f"{key} = {value}\n" for key, value in lines.items())
    write_all({path: header.encode("ascii") + data})


def read_mha(path: Path) -> MetaImage:
    """Reads one file.

    Raises:
        UserError: if it is missing, no MetaImage, of a kind not read here, or cut off.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"no file {path}",
            needed="a MetaImage file (.mha)",
            why="there is nothing to read",
            fix="check the path",
        )
    raw = path.read_bytes()
    header, start = _header(path, raw)
    shape = tuple(int(n) for n in header["DimSize"].split())[::-1]
    dtype = np.dtype(TYPES[header["ElementType"]])
    if _true(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        dtype = dtype.newbyteorder(">")
    data = raw[start:]
    if _true(header, "CompressedData"):
        data = _unpack(path, data)
    needed = dtype.itemsize * int(np.prod(shape))
    if len(data) != needed:
        raise UserError(
            f"{path}: {len(data)} bytes of pixels",
            needed=f"{needed} bytes ({' x '.join(map(str, shape[::-1]))} of {dtype})",
            why="the file is cut off, or its header is of another file",
            fix="copy the file again",
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    count = len(shape)
    numbers = lambda *keys: next(
        (tuple(float(v) for v in header[k].split()) for k in keys if k in header), ()
    )
    spacing = numbers("ElementSpacing", "ElementSize") or (1.0,) * count
    matrix = numbers("TransformMatrix", "Orientation", "Rotation")
    direction = np.reshape(matrix, (count, count)).T if matrix else np.eye(count)
    offset = numbers("Offset", "Position", "Origin")
    return MetaImage(array.astype(dtype.newbyteorder("=")), spacing, offset, direction)


def _header(path: Path, raw: bytes) -> tuple[dict[str, str], int]:
    """The header's keys and where the pixels start."""
    header, start = {}, 0
    while END not in header:
        stop = raw.find(b"\n", start, MOST_HEADER)
        line = raw[start:stop].decode("ascii", "replace")
        key, equals, value = line.partition("=")
        if stop < 0 or not equals:
            _refuse(path, "no MetaImage header", "lines `Key = value` at its start")
        header[key.strip()] = value.strip()
        start = stop + 1
    missing = [key for key in ("NDims", "DimSize", "ElementType") if key not in header]
    if missing:
        _refuse(path, "no " + ", ".join(missing), "these keys in the header")
    if header[END] != "LOCAL":
        _refuse(path, f"{END} = {header[END]}", "LOCAL, the pixels in the same file")
    if header["ElementType"] not in TYPES:
        _refuse(path, f"ElementType = {header['ElementType']}", ", ".join(TYPES))
    if header.get("ElementNumberOfChannels", "1") != "1":
        _refuse(path, "several channels a pixel", "one number a pixel")
    if not _true(header, "BinaryData", default="True"):
        _refuse(path, "BinaryData = False", "binary pixels")
    return header, start


def _true(header: dict[str, str], *keys: str, default: str = "False") -> bool:
    found = [header[key] for key in keys if key in header]
    return (found[0] if found else default).lower() == "true"


def _unpack(path: Path, data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise UserError(
            f"{path}: compressed pixels cannot be read ({error})",
            needed="pixels compressed by zlib, whole",
            why="the file is cut off or damaged",
            fix="copy the file again",
        ) from error


def _refuse(path: Path, found: str, needed: str) -> None:
    raise UserError(
        f"{path}: {found}",
        needed=needed,
        why="only plain MetaImage files are read without SimpleITK",
        fix="convert it: SimpleITK.WriteImage(SimpleITK.ReadImage(FILE), 'new.mha')",
    )


def to_lps(image: MetaImage) -> MetaImage:
    """Axes turned and flipped so that x, y, z run along +x, +y, +z (LPS).

    Args:
        image: of three axes.

    Raises:
        UserError: if an axis is oblique: that needs resampling.
    """
    direction = np.asarray(image.direction, float)
    rounded = np.round(direction)
    straight = np.abs(direction - rounded).max() < 1e-3
    if not straight or (np.abs(rounded).sum(axis=0) != 1).any():
        raise UserError(
            f"a volume whose axes lie obliquely: directions {direction.tolist()}",
            needed="axes along left-right, back-front and head-foot, in any order",
            why="the projector samples along them",
            fix="resample it to straight axes, for example with SimpleITK.Resample",
        )
    array, offset = image.array, np.array(image.offset, float)
    spacing = np.array(image.spacing, float)
    world = np.argmax(np.abs(rounded), axis=0)  # world axis of each header axis
    size = np.array(array.shape[::-1])
    for axis in range(3):
        if rounded[world[axis], axis] < 0.0:
            offset[world[axis]] -= (size[axis] - 1) * spacing[axis]
            array = np.flip(array, axis=2 - axis)
    order = np.argsort(world)  # header axis of each world axis
    array = np.transpose(array, [2 - order[2 - i] for i in range(3)])
    return dataclasses.replace(
        image,
        array=np.ascontiguousarray(array),
        spacing=tuple(spacing[order]),
        offset=tuple(offset),
        direction=np.eye(3),
    )
