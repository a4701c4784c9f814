"""NIfTI files (`.nii`, `.nii.gz`), checked before SimpleITK reads them.

ITK fills what a cut file lacks with zeros, takes 1 mm for voxels without a size and LPS
axes for an unknown orientation, each without a word.

Source: nifti1.h, https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any, NoReturn

from fluoro_jax.errors import refuse
from fluoro_jax.io.straighten import MOST_VOXELS

SUFFIXES = (".nii", ".nii.gz")
GZIP = b"\x1f\x8b"
CHUNK_BYTES = 2**20
# By NIfTI's code of a type: bytes of a voxel. A bit a voxel (1) is not read by ITK.
TYPE_BYTES = {
    **{2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4},
    **{1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4},
}
# Where a header has what is checked: offset and `struct` format.
SIZE, MAGIC = 348, b"n+1\0"
DIM, DATATYPE, PIXDIM = (40, "8h"), (70, "h"), (76, "8f")
START, FORMS, NAME = (108, "f"), (252, "2h"), 344


def check_nifti(path: Path) -> None:
    """Checks header and length of a file; no voxel is kept.

    Args:
        path: of a NIfTI-1 file in one piece, plain or compressed by gzip.

    Raises:
        UserError: no such header, sizes of voxels that are not more than 0 mm, no
            orientation, more than `MOST_VOXELS` voxels, or fewer bytes than they need.
    """
    with path.open("rb") as plain:
        packed = plain.read(2) == GZIP
        plain.seek(0)
        file: Any = gzip.GzipFile(fileobj=plain) if packed else plain
        try:
            head = file.read(SIZE)
            needed = _needed(path, head)
            size = path.stat().st_size
            found = _count(file, len(head), needed) if packed else size
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            _cut(path, f"its compressed bytes end or are damaged ({error})")
    if found < needed:
        _cut(path, f"{found} bytes{' unpacked' * packed}", f"{needed} bytes")


def _needed(path: Path, head: bytes) -> int:
    """Checks a header; returns how many bytes the file must have, unpacked."""
    order = _byte_order(path, head)
    get: Any = lambda place: struct.unpack_from(order + place[1], head, place[0])
    count, *sizes = get(DIM)
    if not 1 <= count <= 7 or min(sizes[:count]) < 1:
        _refuse(path, f"dim = {[count, *sizes]}", "1 to 7 axes of at least 1 voxel")
    voxels = math.prod(sizes[:count])
    if voxels > MOST_VOXELS:
        refuse(
            f"{path}: {' x '.join(map(str, sizes[:count]))} voxels",
            f"at most {MOST_VOXELS} voxels",
            "a volume must fit into memory",
            "crop it to the chest, or resample it to larger voxels",
        )
    spacing = get(PIXDIM)[1 : 1 + min(count, 3)]
    if not all(math.isfinite(one) and one > 0.0 for one in spacing):
        shown = ", ".join(f"{one:g}" for one in spacing)
        _refuse(path, f"voxels of {shown} (pixdim)", "finite sizes of more than 0")
    if get(FORMS) == (0, 0):
        refuse(
            f"{path}: no orientation (qform_code and sform_code are 0)",
            "qform_code or sform_code of at least 1",
            "which way is left, front and up is unknown, and where the origin is",
            "export it again with its orientation, for example as .nrrd or .mha",
        )
    (datatype,), (start,) = get(DATATYPE), get(START)
    if datatype not in TYPE_BYTES:
        _refuse(path, f"datatype {datatype}", f"one of {sorted(TYPE_BYTES)}")
    if not 0 <= start < 2**31:  # NaN is neither
        _refuse(path, f"vox_offset = {start:g}", "where the voxels start")
    # Readers take no voxels from within the header.
    return max(int(start), SIZE) + voxels * TYPE_BYTES[datatype]


def _byte_order(path: Path, head: bytes) -> str:
    """Returns "<" or ">", as the header's first number is its own size."""
    if len(head) == SIZE and head[NAME:] == MAGIC:
        for order in "<>":
            if struct.unpack_from(f"{order}i", head) == (SIZE,):
                return order
    # NIfTI-2 too: ITK 5.4 does not read it.
    _refuse(path, "no NIfTI-1 header", "NIfTI-1 with its voxels in the same file")


def _count(file: Any, found: int, needed: int) -> int:
    """Reads on from byte `found`, as far as `needed` and no further than a byte more.

    That byte makes gzip check the sum at its end, where nothing follows.
    """
    while found <= needed:
        piece = file.read(min(CHUNK_BYTES, needed + 1 - found))
        if not piece:
            break
        found += len(piece)
    return found


def _cut(path: Path, found: str, needed: str = "a whole file") -> NoReturn:
    refuse(
        f"{path}: {found}",
        f"{needed}, for all its voxels",
        "the file is cut off; what is missing would read as 0 HU or as no tumour",
        "copy the file again",
    )


def _refuse(path: Path, found: str, needed: str) -> NoReturn:
    refuse(
        f"{path}: {found}",
        needed,
        "every millimetre depends on the header",
        "export it again, for example from 3D Slicer as .nrrd or .mha",
    )
