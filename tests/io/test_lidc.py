"""LIDC reader XML: readers of one nodule together, hostile files refused."""

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.io.contours import centroid_mm, volume_ml
from fluoro_jax.io.lidc import read_lidc

PLACE = {"pixel_mm": (0.8, 0.5), "origin_mm": (-100.0, -90.0)}


def edge(radius, centre):
    angle = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    x = np.round(centre[0] + radius / 0.5 * np.cos(angle))
    y = np.round(centre[1] + radius / 0.8 * np.sin(angle))
    points = zip(x.astype(int), y.astype(int), strict=True)
    return "".join(
        f"<edgeMap><xCoord>{a}</xCoord><yCoord>{b}</yCoord></edgeMap>"
        for a, b in points
    )


def nodule(name, radius, centre, heights):
    rois = "".join(
        f"<roi><imageZposition>{z} </imageZposition><inclusion>TRUE</inclusion>"
        f"{edge(radius, centre)}</roi>"
        for z in heights
    )
    return f"<unblindedReadNodule><noduleID>{name}</noduleID>{rois}" + (
        "</unblindedReadNodule>"
    )


def point(x):
    return (
        "<unblindedReadNodule><noduleID>p</noduleID><roi><imageZposition>3"
        f"</imageZposition><edgeMap><xCoord>{x}</xCoord><yCoord>2</yCoord>"
        "</edgeMap></roi></unblindedReadNodule>"
    )


def write(path, *readers):
    sessions = "".join(f"<readingSession>{text}</readingSession>" for text in readers)
    path.write_text(
        f'<?xml version="1.0"?><LidcReadMessage xmlns="http://www.nih.gov">{sessions}'
        "</LidcReadMessage>"
    )
    return path


HEIGHTS = (-5.0, -2.5, 0.0, 2.5, 5.0)


def test_readers_of_one_nodule_are_grouped(tmp_path):
    small = nodule("b", 4.0, (300, 40), HEIGHTS)
    path = write(
        tmp_path / "a.xml",
        nodule("a", 8.0, (100, 60), HEIGHTS) + point(5),
        small + nodule("x", 9.0, (103, 60), HEIGHTS),
        point(7),
    )
    found = read_lidc(path, **PLACE)
    assert [[roi.name for roi in group] for group in found] == [
        ["nodule 1, reader 1", "nodule 1, reader 2"],
        ["nodule 2, reader 2"],
    ]
    first = found[0][0]
    np.testing.assert_allclose(centroid_mm(first), (-50.0, -42.0, 0.0), atol=0.1)
    assert volume_ml(first) == pytest.approx(np.pi * 64.0 * 12.5e-3, rel=0.03)
    assert "nodule 'a'" in first.sources["contours"]


def test_pixels_need_a_size(tmp_path):
    path = write(tmp_path / "a.xml", nodule("a", 8.0, (100, 60), HEIGHTS))
    with pytest.raises(UserError, match="no pixel size"):
        read_lidc(path)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "a document type of its own"),
        ("<LidcReadMessage><", "no XML"),
        ('<?xml version="1.0" encoding="none"?><a/>', "no XML"),
        ("<IdriReadMessage/>", "an XML of 'IdriReadMessage'"),
        ("<LidcReadMessage/>", "no contoured nodule"),
        ("", "0 bytes"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_lidc(tmp_path / "a.xml", **PLACE)


def test_coordinates_must_be_numbers(tmp_path):
    path = write(tmp_path / "a.xml", point("nan"))
    with pytest.raises(UserError, match="xCoord"):
        read_lidc(path, **PLACE)
    with pytest.raises(UserError, match="no file"):
        read_lidc(tmp_path / "b.xml", **PLACE)
