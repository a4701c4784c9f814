"""How sure a network is: python -m launch.confidence --config=... --model=NAME."""

import sys

from fluoro_jax.interrupts import acknowledged


def main() -> int:
    """Runs the verb on this process's arguments; returns the exit code."""
    with acknowledged():  # before the imports, which take a second
        from fluoro_jax.cli.commands import run

        return run("confidence")


if __name__ == "__main__":
    sys.exit(main())
