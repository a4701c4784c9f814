"""The files of a track on request: all or none, and none of an earlier track."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clips import small_clip
from renames import contents, fail_to_rename

from fluoro_jax.errors import UserError
from fluoro_jax.io.clips import ReadClip
from fluoro_jax.io.files import remove
from fluoro_jax.io.tracks import FILES
from fluoro_jax.io.tracks_beside import check_beside, check_inputs, write_beside


def put_earlier_track(out, more_files):
    """A folder as an earlier track left it."""
    out.mkdir()
    record = {"files": list(FILES), "more_files": more_files}
    (out / "run.json").write_text(json.dumps(record))
    for name in ("track.gif", "frames.dcm"):
        (out / name).write_text("earlier")
    (out / "slicer").mkdir()
    (out / "slicer" / "README.txt").write_text("earlier")


def test_files_of_an_earlier_track_do_not_stay_beside_new_ones(tmp_path):
    clip, out = small_clip(), tmp_path / "out"
    put_earlier_track(out, ["frames.dcm", "slicer", "track.gif", "../elsewhere"])
    (tmp_path / "elsewhere").write_text("kept")
    with pytest.raises(UserError, match=r"holds track\.gif already"):
        check_beside(out, ["gif"], overwrite=False)
    # What was tracked is never removed, wherever it lies.
    read = ReadClip(clip, "dicom", (out / "frames.dcm",), {})
    masks = np.asarray(clip.mask)
    keys = {"algorithm": "a", "kinds": ()}
    before = sorted(path.name for path in out.iterdir())
    with (
        pytest.raises(KeyboardInterrupt),
        write_beside(out, read, [], masks, **keys),
    ):
        raise KeyboardInterrupt  # while the results themselves are written
    assert sorted(path.name for path in out.iterdir()) == before
    with write_beside(out, read, [], masks, **keys) as names:
        assert names == []
    left = sorted(path.name for path in out.iterdir())
    assert left == ["frames.dcm", "run.json"] and (tmp_path / "elsewhere").exists()
    put_earlier_track(tmp_path / "other", [])
    with write_beside(tmp_path / "other", read, [], masks, **keys):
        pass
    assert (tmp_path / "other" / "track.gif").exists()  # not listed: not ours


@pytest.mark.parametrize("name", ["slicer", "trackrad"])
def test_a_folder_that_no_track_wrote_is_never_replaced(name, tmp_path):
    (tmp_path / name / "patient").mkdir(parents=True)
    for overwrite in (False, True):  # nobody is told to add --overwrite
        with pytest.raises(UserError, match=f"{name} is no result"):
            check_beside(tmp_path, [name], overwrite=overwrite)
    put_earlier_track(tmp_path / "out", ["slicer", "trackrad"])
    (tmp_path / "out" / "trackrad").mkdir()
    check_beside(tmp_path / "out", [name], overwrite=True)
    # A file there is not what the earlier track wrote.
    remove(tmp_path / "out" / name)
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name} is no result"):
        check_beside(tmp_path / "out", [name], overwrite=True)


@pytest.mark.parametrize(
    ("read", "kinds"),
    [
        ("frames.dcm", ["seg"]),
        ("trackrad/caseA", ["trackrad"]),  # one case of a folder of many
        ("masks.mha", []),  # --frame0
        ("link.dcm", ["sr"]),
    ],
)
def test_what_was_read_is_never_replaced(read, kinds, tmp_path):
    (tmp_path / "frames.dcm").write_text("mine")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "frames.dcm")
    with pytest.raises(UserError, match="is read from"):
        check_inputs(tmp_path, [tmp_path / read], kinds)
    check_inputs(tmp_path, [tmp_path / "clip.dcm"], kinds)
    check_inputs(tmp_path / "out", [tmp_path / read], kinds)


def test_a_failure_leaves_nothing_beside_the_track(tmp_path, monkeypatch, capsys):
    from fluoro_jax.io import tracks_beside

    clip = small_clip()
    read = ReadClip(clip, "mha", (), {})

    def full(*args, **keys):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracks_beside, "write_rt_image", full)
    out, masks = tmp_path / "out", np.asarray(clip.mask)
    keys = {"algorithm": "a", "kinds": ("seg",)}
    with (
        pytest.raises(OSError, match="No space"),
        tracks_beside.write_beside(out, read, [], masks, **keys),
    ):
        pass
    assert not out.exists()


def test_a_rename_that_fails_leaves_the_earlier_files(tmp_path, monkeypatch):
    clip, out = small_clip(), tmp_path / "out"
    put_earlier_track(out, ["slicer", "frames.dcm", "track.gif"])
    read, masks = ReadClip(clip, "mha", (), {}), np.asarray(clip.mask)
    fail_to_rename(monkeypatch, ".new-", "track.gif")
    keys = {"algorithm": "a", "kinds": ("trackrad", "gif")}
    before = contents(out)
    with (
        pytest.raises(PermissionError),
        write_beside(out, read, [], masks, **keys),
    ):
        pass
    assert contents(out) == before
