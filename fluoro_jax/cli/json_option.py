"""The option that writes every number of a command into a file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from fluoro_jax.errors import refuse
from fluoro_jax.io.files import check_writable, expand_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives a verb --json."""
    parser.add_argument("--json", metavar="FILE", help="write every number there")


def json_path(args: argparse.Namespace) -> Path | None:
    """Returns the file of --json, None if it was not given.

    Raises:
        UserError: a folder, a file in a folder that is not there, or one that cannot be
            written.
    """
    if not args.json:
        return None
    out = expand_path(args.json)
    needed = "the name of a file in a folder that is there"
    why = "every number is written into it"
    # `os.path`: the methods of `Path` raise for a name that is too long.
    if os.path.isdir(out):
        fix = f"--json={out / 'numbers.json'}"
        refuse(f"--json {out} is a folder", needed, why, fix)
    if not os.path.isdir(out.parent):
        refuse(f"--json: no folder {out.parent}", needed, why, f"--json={out.name}")
    try:
        check_writable(out)
    except OSError as error:
        refuse(
            f"--json {out}: {error.strerror or error}",
            needed,
            why,
            "give another --json, or change the permissions",
        )
    return out
