"""LIDC-IDRI reader XML: nodules contoured by several readers.

Armato III et al. 2011, doi:10.1118/1.3528204. A contour runs along the first pixels
outside of the nodule, so that its polygon is up to half a pixel too large all round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.contours import centroid_mm, volume_ml
from fluoro_jax.io.volumes import CtPhase, Roi

MOST_BYTES = 64 * 2**20
MOST_PIXEL = 1e5  # of a coordinate


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
        ct: the CT as the readers saw it (axial slices); gives pixels and origin.
        pixel_mm: (row, column) size of the readers' pixels, instead of `ct`.
        origin_mm: (x, y) LPS of the readers' first pixel, instead of `ct`.

    Returns:
        Nodules, largest first; of each one ROI per reader that contoured it (names
        "nodule 1, reader 2"). Marks of single points are left out.

    Raises:
        UserError: no LIDC XML, a hostile one, no pixel size, or no contoured nodule.
    """
    path = Path(path)
    if ct is not None:
        pixel_mm = float(ct.affine[1, 1]), float(ct.affine[0, 0])
        origin_mm = float(ct.affine[0, 3]), float(ct.affine[1, 3])
    if pixel_mm is None or origin_mm is None or 0.0 in pixel_mm:
        refuse(
            f"{path}: no pixel size for its contours",
            "the axial CT that the readers saw, or its pixel size and origin",
            why="the XML counts pixels",
            fix="give the CT series with the XML",
        )
    drawn = list(_nodules(path, _parse(path), pixel_mm, origin_mm))
    if not drawn:
        refuse(
            f"{path}: no contoured nodule",
            "an unblindedReadNodule with contours",
            why="nodules under 3 mm are marked by one point, which has no shape",
            fix="choose another case",
        )
    return _grouped(drawn)


def _parse(path: Path) -> ElementTree.Element:
    if not path.is_file():
        refuse(
            f"no file {path}",
            "an LIDC reader XML",
            why="there is nothing to read",
            fix="check the path",
        )
    data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    # Entities could expand without bound; LIDC's files have none.
    if not data or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        refuse(
            f"{path}: {path.stat().st_size} bytes, or a document type of its own",
            f"an LIDC reader XML of at most {MOST_BYTES // 2**20} MiB",
            why="entities may expand without bound",
            fix="take the XML as TCIA publishes it",
        )
    try:
        root = ElementTree.fromstring(data)
    # LookupError and ValueError: an encoding that Python does not have.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(
            f"{path}: no XML ({error})",
            needed="an LIDC reader XML",
            why="the file is cut off, or of another kind",
            fix="copy the file again",
        ) from error
    if _plain(root.tag) != "LidcReadMessage":
        refuse(
            f"{path}: an XML of '{_plain(root.tag)[:40]}'",
            "'LidcReadMessage'",
            why="only readers' contours of LIDC-IDRI are read",
            fix="take the XML of a CT, not of a radiograph (IdriReadMessage)",
        )
    return root


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if _plain(child.tag) == name]


def _number(path: Path, element: ElementTree.Element, name: str) -> float:
    texts = [child.text or "" for child in _children(element, name)]
    try:
        value = float(texts[0])
    except (IndexError, ValueError):
        value = math.nan
    if not abs(value) < MOST_PIXEL:
        refuse(
            f"{path}: {name} {texts[:1]}",
            "one finite number",
            why="it says where a contour lies",
            fix="take the XML as TCIA publishes it",
        )
    return value


def _nodules(
    path: Path,
    root: ElementTree.Element,
    pixel_mm: tuple[float, float],
    origin_mm: tuple[float, float],
) -> Iterator[tuple[int, Roi]]:
    """Yields (reader, ROI) of every nodule with contours in two planes or more."""
    for reader, session in enumerate(_children(root, "readingSession"), start=1):
        for nodule in _children(session, "unblindedReadNodule"):
            contours, holes = [], 0
            for roi in _children(nodule, "roi"):
                z = _number(path, roi, "imageZposition")
                edges = [
                    (_number(path, e, "xCoord"), _number(path, e, "yCoord"))
                    for e in _children(roi, "edgeMap")
                ]
                if len(edges) < 3:
                    continue
                x, y = np.array(edges).T
                x = origin_mm[0] + pixel_mm[1] * x
                y = origin_mm[1] + pixel_mm[0] * y
                contours.append(np.stack([x, y, np.full_like(x, z)], axis=-1))
                inside = [c.text or "" for c in _children(roi, "inclusion")]
                holes += inside[:1] == ["FALSE"]  # by XOR with what is around it
            if len({points[0, 2] for points in contours}) < 2:
                continue
            names = [c.text or "" for c in _children(nodule, "noduleID")]
            words = f"LIDC reader {reader}, nodule '{(names or [''])[0].strip()[:40]}'"
            source = {"contours": f"{words}, {holes} holes"}
            yield reader, Roi("", tuple(contours), sources=source)


def _grouped(drawn: Sequence[tuple[int, Roi]]) -> tuple[tuple[Roi, ...], ...]:
    """Returns ROIs of one nodule together: spheres of their volumes overlap."""
    sized = []
    for reader, roi in drawn:
        volume = volume_ml(roi)
        if volume > 0.0:
            radius = (3000.0 * volume / (4.0 * math.pi)) ** (1 / 3)
            sized.append((radius, centroid_mm(roi), reader, roi))
    sized.sort(key=lambda one: -one[0])
    groups: list[list[tuple[float, np.ndarray, int, Roi]]] = []
    for one in sized:
        radius, centre, reader, _ = one
        near = lambda group, r=radius, c=centre, n=reader: (
            np.linalg.norm(group[0][1] - c) < group[0][0] + r
            and n not in [other[2] for other in group]
        )
        home = next((group for group in groups if near(group)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return tuple(
        tuple(
            replace(roi, name=f"nodule {number}, reader {reader}")
            for _, _, reader, roi in sorted(group, key=lambda one: one[2])
        )
        for number, group in enumerate(groups, start=1)
    )
