"""Options that state numbers of a clip; they win over what its files say."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fluoro_jax.io.overrides import DOMAINS, Overrides

NUMBERS = {
    "sad_mm": ("--sad-mm", "source to isocentre"),
    "sdd_mm": ("--sdd-mm", "source to detector (SID)"),
    "gantry_deg": ("--gantry-deg", "IEC angle of the imaging source; 0 is anterior"),
    "kv_offset_deg": ("--kv-offset-deg", "added to the gantry angle of the file"),
    "fps": ("--fps", "frames a second"),
    "open_beam": ("--open-beam", "reading without a patient: counts become -ln"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, in a group of their own."""
    group = parser.add_argument_group(
        "stated numbers", "win over the clip's files; run.json says so"
    )
    group.add_argument(
        "--pixel-mm",
        type=float,
        nargs=2,
        metavar=("ROW", "COL"),
        help="pixel pitch at the detector, vertical and horizontal",
    )
    for name, (flag, words) in NUMBERS.items():
        group.add_argument(flag, dest=name, type=float, metavar="X", help=words)
    group.add_argument("--domain", metavar="D", help="one of " + ", ".join(DOMAINS))
    group.add_argument(
        "--invert", action="store_true", help="the file's polarity is wrong"
    )


def stated_from(args: argparse.Namespace) -> Overrides:
    """Returns what was stated.

    Raises:
        UserError: for a number that no fluoroscopy has, or an unknown domain.
    """
    pixel_mm = None if args.pixel_mm is None else (args.pixel_mm[0], args.pixel_mm[1])
    numbers = {name: getattr(args, name) for name in NUMBERS}
    return Overrides(
        pixel_mm=pixel_mm,
        domain=args.domain,
        invert=args.invert,
        pixels_only=getattr(args, "pixels_only", False),  # of `fluoro track` alone
        **numbers,
    )


def as_words(stated: Overrides) -> list[str]:
    """Returns the options that state these numbers again.

    >>> as_words(Overrides(pixel_mm=(0.4, 0.3), fps=15.0, invert=True))
    ['--pixel-mm', '0.4', '0.3', '--fps=15.0', '--invert']
    """
    words = []
    for name, value in stated.given().items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [flag, *map(str, value)]
        else:
            # One word: argparse takes "-1e-05" by itself for an option.
            words.append(flag if value is True else f"{flag}={value}")
    return words


def from_words(words: Sequence[str]) -> Overrides:
    """Returns the numbers that a command's words state, whatever else they say.

    >>> words = as_words(Overrides(pixel_mm=(0.4, 0.3), gantry_deg=-1e-5))
    >>> from_words(["fluoro", "track", "clip.dcm", *words]).gantry_deg
    -1e-05

    Raises:
        UserError: for a number that no fluoroscopy has.
        argparse.ArgumentError: for a text that is no number.
    """
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False
    )
    add_arguments(parser)
    return stated_from(parser.parse_known_args(list(words))[0])
