"""Options of `fluoro simulate`. Imports no JAX, so that --help is quick."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

from fluoro_jax.config_rules import LONGEST_FRAME_S
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import expand_path

BREATHING = ("cycle", "irregular", "trace:quiet", "trace:irregular")
SHAPES = ("sphere", "ellipsoid", "lobulated", "spiculated", "mixed")
PICTURES = ("gif", "webp")
PANELS = ("varian", "elekta")
DEFAULT_ROWS, DEFAULT_VOXEL_MM = 128, 3.0
# Named alike in both, so that `study_spec` can copy them.
SPEC_KEYS = (  # options that stand for keys of a config's `study`
    "rows",
    "cols",
    "detector_mm",
    "gantry_deg",
    "voxel_mm",
    "photons",
    "num_frames",
    "frame_s",
)


@dataclass(frozen=True)
class Options:
    """A command line, read but not yet checked; None takes the config's value."""

    out: Path
    cases: int = 4
    seed: int = 0
    config: str | None = None
    overrides: tuple[str, ...] = ()
    rows: int | None = None
    cols: int | None = None
    detector_mm: float | None = None
    gantry_deg: float | None = None
    voxel_mm: float | None = None
    photons: float | None = None
    num_frames: int | None = None
    frame_s: float | None = None
    breathing: str = "cycle"
    heartbeat: bool = True
    shape: str = "sphere"
    diameter_mm: float | None = None
    density_g_cc: float = 1.06
    kvp: float | None = None
    mas: float | None = None
    panel: str = "varian"
    picture: str = "gif"
    overwrite: bool = False
    quiet: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options, in groups."""
    _add_case_arguments(parser)
    _add_clip_arguments(parser)
    machine = parser.add_argument_group(
        "X-ray machine", "off by default: ideal line integrals at 60 keV"
    )
    machine.add_argument(
        "--kvp", type=float, help="tube voltage, 60 to 120; switches on"
    )
    machine.add_argument("--mas", type=float, help="charge of a frame (default 0.4)")
    machine.add_argument(
        "--panel", default="varian", help=_one_of(PANELS) + ", at the view's SDD"
    )
    files = parser.add_argument_group("files")
    files.add_argument("-o", "--out", metavar="DIR", help="where cases go (required)")
    files.add_argument("--overwrite", action="store_true", help="replace cases there")
    files.add_argument("--picture", default="gif", help=_one_of(PICTURES))
    files.add_argument("--quiet", action="store_true", help="no progress")
    files.add_argument("--debug", action="store_true", help="show the traceback")


def _add_case_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what")
    what.add_argument("--cases", type=int, default=4, help="how many (default 4)")
    what.add_argument("--seed", type=int, default=0, help="of everything (default 0)")
    what.add_argument("--breathing", default="cycle", help=_one_of(BREATHING))
    what.add_argument(
        "--no-heartbeat",
        dest="heartbeat",
        action="store_false",
        help="keep the heart still, so that a clip of one breath repeats exactly",
    )
    what.add_argument("--shape", default="sphere", help=_one_of(SHAPES))
    what.add_argument(
        "--diameter-mm", type=float, help="5 to 60 (default: 20 to 40, drawn)"
    )
    what.add_argument(
        "--density-g-cc",
        type=float,
        default=1.06,
        help="of the tumour: 0.45 ground-glass, 0.75 part-solid, 1.06 solid (default)",
    )


def _add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    frames = parser.add_argument_group("clip")
    frames.add_argument(
        "--config",
        metavar="FILE[:PRESET]",
        help="clip of a config's `study`; --config.study.KEY=VALUE may follow",
    )
    frames.add_argument(
        "--rows", type=int, help=f"of the frame (default {DEFAULT_ROWS})"
    )
    frames.add_argument("--cols", type=int, help="of the frame (default: as rows)")
    frames.add_argument("--detector-mm", type=float, help="panel's side (default 480)")
    frames.add_argument("--gantry-deg", type=float, help="IEC angle (default 0: AP)")
    frames.add_argument(
        "--voxel-mm", type=float, help=f"of the patient (default {DEFAULT_VOXEL_MM:g})"
    )
    frames.add_argument(
        "--photons",
        type=float,
        help="unattenuated quanta a pixel; 0, the default, is noiseless",
    )
    frames.add_argument("--num-frames", type=int, help="of a clip (default 10)")
    frames.add_argument("--frame-s", type=float, help="between frames (default 0.5)")


def options_from(args: argparse.Namespace, rest: list[str]) -> Options:
    """Returns the options; `rest` is what argparse did not know.

    Raises:
        UserError: for a missing folder, unknown words, or values that cannot be.
    """
    overrides = tuple(word for word in rest if word.startswith("--config."))
    unknown = [word for word in rest if word not in overrides]
    known = {field.name for field in fields(Options)} - {"overrides"}
    if unknown:
        from fluoro_jax.errors import nearest

        word = unknown[0].split("=")[0]
        flags = [f"--{name.replace('_', '-')}" for name in sorted(known)]
        close = nearest(word, flags)
        raise UserError(
            f"{word!r} on the command line",
            needed="an option of `fluoro simulate`",
            why="nothing reads it, so it would do nothing",
            fix=f"did you mean {close}?" if close else "see fluoro simulate --help",
        )
    if not args.out:
        raise UserError(
            "no --out",
            needed="--out DIR, the folder that the cases go into",
            why="every case is a folder of files",
            fix="add --out simulated",
        )
    values = {name: getattr(args, name) for name in known}
    options = Options(
        **{**values, "out": expand_path(args.out), "overrides": overrides}
    )
    _check(options)
    return options


def _check(options: Options) -> None:
    if options.overrides and not options.config:
        raise UserError(
            f"{options.overrides[0]} without --config",
            needed="--config=FILE.py before it",
            why="there is no config whose key it could change",
            fix="add --config=configs/paper_group.py, or use --rows and its like",
        )
    if options.cases < 1:
        raise UserError(
            f"--cases {options.cases}",
            needed="at least 1",
            why="without a case there is nothing to simulate",
            fix="--cases 4",
        )
    if not 0 <= options.seed < 2**32:
        raise UserError(
            f"--seed {options.seed}",
            needed="from 0 to 4294967295",
            why="random numbers start from an unsigned 32-bit number",
            fix="--seed 0",
        )
    if options.frame_s is not None and options.frame_s > LONGEST_FRAME_S:
        raise UserError(
            f"--frame-s {options.frame_s:g}",
            needed=f"at most {LONGEST_FRAME_S:g}",
            why="a breath takes 2.5 to 6 s, so such frames would show none",
            fix="--frame-s 0.5",
        )
    _check_machine(options)
    for name, known in (
        ("breathing", BREATHING),
        ("shape", SHAPES),
        ("panel", PANELS),
        ("picture", PICTURES),
    ):
        value = getattr(options, name)
        if value not in known:
            from fluoro_jax.config import nearest

            close = nearest(value, known)
            raise UserError(
                f"--{name} {value}",
                needed="one of " + ", ".join(known),
                why="only these are implemented",
                fix=f"did you mean --{name} {close}?"
                if close
                else f"--{name} {known[0]}, the default",
            )


def _check_machine(options: Options) -> None:
    if options.kvp is None and options.mas is not None:
        raise UserError(
            f"--mas {options.mas:g} without --kvp",
            needed="--kvp, which switches the X-ray machine on",
            why="a charge gives quanta only with a spectrum",
            fix="add --kvp 80, or use --photons for quanta at 60 keV",
        )
    if options.kvp is not None and options.photons is not None:
        raise UserError(
            "--photons and --kvp are both given",
            needed="one of them",
            why="each alone says how many quanta a pixel gets",
            fix="leave --photons out; --mas sets the quanta",
        )


def _one_of(known: tuple[str, ...]) -> str:
    return "one of " + ", ".join(known) + f" (default {known[0]})"
