"""Scores a trained run: python -m launch.evaluate --config=FILE.py --workdir=DIR."""

import sys

from fluoro_jax.cli.commands import run

if __name__ == "__main__":
    sys.exit(run("evaluate"))
