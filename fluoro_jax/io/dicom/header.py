"""Reads the header of a DICOM file within bounds on bytes, elements and memory.

Headers come from unknown exporters: a length may be wrong, a deflated file may expand a
thousandfold, and an exception of pydicom may quote a patient's name. So the file is
read through a counter, deflated files are refused, and no text of pydicom is passed on.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from fluoro_jax.errors import UserError, refuse

# Ours, all of these limits.
MOST_FILE_BYTES = 8 * 2**30
MOST_HEADER_BYTES = 8 * 2**20  # 8000 frames with 1 kB of their own each
MOST_READS = 150_000  # of the file; an element takes two or three
MOST_ITEMS = 50_000  # of one sequence, at any depth
DEFER_BYTES = 4 * 2**20  # longer elements stay on disk; none that is used is as long
MOST_PIXELS = 2**26  # of one frame: 8192 x 8192
MOST_FRAMES = 100_000
MOST_DECODED_BYTES = 4 * 2**30  # of all frames as float32, as `png.MOST_BYTES`
MOST_RATIO = 1000  # decoded to encoded bytes of compressed pixels
MAGIC = b"DICM"
GREY = ("MONOCHROME1", "MONOCHROME2")
MARKS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # that begin an item


def looks_like_dicom(path: Path) -> bool:
    """Returns whether a file has DICOM's mark behind the preamble of 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False


def import_pydicom(path: Path | str) -> Any:
    """Returns the module `pydicom`.

    Raises:
        UserError: if it is not installed; names the extra.
    """
    try:
        return importlib.import_module("pydicom")
    except ImportError as error:
        raise UserError(
            f"{path}: DICOM needs pydicom, not installed",
            needed="the extra [dicom]",
            why="pydicom reads and writes DICOM files",
            fix="pip install 'fluoro_jax[dicom]'",
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses pydicom's warnings and log: both quote values, as a patient's name."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_header(path: Path | str) -> Any:
    """Reads all of a DICOM file but its pixels.

    Args:
        path: of a file in DICOM's file format (preamble and `DICM`).

    Returns:
        The pydicom `Dataset`, without pixel data. Its declared frame size is checked
        (`check_size`) where it has one.

    Raises:
        UserError: missing, no DICOM, deflated, cut off in its header, or larger than
            the limits of this module; pydicom not installed.
    """
    path = Path(path)
    pydicom = import_pydicom(path)
    if not path.is_file():
        _refuse(path, "no file", "a DICOM file", "check the path")
    if not looks_like_dicom(path):
        _refuse(path, "no DICOM file", "128 bytes, then DICM", "export it as DICOM")
    size = path.stat().st_size
    if size > MOST_FILE_BYTES:
        most = f"at most {MOST_FILE_BYTES / 2**30:.0f} GiB"
        _refuse(path, f"a file of {size / 2**30:.1f} GiB", most, "export a part of it")
    try:
        with path.open("rb") as file, quiet():
            counted: Any = _Counted(file, path)
            header = pydicom.dcmread(
                counted, stop_before_pixels=True, defer_size=DEFER_BYTES
            )
            # Elements are decoded when they are first used; here, within the `try`.
            str(header.get("SOPClassUID", ""))
    except UserError:
        raise
    # Whatever a damaged file makes of the parser (KeyError, struct.error, ...): its
    # text may quote values, so only the kind of error is told.
    except (Exception, RecursionError) as error:
        _damaged(path, error)
    check_size(path, header)
    return header


def check_size(path: Path, header: Any) -> None:
    """Refuses a declared frame size or count that cannot be, before memory is taken.

    Raises:
        UserError: for sizes that are no whole numbers from 1 to the limits here.
    """
    limits = {"Rows": 65535, "Columns": 65535, "NumberOfFrames": MOST_FRAMES}
    for key, most in limits.items():
        value = whole(path, header, key)
        if value is not None and not 1 <= value <= most:
            _refuse(
                path,
                f"{key} = {value}",
                f"from 1 to {most}",
                "export the clip again, in parts if it is that long",
            )
    rows, cols = whole(path, header, "Rows"), whole(path, header, "Columns")
    if (rows or 1) * (cols or 1) > MOST_PIXELS:
        _refuse(
            path, f"{rows} x {cols} pixels", f"at most {MOST_PIXELS}", "bin the pixels"
        )


def check_grey(path: Path, shown: str, stored: int | None, high: int | None) -> None:
    """Refuses pixels that are colours, or numbers that are not in the lowest bits.

    Args:
        path: for the message.
        shown: PhotometricInterpretation; "" where it is absent.
        stored: BitsStored.
        high: HighBit; None where it is absent.

    Raises:
        UserError: as said.
    """
    if shown.strip().upper() not in ("", *GREY):
        # Not quoted: a damaged file may have any text there.
        refuse(
            f"{path}: (0028,0004) PhotometricInterpretation is no grey",
            " or ".join(GREY),
            "a pixel has one number, which grows with what was measured",
            "export the images in grey",
        )
    if high is not None and stored is not None and high != stored - 1:
        refuse(
            f"{path}: (0028,0102) HighBit = {high} with BitsStored = {stored}",
            f"HighBit {stored - 1}: the numbers in the lowest bits",
            "they would be read shifted, and the highest bits cut off",
            "export the images again",
        )


def whole(path: Path, header: Any, key: str) -> int | None:
    """Returns a whole number of the header, None where it is absent or empty.

    Raises:
        UserError: if it is no whole number.
    """
    try:
        with quiet():
            value = header.get(key)
            return None if value in (None, "") else int(value)
    except Exception as error:
        _damaged(path, error, key)


def items(path: Path, header: Any, key: str) -> list[Any]:
    """Returns the items of a sequence, none where it is absent.

    Raises:
        UserError: if it is no sequence, or has more than `MOST_ITEMS` items.
    """
    try:
        with quiet():
            if key not in header:
                return []
            raw = getattr(header.get_item(key), "value", None)
            # Counted before pydicom makes an object of each; either byte order.
            counts = [raw.count(mark) for mark in MARKS if isinstance(raw, bytes)]
            if sum(counts) > MOST_ITEMS:
                raise OverflowError
            return list(header[key].value or [])
    except (Exception, RecursionError) as error:
        _damaged(path, error, key)


def _damaged(path: Path, error: BaseException, key: str = "header") -> NoReturn:
    # `from None`: the traceback of pydicom's error would quote the value.
    raise UserError(
        f"{path}: its {key} cannot be read ({type(error).__name__})",
        needed="a whole DICOM file",
        why="the file is cut off or damaged",
        fix="copy the file again, or export it again",
    ) from None


def _refuse(path: Path, found: str, needed: str, fix: str) -> NoReturn:
    refuse(f"{path}: {found}", needed, "only such files can be read safely", fix)


class _Counted:
    """A binary file that may be read only so often and so far."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path, self.bytes, self.reads = file, path, 0, 0
        self.name = str(path)

    def read(self, size: int = -1) -> bytes:
        """Reads `size` bytes; all that is left is read only of a deflated file."""
        if size < 0:
            _refuse(
                self.path,
                "a deflated file",
                "a transfer syntax that is not deflated",
                "convert it: dcmconv --write-xfer-little OLD.dcm NEW.dcm",
            )
        data = self.file.read(min(size, MOST_HEADER_BYTES))
        self.bytes += max(len(data), size if size > MOST_HEADER_BYTES else 0)
        self.reads += 1
        if self.bytes > MOST_HEADER_BYTES or self.reads > MOST_READS:
            _refuse(
                self.path,
                "a header of more than 8 MiB or too many elements",
                "a header of at most 8 MiB",
                "export fewer frames a file, without private elements",
            )
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves within the file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Returns the place in the file."""
        return self.file.tell()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
