"""Run to weights: python -m launch.publish --config=... --workdir=RUN --name=NAME."""

import sys

from fluoro_jax.cli.commands import run

if __name__ == "__main__":
    sys.exit(run("publish"))
