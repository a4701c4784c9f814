"""The form of every error message: found, needed, why, fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn


class UserError(ValueError):
    """An error caused by user input; shown as four lines, exit code 2, no traceback.

    Args:
        found: what was found and where, for example "gen.levels = 7 in base.py".
        needed: what would have been accepted.
        why: the reason behind the rule.
        fix: what to type or change now.
    """

    def __init__(self, found: str, *, needed: str, why: str, fix: str) -> None:
        self.found, self.needed, self.why, self.fix = found, needed, why, fix
        super().__init__(
            f"ERROR   {found}\n  needed  {needed}\n  why     {why}\n  fix     {fix}"
        )


def refuse(found: str, needed: str, why: str, fix: str) -> NoReturn:
    """Raises the `UserError` of these four lines."""
    raise UserError(found, needed=needed, why=why, fix=fix)


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Returns the known word most similar to this one, or None."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return close[0] if close else None
