"""On new patients: python -m launch.new_patients --config=... --workdir=RUN."""

import sys

from fluoro_jax.interrupts import acknowledged


def main() -> int:
    """Runs the verb on this process's arguments; returns the exit code."""
    with acknowledged():  # before the imports, which take a second
        from fluoro_jax.cli.commands import run

        return run("new_patients")


if __name__ == "__main__":
    sys.exit(main())
