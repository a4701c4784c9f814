"""Trackers on scenarios: python -m launch.compare --config=... --workdir=DIR."""

import sys

from fluoro_jax.interrupts import acknowledged


def main() -> int:
    """Runs the verb on this process's arguments; returns the exit code."""
    with acknowledged():  # before the imports, which take a second
        from fluoro_jax.cli.commands import run

        return run("compare")


if __name__ == "__main__":
    sys.exit(main())
