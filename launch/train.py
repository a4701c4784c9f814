"""Trains a config: python -m launch.train --config=FILE.py[:preset] --workdir=DIR."""

import sys

from fluoro_jax.cli.commands import run

if __name__ == "__main__":
    sys.exit(run("train"))
