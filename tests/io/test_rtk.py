"""RTK's stacks and geometry, against the projection matrix that RTK states itself."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import iec_to_lps, project_point
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.rtk import read_rtk

SIZE, SPACING, ORIGIN = (3, 6, 8), (0.8, 0.5), (-2.6, -1.0)
VALUES = {
    "SourceToIsocenterDistance": 1000.0,
    "SourceToDetectorDistance": 1536.0,
    "GantryAngle": 271.8,
    "ProjectionOffsetX": -117.0,
    "ProjectionOffsetY": -1.5,
    "SourceOffsetX": 0.4,
    "SourceOffsetY": -0.3,
}


def put(folder, *, frames=None, shared=VALUES, each=({},) * 3, direction=None):
    frames = (
        np.arange(144.0, dtype=np.float32).reshape(SIZE) if frames is None else frames
    )
    image = MetaImage(frames, (*SPACING, 1.0), (*ORIGIN, 0.0))
    if direction is not None:
        image.direction = direction
    write_mha(folder / "p.mha", image)
    tags = lambda values: "".join(f"<{k}>{v}</{k}>" for k, v in values.items())
    inner = "".join(f"<Projection>{tags(one)}</Projection>" for one in each)
    (folder / "g.xml").write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n'
        f'<RTKThreeDCircularGeometry version="3">{tags(shared)}{inner}'
        "</RTKThreeDCircularGeometry>\n"
    )
    return folder / "p.mha", folder / "g.xml"


def matrix(values):
    """RTK's matrix, as its documentation writes it, without tilts."""
    get = lambda name: values.get(name, 0.0)
    sx, sy = get("SourceOffsetX"), get("SourceOffsetY")
    sid, sdd = get("SourceToIsocenterDistance"), get("SourceToDetectorDistance")
    shift = np.eye(3)
    shift[:2, 2] = sx - get("ProjectionOffsetX"), sy - get("ProjectionOffsetY")
    beam = np.array([[-sdd, 0, 0, 0], [0, -sdd, 0, 0], [0, 0, 1.0, -sid]])
    move = np.eye(4)
    move[:2, 3] = -sx, -sy
    angle = -np.radians(get("GantryAngle"))
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(angle)
    turn[0, 2], turn[2, 0] = np.sin(angle), -np.sin(angle)
    return shift @ beam @ move @ turn


def test_the_matrix_of_the_documentation():
    """Its example: SID 1000, SDD 1536, first projection."""
    got = matrix(
        {
            **VALUES,
            "GantryAngle": 271.847274780273,
            "ProjectionOffsetX": -117.056503295898,
            "ProjectionOffsetY": -1.01195001602173,
            "SourceOffsetX": 0.0,
            "SourceOffsetY": 0.0,
        }
    )
    want = [
        [-166.5093078829, 0.0, -1531.42837748039, -117056.503295898],
        [-1.01142410874151, -1536.0, 0.0326206557691505, -1011.95001602173],
        [-0.999480303105996, 0.0, 0.0322354417240802, -1000.0],
    ]
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("gantry", [0.0, 90.0, 180.0, 271.8])
def test_points_are_seen_where_rtk_sees_them(gantry, tmp_path):
    values = {**VALUES, "GantryAngle": gantry}
    clip = read_rtk(*put(tmp_path, shared=values), frame_s=0.1)
    # In the plane of the isocentre: a source beside its axis is exact there alone.
    across = np.random.default_rng(0).uniform(-60.0, 60.0, (20, 2))
    sin, cos = np.sin(np.radians(gantry)), np.cos(np.radians(gantry))
    points = np.stack([across[:, 0] * cos, across[:, 1], -across[:, 0] * sin], axis=1)
    seen = np.c_[points, np.ones(20)] @ matrix(values).T
    index = (seen[:, :2] / seen[:, 2:] - ORIGIN) / SPACING
    want = np.stack([SIZE[1] - 1 - index[:, 1], index[:, 0]], axis=1)
    got = project_point(clip.geometry, np.asarray(iec_to_lps(points)))
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_frames_are_turned_superior_up(tmp_path):
    frames = np.zeros(SIZE, np.float32)
    frames[1, 0, 2] = 1.0  # RTK's first row: the most inferior
    clip = read_rtk(*put(tmp_path, frames=frames), frame_s=0.25, domain="counts")
    assert np.argwhere(clip.frames).tolist() == [[1, SIZE[1] - 1, 2]]
    assert clip.domain == "counts" and clip.time_s.tolist() == [0.0, 0.25, 0.5]
    assert clip.geometry.pixel_mm == (0.5, 0.8)


def test_what_projections_say_wins_over_what_they_share(tmp_path):
    each = [{"GantryAngle": angle} for angle in (359.9, 0.1, 0.0)]
    clip = read_rtk(*put(tmp_path, each=each), frame_s=0.1)
    assert min(clip.geometry.gantry_deg, 360.0 - clip.geometry.gantry_deg) < 0.2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"each": ({},) * 2}, "2 projections"),
        ({"each": [{"GantryAngle": a} for a in (10.0, 11.0, 12.0)]}, "from 10 to 12"),
        ({"shared": {**VALUES, "InPlaneAngle": 2.0}}, "InPlaneAngle 2"),
        ({"shared": {**VALUES, "SourceOffsetX": 3.0}}, "SourceOffsetX 3"),
        ({"shared": {**VALUES, "SourceToDetectorDistance": 0.0}}, "Distance 0 mm"),
        ({"shared": {**VALUES, "RadiusCylindricalDetector": 9.0}}, "cylindrical"),
        ({"shared": {**VALUES, "GantryAngle": "north"}}, "'north'"),
        ({"frames": np.full(SIZE, np.nan, np.float32)}, "not finite"),
        ({"direction": np.diag([1.0, -1.0, 1.0])}, "directions"),
    ],
)
def test_what_is_no_clip_is_refused(change, found, tmp_path):
    with pytest.raises(UserError) as caught:
        read_rtk(*put(tmp_path, **change), frame_s=0.1)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and found in lines[0]


@pytest.mark.parametrize("text", ["", "<a/>", "<a>", '<!DOCTYPE a [<!ENTITY b "c">]>'])
def test_a_file_that_is_no_geometry_is_refused(text, tmp_path):
    projections, geometry = put(tmp_path)
    geometry.write_text(text)
    with pytest.raises(UserError):
        read_rtk(projections, geometry, frame_s=0.1)
    with pytest.raises(UserError, match="no file"):
        read_rtk(projections, tmp_path / "none.xml", frame_s=0.1)
    with pytest.raises(UserError, match="domain 'x'"):
        read_rtk(projections, geometry, frame_s=0.1, domain="x")
