"""Trains a config: python -m launch.train --config=FILE.py[:preset] --workdir=DIR."""

from fluoro_jax.interrupts import acknowledged, exit_with


def main() -> int:
    """Runs the verb on this process's arguments; returns the exit code."""
    with acknowledged():  # before the imports, which take a second
        from fluoro_jax.cli.commands import run

        return run("train")


if __name__ == "__main__":
    exit_with(main())
