"""Several files appear together or not at all, and none of the user's is lost."""

from __future__ import annotations

import os

import pytest
from renames import contents, fail_to_rename

from fluoro_jax.io.files import (
    beside,
    check_writable,
    readable,
    replaced,
    write_all,
    write_text,
)

NAMES = ("a.csv", "b.mha", "c.json")


def put_old(folder):
    for name in (*NAMES[:2], "page.html"):
        (folder / name).write_text(f"old {name}")
    return contents(folder)


def write_new(folder, gone=()):
    with beside(*(folder / name for name in NAMES), gone=gone) as fresh:
        for path in fresh:
            path.write_text("new")


@pytest.mark.parametrize("prefix", [".new-", ""])
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_rename_that_fails_changes_nothing(prefix, name, tmp_path, monkeypatch):
    before = put_old(tmp_path)
    fail_to_rename(monkeypatch, prefix or name, name)
    with pytest.raises(PermissionError):
        write_new(tmp_path, [tmp_path / "page.html"])
    with pytest.raises(PermissionError):
        write_all({tmp_path / one: b"new" for one in NAMES})
    assert contents(tmp_path) == before


def test_all_are_renamed_and_what_is_old_is_removed(tmp_path):
    put_old(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / f".old-{os.getpid()}-0-a.csv").write_text("of a run that was killed")
    write_new(tmp_path, [tmp_path / "page.html", tmp_path / "sub"])
    left = contents(tmp_path)
    assert left.pop(f".old-{os.getpid()}-0-a.csv") == b"of a run that was killed"
    assert left == dict.fromkeys(NAMES, b"new") and not (tmp_path / "sub").exists()


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    put_old(tmp_path)
    (tmp_path / NAMES[2] / "mine").mkdir(parents=True)
    before = contents(tmp_path)
    with pytest.raises(IsADirectoryError):
        write_new(tmp_path)
    assert contents(tmp_path) == before and (tmp_path / NAMES[2] / "mine").is_dir()


def test_a_body_that_fails_takes_folders_back(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    before = contents(tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        replaced({tmp_path / "old": tmp_path / "new"}),
    ):
        assert (tmp_path / "old" / "file").read_text() == "new"
        raise KeyboardInterrupt
    assert contents(tmp_path) == before


def test_one_file_is_replaced_at_once(tmp_path, monkeypatch):
    put_old(tmp_path)
    fail_to_rename(monkeypatch, NAMES[0], NAMES[0])  # the old one is never moved away
    write_text(tmp_path / NAMES[0], "new")
    assert (tmp_path / NAMES[0]).read_text() == "new"


def test_texts_that_are_no_utf8_can_be_written():
    name = os.fsdecode(b"M\xfcller.npz")
    record = readable({"read": [name, "Müller"], "at": (name, 1.5), name: None})
    assert record == {
        "read": ["M\\xfcller.npz", "Müller"],
        "at": ["M\\xfcller.npz", 1.5],
        "M\\xfcller.npz": None,
    }


def test_a_trial_leaves_nothing(tmp_path):
    before = put_old(tmp_path)
    check_writable(tmp_path / NAMES[0])
    check_writable(tmp_path / "new" / "er" / "a.csv")
    for bad in (tmp_path / NAMES[0] / "x" / "a.csv", tmp_path / ("n" * 300) / "a.csv"):
        with pytest.raises(OSError):
            check_writable(bad)
    assert contents(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == set(before)
