"""Reads the values of flags, which the command line hands over as text."""

from __future__ import annotations

from fluoro_jax.errors import UserError

MOST_DIGITS = 18


def whole_number(name: str, text: str, *, least: int, why: str, example: int) -> int:
    """Returns the whole number that a flag holds.

    Args:
        name: of the flag.
        text: its value.
        least: the smallest number that it may be.
        why: what it is, in words.
        example: a number that passes.

    Raises:
        UserError: if it is none, or less.
    """
    # Python refuses to convert thousands of digits.
    if text.isdecimal() and len(text) <= MOST_DIGITS and int(text) >= least:
        return int(text)
    raise UserError(
        f"--{name}={text}",
        needed=f"a whole number from {least} on, of at most {MOST_DIGITS} digits",
        why=why,
        fix=f"--{name}={example}",
    )
