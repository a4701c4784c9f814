"""Config to table and report: python -m launch.reproduce --config=FILE.py."""

import sys

from fluoro_jax.cli.commands import run

if __name__ == "__main__":
    sys.exit(run("reproduce"))
