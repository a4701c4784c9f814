"""A geometry.json beside a DICOM clip gives what the tags lack, and no more."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from dicoms import PIXELS, put, put_singles

from fluoro_jax.errors import UserError
from fluoro_jax.io.dicom.supplied import sidecar_of
from fluoro_jax.io.overrides import Overrides
from fluoro_jax.io.read_clip import read_clip_with_sources

WHOLE = {
    "sad_mm": 990.0,
    "sdd_mm": 1490.0,
    "gantry_deg": 176.0,
    "pixel_mm": [0.41, 0.31],
    "offset_mm": [2.0, -3.0],
    "frame_s": 0.2,
}
TAGS = ("DistanceSourceToPatient", "DistanceSourceToDetector", "ImagerPixelSpacing")


def beside(folder, name="geometry.json", **values):
    path = folder / name
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def read(path, **stated):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_clip_with_sources(path, Overrides(**stated))


def bare(folder):
    """An XA file without view and times."""
    absent = dict.fromkeys((*TAGS, "PositionerPrimaryAngle", "FrameTime"))
    return put(folder, "XA", **absent)


def test_everything_that_the_tags_lack_is_taken_with_its_source(tmp_path):
    path, file = bare(tmp_path), beside(tmp_path, **WHOLE)
    found = read(path)
    view = found.clip.geometry
    assert (view.sad_mm, view.sdd_mm, view.gantry_deg) == (990.0, 1490.0, 176.0)
    assert (view.pixel_mm, view.offset_mm) == ((0.41, 0.31), (2.0, -3.0))
    np.testing.assert_allclose(np.diff(found.clip.time_s), 0.2)
    names = ("sad_mm", "sdd_mm", "gantry_deg", "pixel_mm", "offset_mm", "time_s")
    assert {found.sources[name] for name in names} == {str(file)}
    assert found.sources["domain"].startswith("(0028,1040)")


def test_a_tag_wins_and_a_note_says_so(tmp_path):
    path = put(tmp_path, "XA")
    alone = read(path)
    beside(tmp_path, **WHOLE, domain="log", periodic=False)
    found = read(path)
    # But for where the panel was, which these tags do not say.
    assert found.clip.geometry == alone.clip.geometry.replace(offset_mm=(2.0, -3.0))
    np.testing.assert_array_equal(found.clip.time_s, alone.clip.time_s)
    notes = "; ".join(found.notes)
    for name in ("sad_mm 990", "sdd_mm 1490", "gantry_deg 176", "pixel_mm", "frame_s"):
        assert f"geometry.json: {name}" in notes, name
    assert "domain log is not used" in notes and "periodic not used" in notes
    assert "give --sad-mm to use it" in notes


def test_the_same_numbers_are_no_news(tmp_path):
    same = {"sad_mm": 1000, "pixel_mm": [0.4, 0.3], "frame_s": 0.1, "gantry_deg": -180}
    path = put(tmp_path, "XA")
    before = read(path).notes
    beside(tmp_path, **same)
    assert read(path).notes == before


def test_a_flag_wins_over_both(tmp_path):
    path = bare(tmp_path)
    beside(tmp_path, **WHOLE)
    found = read(path, sad_mm=1001.0, fps=20.0)
    assert found.clip.geometry.sad_mm == 1001.0
    assert found.sources["sad_mm"] == "flag --sad-mm"
    assert found.sources["time_s"] == "flag --fps"


def test_an_open_beam_makes_line_integrals_of_counts(tmp_path):
    path = put(tmp_path, "XA")
    file = beside(tmp_path, domain="counts", open_beam=5000.0)
    found = read(path)
    np.testing.assert_allclose(found.clip.frames, -np.log(PIXELS / 5000.0), rtol=1e-5)
    assert found.clip.domain == "log" and str(file) in found.sources["domain"]
    beside(tmp_path, domain="log", open_beam=5000.0)
    found = read(path)
    assert "domain log is not used" in "; ".join(found.notes)


def test_grey_levels_take_their_unit(tmp_path):
    path = put(
        tmp_path,
        "XA",
        PixelIntensityRelationship="DISP",
        PixelIntensityRelationshipSign=-1,
    )
    assert read(path).clip.domain == "display"
    file = beside(tmp_path, domain="log", open_beam=3.0)
    found = read(path)
    assert found.clip.domain == "log" and str(file) in found.sources["domain"]
    assert "open_beam not used, frames are log" in "; ".join(found.notes)


def test_which_file_belongs_to_which_clip(tmp_path):
    assert sidecar_of(tmp_path / "a.dcm") is None
    shared = beside(tmp_path)
    own = beside(tmp_path, "a.geometry.json")
    assert sidecar_of(tmp_path / "a.dcm") == own
    assert sidecar_of(tmp_path / "1.2.3") == shared
    assert sidecar_of(tmp_path) == shared
    singles = put_singles(tmp_path / "s", RadiationMachineSAD=None)
    beside(singles if singles.is_dir() else tmp_path / "s", offset_mm=[1.0, 2.0])
    assert read(tmp_path / "s").clip.geometry.offset_mm == (1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "found"),
    [({"sad": 1.0}, "unknown key 'sad'"), ({"sad_mm": "1000"}, 'sad_mm = "1000"')],
)
def test_a_damaged_file_is_refused(values, found, tmp_path):
    path = put(tmp_path, "XA")
    beside(tmp_path, **values)
    with pytest.raises(UserError) as caught:
        read(path)
    assert found in str(caught.value) and len(str(caught.value).splitlines()) == 4
