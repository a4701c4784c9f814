"""`fluoro models`: the weights of the package, and what their cards say."""

from __future__ import annotations

import argparse
import json
from typing import Any

DOES = "list the trained weights, or show the card of one"
EPILOG = """Without NAME all weights of the package are listed; with NAME, which may be
the folder of a fit too, the card: what it was trained on, how it was tested, its
limits. Research software. Not a medical device. Not for clinical use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="whose card to show")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def models(args: argparse.Namespace) -> None:
    """Prints a line a model, or one card.

    Raises:
        UserError: no such weights, or a card that was changed.
    """
    from fluoro_jax import zoo
    from fluoro_jax.zoo.card import card_markdown, stale

    if args.name:
        name, folder = zoo.find(args.name)
        card = zoo.load(name, folder=folder).card
        print(json.dumps(card, indent=1) if args.json else card_markdown(card))
        return
    rows = []
    for name in zoo.names():
        card = zoo.load(name).card
        rows.append({**_facts(card), "stale": stale(card)})
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
