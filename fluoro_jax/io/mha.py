"""MetaImage (`.mha`) in and out, without a library.

One file: `Key = value` lines, the last of them `ElementDataFile = LOCAL`, then the
pixels, raw or compressed by zlib. The first axis of the header (x) is the fastest in
memory, so it is the last axis of the array.

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

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
MOST_BYTES = 4 * 2**30  # of pixels: 2000 frames of 1024 x 1024 at 16 bits
# In words: the f-string of the message would print 4.29e+09.
MOST_GB = "4 GiB"
MOST_AXES = 4
MOST_RATIO = 1100  # zlib compresses to 1/1032 at best
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
    # Rows in C order: the last axis is the fastest, as x is in the file.
    array = np.ascontiguousarray(image.array)
    # Without the byte order, which the header tells apart.
    code = array.dtype.str[1:]
    if code not in NAMES:
        raise ValueError(f"MetaImage has no type for {array.dtype}")
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    # Level 4 of 9 is ours.
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
        # Row by row the file has the axes' directions; ours are columns.
        "TransformMatrix": numbers(image.direction.T.ravel()),
        "Offset": numbers(image.offset),
        "CenterOfRotation": numbers((0.0,) * array.ndim),
        "ElementSpacing": numbers(image.spacing),
        "DimSize": numbers(array.shape[::-1]),
        "ElementType": NAMES[code],
        END: "LOCAL",
    }
    # `END` must be the last line: pixels follow its newline.
    header = "".join(f"{key} = {value}\n" for key, value in lines.items())
    write_all({path: header.encode("ascii") + data})


def read_mha(path: Path) -> MetaImage:
    """Reads one file.

    Every size is checked against the file before memory is taken for it.

    Raises:
        UserError: if it is missing, no MetaImage, of a kind not read here, too large,
            cut off, or has numbers in its header that no image has.
    """
    path = Path(path)
    raw = _bytes_of(path)
    header, start = _header(path, raw)
    shape = _shape(path, header)
    dtype = np.dtype(TYPES[header["ElementType"]])
    if _true(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        dtype = dtype.newbyteorder(">")
    # By the header, before memory is taken: a few bytes may claim a terabyte.
    needed = dtype.itemsize * math.prod(shape)
    sizes = f"{' x '.join(map(str, shape[::-1]))} of {dtype}"
    if needed > MOST_BYTES:
        _refuse(path, f"{needed:.3g} bytes of pixels ({sizes})", f"at most {MOST_GB}")
    data: bytes | memoryview = memoryview(raw)[start:]
    if _true(header, "CompressedData"):
        data = _unpack(path, data, needed)
    if len(data) != needed:
        raise UserError(
            f"{path}: {len(data)} bytes of pixels",
            needed=f"{needed} bytes ({sizes})",
            why="the file is cut off, or its header is of another file",
            fix="copy the file again",
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    spacing, offset, direction = _place(path, header, len(shape))
    # `frombuffer` gives a read-only view of the file's bytes; `astype` copies, in
    # native order.
    return MetaImage(array.astype(dtype.newbyteorder("=")), spacing, offset, direction)


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(
            f"no file {path}",
            needed="a MetaImage file (.mha)",
            why="there is nothing to read",
            fix="check the path",
        )
    size = path.stat().st_size
    if size > MOST_BYTES + MOST_HEADER:
        _refuse(path, f"a file of {size:.3g} bytes", f"at most {MOST_GB}")
    return path.read_bytes()


def _header(path: Path, raw: bytes) -> tuple[dict[str, str], int]:
    """The header's keys and where the pixels start."""
    header, start = {}, 0
    while END not in header:
        # `find` looks no further than a header may go, so that a file of pixels is not
        # searched.
        stop = raw.find(b"\n", start, MOST_HEADER)
        line = raw[start : stop if stop >= 0 else start].decode("ascii", "replace")
        key, equals, value = line.partition("=")
        if stop < 0 or not equals:
            known = "no MetaImage header" if not header else f"no {END} in its header"
            _refuse(path, known, "lines `Key = value` at its start, the last " + END)
        # Twice could hide another size behind the one that is checked.
        if key.strip() in header:
            _refuse(path, f"{key.strip()} twice in its header", "each key once")
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


def _shape(path: Path, header: dict[str, str]) -> tuple[int, ...]:
    """The array's shape: `DimSize` backwards, as many whole numbers as `NDims`."""
    count = _numbers(path, header, "NDims", 1)[0]
    if not (count.is_integer() and 1 <= count <= MOST_AXES):
        _refuse(path, f"NDims = {header['NDims']}", f"from 1 to {MOST_AXES}")
    sizes = _numbers(path, header, "DimSize", int(count))
    if not all(size.is_integer() and 1 <= size <= MOST_BYTES for size in sizes):
        _refuse(path, f"DimSize = {header['DimSize']}", "whole numbers of at least 1")
    return tuple(int(size) for size in sizes)[::-1]


def _place(
    path: Path, header: dict[str, str], count: int
) -> tuple[tuple[float, ...], tuple[float, ...], np.ndarray]:
    """Spacing, offset and direction; 1, 0 and the identity where the header is mute."""
    found = lambda *keys: next((key for key in keys if key in header), None)
    spacing, offset, direction = (1.0,) * count, (0.0,) * count, np.eye(count)
    # Older writers use the second and third name.
    if key := found("ElementSpacing", "ElementSize"):
        spacing = _numbers(path, header, key, count)
        if min(spacing) <= 0.0:
            _refuse(path, f"{key} = {header[key]}", "more than 0 along each axis")
    if key := found("Offset", "Position", "Origin"):
        offset = _numbers(path, header, key, count)
    if key := found("TransformMatrix", "Orientation", "Rotation"):
        matrix = _numbers(path, header, key, count * count)
        direction = np.reshape(matrix, (count, count)).T
        # 1e-3: headers print directions with few digits.
        if not np.allclose(direction.T @ direction, np.eye(count), atol=1e-3):
            _refuse(path, f"{key} = {header[key]}", "directions at right angles")
    return spacing, offset, direction


def _numbers(
    path: Path, header: dict[str, str], key: str, count: int
) -> tuple[float, ...]:
    """`count` finite numbers of the header's line `key`."""
    text = header[key]
    try:
        values = tuple(float(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        _refuse(path, f"{key} = {text[:80]}", f"{count} finite numbers")
    return values


def _true(header: dict[str, str], *keys: str, default: str = "False") -> bool:
    found = [header[key] for key in keys if key in header]
    return (found[0] if found else default).lower() == "true"


def _unpack(path: Path, data: bytes | memoryview, needed: int) -> bytes:
    """The pixels, of which no more than `needed` + 1 bytes are ever unpacked."""
    problem = ""
    if needed > MOST_RATIO * len(data) + MOST_HEADER:
        problem = f"{len(data)} bytes cannot hold {needed}"
    else:
        stream = zlib.decompressobj()
        try:
            # One byte more than needed, to see whether there are more; a zip bomb stops
            # here.
            pixels = stream.decompress(data, needed + 1)
            if stream.eof or len(pixels) > needed:
                return pixels
            problem = "incomplete or truncated stream"
        except zlib.error as error:
            problem = str(error)
    raise UserError(
        f"{path}: compressed pixels cannot be read ({problem})",
        needed="pixels compressed by zlib, whole",
        why="the file is cut off or damaged",
        fix="copy the file again",
    )


def _refuse(path: Path, found: str, needed: str) -> NoReturn:
    # A damaged header holds control characters, which would break the message's lines.
    shown = "".join(c if c.isprintable() else "?" for c in found)[:160]
    raise UserError(
        f"{path}: {shown}",
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
    # For each of the header's axes the patient's axis that it runs along.
    world = np.argmax(np.abs(rounded), axis=0)  # world axis of each header axis
    size = np.array(array.shape[::-1])
    for axis in range(3):
        # A flipped axis starts at its other end: the offset moves to the voxel that is
        # now first.
        if rounded[world[axis], axis] < 0.0:
            offset[world[axis]] -= (size[axis] - 1) * spacing[axis]
            array = np.flip(array, axis=2 - axis)
    order = np.argsort(world)  # header axis of each world axis
    # The array's axes are the header's in reverse, on both sides of the transposition.
    array = np.transpose(array, [2 - order[2 - i] for i in range(3)])
    return dataclasses.replace(
        image,
        array=np.ascontiguousarray(array),
        spacing=tuple(spacing[order]),
        offset=tuple(offset),
        direction=np.eye(3),
    )
