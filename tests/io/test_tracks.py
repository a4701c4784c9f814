"""The three files of a track, the page beside them, and where they may be written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clips import small_clip
from renames import contents, fail_to_rename

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.io.tracks import FILES, PAGE, RESULTS, check_out, write_tracks


def write(folder, **keys):
    clip = small_clip()
    masks = np.asarray(clip.mask, np.uint8)
    rows = [
        (Track(t, np.ones(2), np.ones(2), masks[t], 0.9, "ok"), 1.0) for t in range(3)
    ]
    write_tracks(folder, clip, rows, masks=masks, run={"model": "new"}, **keys)


def put(folder, record):
    """A page and its results, beside a track's record or another program's."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    for name in (PAGE, RESULTS, *FILES[:2]):
        (folder / name).write_text(f"old {name}")


@pytest.mark.parametrize("pixels_only", [False, True])
def test_the_page_of_an_earlier_track_goes_with_its_results(
    pixels_only, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    put(out, {"files": list(FILES)})
    before = contents(out)
    with monkeypatch.context() as patch:
        fail_to_rename(patch, ".new-", "masks.mha")
        with pytest.raises(PermissionError):
            write(out, pixels_only=pixels_only)
    assert contents(out) == before
    write(out, pixels_only=pixels_only)
    assert sorted(contents(out)) == sorted(FILES)


def test_the_page_of_another_run_stays(tmp_path):
    put(tmp_path / "study", {"config": "quickstart"})
    write(tmp_path / "study", pixels_only=True)
    left = contents(tmp_path / "study")
    assert left[PAGE] == f"old {PAGE}".encode() and RESULTS in left


@pytest.mark.parametrize("name", [PAGE, RESULTS])
def test_the_page_of_another_run_is_not_replaced_unasked(name, tmp_path):
    (tmp_path / name).write_text("of a study")
    with pytest.raises(UserError, match=f"holds {name} already"):
        check_out(tmp_path, overwrite=False)
    check_out(tmp_path, overwrite=True)


def test_a_folder_in_a_files_place_is_refused_before_tracking(tmp_path):
    (tmp_path / "masks.mha").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_out(tmp_path, overwrite=True)


@pytest.mark.parametrize("name", ["file/out", "n" * 300, "deep/er/out"])
def test_a_folder_that_cannot_be_made_is_refused_before_tracking(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    if name.startswith("deep"):
        check_out(tmp_path / name, overwrite=False)
    else:
        with pytest.raises(UserError, match=r"--out .*: (Not a dir|File name too)"):
            check_out(tmp_path / name, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
