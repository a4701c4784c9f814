"""DICOM headers read safely: one place where pydicom's failures become messages."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.dicom.header import import_pydicom, looks_like_dicom, quiet

MOST_FILE_BYTES = 4 * 2**30
# Deflated files are inflated whole by pydicom, whatever they claim: a zip bomb.
DEFLATED = "1.2.840.10008.1.2.1.99"
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
SUFFIXES = (".dcm", ".dicom", ".ima")


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file does to pydicom into a `UserError`.

    pydicom converts values when they are first read, so reading them belongs inside.
    """
    try:
        with quiet():  # values that break the standard; what is used is checked here
            yield
    except UserError:
        raise
    # Any exception: a damaged file ends in a dozen different ones, undocumented.
    except Exception as error:
        # Its text is left out: pydicom may quote a value, and so a name.
        raise UserError(
            f"{path}: cannot be read as DICOM ({type(error).__name__})",
            needed="a whole DICOM file",
            why="the file is damaged, cut off, or of another kind",
            fix="copy the file again, or export it again",
        ) from error


def may_be_dicom(path: Path) -> bool:
    """Returns whether a file is named as DICOM, or begins as it does."""
    # Hidden: "._" begins what macOS writes beside a file on foreign disks, ".old-" what
    # a run of ours left that was killed.
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in SUFFIXES or looks_like_dicom(path)


def read_dataset(path: Path, *, pixels: bool = False) -> Any:
    """Reads one file as a pydicom dataset; to be used inside `guarded`.

    Args:
        path: of the file, with or without a preamble.
        pixels: whether PixelData is read too.

    Raises:
        UserError: no file, no pydicom, a deflated or damaged file.
    """
    pydicom = import_pydicom(path)
    if not path.is_file():
        refuse(
            f"no file {path}",
            "a DICOM file",
            why="there is nothing to read",
            fix="check the path",
        )
    if path.stat().st_size > MOST_FILE_BYTES:
        refuse(
            f"{path}: {path.stat().st_size / 2**30:.1f} GiB",
            "a file of at most 4 GiB",
            why="no CT, plan or structure set is larger",
            fix="export slices or frames as files of their own",
        )
    with guarded(path):
        # `force`: some exports leave the preamble out. Not DICOM at all then shows as
        # a missing SOPClassUID.
        with path.open("rb") as file:
            meta = pydicom.filereader.read_partial(
                file, stop_when=lambda tag, vr, length: tag.group > 2, force=True
            )
        if str(meta.file_meta.get("TransferSyntaxUID", "")) == DEFLATED:
            _refuse_deflated(path)
        dataset = pydicom.dcmread(
            path,
            force=True,
            stop_before_pixels=not pixels,
            # Larger values are read when they are used, not before.
            defer_size="1 MB",
        )
        if not dataset.get("SOPClassUID"):
            raise ValueError("no SOPClassUID")
    return dataset


def _refuse_deflated(path: Path) -> None:
    refuse(
        f"{path}: the deflated transfer syntax",
        "another transfer syntax",
        why="its size is known only after it is inflated, so it cannot be bounded",
        fix="dcmconv +te FILE NEW (of DCMTK)",
    )


def text_of(dataset: Any, keyword: str) -> str:
    """Returns a value as text without outer spaces; empty if there is none."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def numbers_of(dataset: Any, keyword: str, count: int) -> np.ndarray | None:
    """Returns `[count]` finite numbers, or None if the value is missing or another."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    many = value if isinstance(value, (list, tuple)) or _multi(value) else [value]
    try:
        found = np.array([float(one) for one in many], float)
    except (TypeError, ValueError):
        return None
    return found if found.shape == (count,) and np.isfinite(found).all() else None


def number_of(dataset: Any, keyword: str) -> float | None:
    """Returns one finite number, or None."""
    found = numbers_of(dataset, keyword, 1)
    return None if found is None else float(found[0])


def whole_of(dataset: Any, keyword: str) -> int | None:
    """Returns a whole number, or None."""
    found = number_of(dataset, keyword)
    return None if found is None or not math.isclose(found, int(found)) else int(found)


def _multi(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
