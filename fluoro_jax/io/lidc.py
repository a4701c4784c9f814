"""LIDC-IDRI reader XML: nodules contoured by several readers."""

from __future__ import annotations

from pathlib import Path

from fluoro_jax.io.volumes import CtPhase, Roi


def read_lidc(
    path: Path,
    *,
    ct: CtPhase | None = None,
    pixel_mm: tuple[float, float] | None = None,
    origin_mm: tuple[float, float] | None = None,
) -> tuple[tuple[Roi, ...], ...]:
    """Reads the nodules of an LIDC reader file.

    Args:
        path: of the XML.
        ct: the CT as the readers saw it; gives pixels and origin.
        pixel_mm: (row, column) size of the readers' pixels, instead of `ct`.
        origin_mm: (x, y) LPS of the readers' first pixel, instead of `ct`.

    Returns:
        Nodules, largest first; of each one ROI per reader that contoured it (names
        "nodule 1, reader 2"). Contours are along the first pixels outside of a
        nodule, as LIDC defines them.

    Raises:
        UserError: no LIDC XML, a hostile one, or no pixel size.
    """
    raise NotImplementedError
