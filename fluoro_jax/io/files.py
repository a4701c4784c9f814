"""Files that appear whole or not at all, and paths as users type them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fluoro_jax.errors import UserError


def expand_path(text: str | Path) -> Path:
    """Returns the path that a user typed, with a leading `~` expanded.

    Shells do not expand the `~` in `--workdir=~/x`.

    >>> expand_path("runs/first").parts
    ('runs', 'first')

    Raises:
        UserError: for an empty text, a null character, or the home
            of an unknown user.
    """
    problem = ""
    if not str(text).strip():
        problem = "an empty path"
    elif "\0" in str(text):
        problem = "a path with a null character"
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        path, problem = Path(), f"no home folder for {str(text).split('/')[0]}"
    if problem:
        raise UserError(
            problem,
            needed="the path of a folder or file",
            why="results are read from and written to it",
            fix="write the whole path, as /home/me/runs",
        )
    return path


def digest_of(path: Path) -> str:
    """Returns a sha256 of a file, or of the names and contents of a folder's files.

    "" for a path that does not exist.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inside = sorted(one for one in path.rglob("*") if one.is_file())
    whole = hashlib.sha256()
    for one in inside:
        whole.update(f"{one.relative_to(path).as_posix()} {digest_of(one)}\n".encode())
    return whole.hexdigest() if inside else ""


def readable(value: Any) -> Any:
    r"""Returns a record whose texts can be written as UTF-8.

    Names of files are bytes: those that are not UTF-8 come as surrogates, which no
    file can hold. They are written as `\xfc`.

    >>> readable({"read": ["M\udcfcller.npz", 1.0]})["read"][0] == r"M\xfcller.npz"
    True

    Args:
        value: a text, or mappings, lists and tuples of texts and other values.
    """
    if isinstance(value, str):
        raw = value.encode("utf-8", sys.getfilesystemencodeerrors())
        return raw.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {readable(key): readable(one) for key, one in value.items()}
    return [readable(v) for v in value] if isinstance(value, list | tuple) else value


def check_writable(path: Path) -> None:
    """Checks that a file can be written, without changing one that is there.

    Another is written beside it and removed; folders that lack are made and removed.

    Raises:
        OSError: the folder cannot be made, or nothing can be written into it.
    """
    folder = path.parent
    # `os.path`: `Path.exists` raises for a name that is too long.
    made = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    trial = path.with_name(f".new-{os.getpid()}-{path.name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    finally:
        for one in made:  # the innermost first
            with contextlib.suppress(OSError):
                one.rmdir()


@contextlib.contextmanager
def beside(*paths: Path, gone: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Yields a temporary path beside each target and renames all of them, or none.

    The temporary files carry the target's suffix, so that libraries that choose a
    format by suffix can write them. On an exception nothing is renamed and what was
    written is removed.

    Args:
        paths: the targets.
        gone: files or folders that are removed when all targets are in place.
    """
    # In the same folder: a rename is atomic only within one file system.
    # With the process's number: two commands may write the same file at once.
    temporary = [path.with_name(f".new-{os.getpid()}-{path.name}") for path in paths]
    gone = list(gone)
    try:
        yield temporary
        if len(paths) == 1 and not gone:
            # Atomic, for readers and if the machine stops: the old file or the new one.
            temporary[0].replace(paths[0])
            return
        with replaced(dict(zip(paths, temporary, strict=True)), gone):
            pass
    finally:
        # After a success the names are gone already; after a failure they go here.
        for fresh in temporary:
            fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced(fresh: Mapping[Path, Path], gone: Iterable[Path] = ()) -> Iterator[None]:
    """Renames files and folders into their places; back again if the body fails.

    Args:
        fresh: by target, the file or folder that is renamed to it.
        gone: files or folders that are removed if the body succeeds.

    Raises:
        OSError: a rename failed, or a folder stands where a file should; everything
            is then as it was.
    """
    for path, new in fresh.items():
        if path.is_dir() and not new.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    there = [path for path in (*fresh, *gone) if os.path.lexists(path)]
    old = {path: _aside(path) for path in there}
    try:
        # The old ones first: on Windows one that is open elsewhere cannot be renamed.
        for path, kept in old.items():
            path.replace(kept)
        for path, new in fresh.items():
            new.replace(path)
        yield
    # BaseException: Ctrl-C must leave no half result either.
    except BaseException:
        _put_back(fresh, old)
        raise
    for kept in old.values():
        with contextlib.suppress(OSError):
            remove(kept)


def _put_back(fresh: Mapping[Path, Path], old: Mapping[Path, Path]) -> None:
    """Undoes the renames of `replaced`, wherever they ended."""
    there = os.path.lexists
    for path, new in fresh.items():
        # Not where the old one has not been moved: `path` is then the old one.
        if there(path) and not there(new) and (path not in old or there(old[path])):
            with contextlib.suppress(OSError):
                path.replace(new)
    for path, kept in old.items():
        # One that cannot be renamed keeps its temporary name, and is not lost.
        if there(kept):
            with contextlib.suppress(OSError):
                kept.replace(path)


def _aside(path: Path) -> Path:
    """Returns a free name beside a path."""
    names = (f".old-{os.getpid()}-{n}-{path.name}" for n in itertools.count())
    # A run that was killed may have left one: it is the user's, and is not replaced.
    return next(one for one in map(path.with_name, names) if not os.path.lexists(one))


def remove(path: Path) -> None:
    """Removes a file, or a folder with its contents, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file so that readers see the old or the new text, never half."""
    with beside(path) as (fresh,):
        fresh.write_text(text, encoding="utf-8")


def write_all(files: Mapping[Path, bytes]) -> None:
    """Writes all files, or none of them."""
    with beside(*files) as fresh:
        for temporary, data in zip(fresh, files.values(), strict=True):
            temporary.write_bytes(data)
