"""`fluoro models`: the weights of the package, and what their cards say."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from fluoro_jax.errors import refuse

DOES = "list the trained weights, or show the card of one"
EPILOG = """`fluoro models list` (or no word at all) lists all weights of the package;
`fluoro models show NAME`, where NAME may be the folder of a fit too, shows the card:
what it was trained on, how it was tested, its limits. Research software. Not a medical
device. Not for clinical use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument(
        "words",
        metavar="list | show NAME",
        nargs="*",
        help="list all weights (default), or show the card of one",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def models(args: argparse.Namespace) -> None:
    """Prints a line a model, or one card.

    Raises:
        UserError: no such weights, a card that was changed, or words that say neither
            list nor show.
    """
    # Cards alone: building the networks of all weights takes seconds.
    from fluoro_jax.zoo import cards, find

    if asked := _asked(args.words):
        name, folder = find(asked)
        card, _ = cards.read(name, folder=folder)
        if args.json:
            print(json.dumps(card, indent=1))
            return
        from fluoro_jax.zoo.card import card_markdown

        print(card_markdown(card))
        return
    every = [cards.read(name)[0] for name in cards.names()]
    rows = [{**_facts(card), "stale": cards.stale(card)} for card in every]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        old = "; its numbers are stale" * bool(row["stale"])
        print(
            f"{row['name']:<14} study {row['study']}, {row['frame']} pixels of "
            f"{row['pixel_iso_mm']:.2f} mm, {row['frame_s']:g} s apart, "
            f"{row['parameters'] / 1e6:.2f} M parameters, {row['mb']:.1f} MB{old}"
        )


def _asked(words: Sequence[str]) -> str:
    """Returns whose card is asked for, "" for the list.

    A name alone is a `show`, too.
    """
    match list(words):
        case [] | ["list"]:
            return ""
        case ["show", name] if name:
            return name
        case [name] if name and name != "show":
            return name
    refuse(
        f"fluoro models {' '.join(words)}",
        "`fluoro models list`, or `fluoro models show NAME`",
        "one card is shown at a time",
        "fluoro models list  (the names)",
    )


def _facts(card: dict[str, Any]) -> dict[str, Any]:
    study, weights = card["config"]["study"], card["weights"]
    # Every study has SAD 1000 and SDD 1500 mm.
    pixel_mm = study["detector_mm"] / study["rows"] / 1.5
    return {
        "name": card["name"],
        "study": study["name"],
        "frame": f"{study['rows']} x {study['cols']}",
        "pixel_iso_mm": pixel_mm,
        "frame_s": study["frame_s"],
        "parameters": weights["parameters"],
        "mb": weights["bytes"] / 1e6,
        "sha256": weights["sha256"],
        "licence": card["licence"],
    }
