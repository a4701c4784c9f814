"""Tumours in a real CT: python -m launch.real_anatomy --model=NAME --workdir=DIR.

With `--config=FILE.py:preset --workdir=RUN` in place of `--model`, those of a run.
"""

import sys

from fluoro_jax.interrupts import acknowledged


def main() -> int:
    """Runs the verb on this process's arguments; returns the exit code."""
    with acknowledged():  # before the imports, which take a second
        from fluoro_jax.cli.commands import run

        return run("real_anatomy")


if __name__ == "__main__":
    sys.exit(main())
