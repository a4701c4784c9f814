"""`fluoro demo`: a clip of a real CT, tracked by its own network, as a page."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path, readable

DOES = "track the example patient and open the page: one minute, no network"
EPILOG = """The package holds a real chest CT (LIDC-IDRI-0001, CC BY 3.0) without its
nodule, the nodule by itself, a recorded breath, and a network that `fluoro fit` made of
that CT. The clip is simulated from them; DIR receives it, the track and the page.
Research software. Not a medical device. Not for clinical use."""
CLIP, TRACKED = "clip", "tracked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument(
        "-o",
        "--out",
        metavar="DIR",
        default="fluoro_demo",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--no-open", action="store_true", help="do not open the page in a browser"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def demo(args: argparse.Namespace) -> None:
    """Writes the clip, tracks it and opens the page.

    Raises:
        UserError: a folder that holds something else already.
    """
    out = expand_path(args.out)
    _check(out)
    import numpy as np

    from fluoro_jax.cli.track import Options, track
    from fluoro_jax.geometry import iso_pixel_mm
    from fluoro_jax.io.sidecar import write_sidecar
    from fluoro_jax.io.trackrad import TrackRadCase, write_trackrad
    from fluoro_jax.patient.demo import EXAMPLE, FRAME_S, example_clip
    from fluoro_jax.stages import stage

    with stage("make the CT breathe and take its X-ray frames"):
        clip = example_clip()
    frames, labels = np.asarray(clip.frames), np.asarray(clip.mask)
    pixel_mm = iso_pixel_mm(clip.geometry)
    case = TrackRadCase(frames, 1.0 / FRAME_S, pixel_mm, labels)
    write_trackrad(out / CLIP, case)
    write_sidecar(out / CLIP / "geometry.json", clip)
    track(Options(out / CLIP, str(EXAMPLE), out / TRACKED, overwrite=True))
    page = out / TRACKED / "report.html"
    print(readable(str(page)))
    if not args.no_open and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())


def _check(out: Path) -> None:
    """Refuses a folder with anything but an earlier demo in it."""
    if out.exists() and (
        not out.is_dir() or {p.name for p in out.iterdir()} - {CLIP, TRACKED}
    ):
        refuse(
            f"{out} is no earlier demo",
            "a new folder, or that of an earlier demo",
            "its files would be mixed with others",
            f"--out={out}-2",
        )
