"""Options that say which series of a 4DCT is which breathing phase."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from fluoro_jax.errors import refuse

NEAR_PERCENT = 0.5  # phases are named in whole per cent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, in a group of their own."""
    group = parser.add_argument_group("phases of a 4DCT, where its files do not say")
    group.add_argument(
        "--phase",
        action="append",
        metavar="SERIES=PERCENT",
        help="one for each phase; SERIES is its SeriesDescription, SeriesInstanceUID "
        "or the name of its only file, PERCENT of the breath; other series are left "
        "out",
    )
    group.add_argument(
        "--reference-phase",
        type=float,
        metavar="PERCENT",
        help="phase of contours that refer to none, as those drawn on the average",
    )


def phases_from(given: Sequence[str] | None) -> dict[str, float] | None:
    """Returns the per cent by series, None where no phase was named.

    >>> phases_from(["T=0% gated=0", "b=50"])
    {'T=0% gated': 0.0, 'b': 50.0}

    Raises:
        UserError: no name, no number, or a name that is given twice.
    """
    found: dict[str, float] = {}
    for text in given or ():
        # From the right: descriptions hold "=" too.
        name, _, number = text.rpartition("=")
        try:
            percent = float(number)
        except ValueError:
            percent = None
        if not name or percent is None or name in found:
            refuse(
                f"--phase {text!r}" + ", a second time" * (name in found),
                "SERIES=PERCENT, once for each series",
                "every phase is one volume at one moment of the breath",
                "--phase 'Thorax 50=50'; `fluoro inspect DIR` lists the series",
            )
        found[name] = percent
    return found or None


def reference_index(four_d: Any, percent: float | None) -> int | None:
    """Returns the index of the phase at `percent`, None for None.

    Raises:
        UserError: the 4DCT has no such phase.
    """
    if percent is None:
        return None
    percents = [float(one) for one in four_d.percents]
    near = min(range(len(percents)), key=lambda i: abs(percents[i] - percent))
    # Written so that a NaN is refused too.
    if not abs(percents[near] - percent) <= NEAR_PERCENT:
        refuse(
            f"--reference-phase {percent:g}",
            "one of the phases: " + ", ".join(f"{p:g}" for p in percents),
            "contours belong to the moment they were drawn at",
            f"--reference-phase {percents[near]:g}",
        )
    return near
