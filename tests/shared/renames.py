"""Renames that fail, and what a folder holds before and after."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by path."""
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in every}


def fail_to_rename(monkeypatch, prefix: str, name: str) -> None:
    """`Path.replace` fails, as on Windows, for names of this beginning and end."""
    usual = Path.replace

    def replace(self, target):
        if self.name.startswith(prefix) and self.name.endswith(name):
            raise PermissionError(13, "Permission denied", str(self))
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", replace)
