"""Files that appear whole or not at all, and paths as users type them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

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


@contextlib.contextmanager
def beside(*paths: Path) -> Iterator[list[Path]]:
    """Yields a temporary path beside each target and renames them on success.

    The temporary files carry the target's suffix, so that libraries that choose a
    format by suffix can write them. On an exception nothing is renamed and what was
    written is removed.
    """
    # In the same folder: a rename is atomic only within one file system.
    # With the process's number: two commands may write the same file at once.
    temporary = [path.with_name(f".new-{os.getpid()}-{path.name}") for path in paths]
    try:
        yield temporary
        for fresh, path in zip(temporary, paths, strict=True):
            # `replace`, not `rename`: on every platform it takes the place of an older
            # file.
            fresh.replace(path)
    finally:
        # After a success the names are gone already; after a failure they go here.
        for fresh in temporary:
            fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file so that readers see the old or the new text, never half."""
    with beside(path) as (fresh,):
        fresh.write_text(text, encoding="utf-8")


def write_all(files: Mapping[Path, bytes]) -> None:
    """Writes all files, then renames them one after the other."""
    with beside(*files) as fresh:
        for temporary, data in zip(fresh, files.values(), strict=True):
            temporary.write_bytes(data)
