"""Published weights in place of the training of a plan's part."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluoro_jax.experiments.records import put_aside, weights_of
from fluoro_jax.zoo.registry import load
from fluoro_jax.zoo.unpack import unpack, unpacked


def make_room(name: str, folder: Path) -> None:
    """Puts a part's folder aside if it holds something else than is to be scored.

    Args:
        name: of the weights that take the place of training; "" for none.
        folder: of the part.
    """
    note = unpacked(folder)
    if name and note:
        other = note["sha256"] != load(name).card["weights"]["sha256"]
    else:
        # A run where weights are asked for, or weights where a run is.
        other = bool(note) or (bool(name) and folder.exists())
    if other:
        print(f"[reproduce] kept as {put_aside(folder)}", file=sys.stderr, flush=True)


def provide(name: str, run: Any, folder: Path) -> None:
    """Makes a run's folder of weights; one that is there already stays.

    Args:
        name: of the weights.
        run: config of the part.
        folder: of the part.
    """
    # The config is what an unpacked folder gets last, and a run's first.
    if not (folder / "config.json").is_file():
        words = f"the published weights {name} take the place of training"
        print(f"[reproduce] {words}", file=sys.stderr, flush=True)
        unpack(name, run, folder)


def told_of_training(folder: Path, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns what the record of unpacked weights says of their training.

    The record before tells most, if it is of the run that was published: its history,
    and its curve. Else only the words of the card are known.

    Args:
        folder: of the part; of one that is not unpacked nothing is said.
        before: the part's record before, if there is one.
    """
    note = unpacked(folder)
    if note is None:
        return {}
    said = {"name": note["name"], "dtype": note["dtype"], "sha256": note["sha256"]}
    history = before.get("history") if before else None
    calls = (history[0]["time"], history[-1]["to"]) if history else None
    training = note["training"]
    if before is None or calls != (training["begun"], training["step"]):
        return {"published": said, "train_s": training["wall_s"], "rests_on": {}}
    # Scored from the weights before, or from the run: one network all the same.
    of = before.get("published", {}).get("of") or weights_of(before)
    told = ("history", "train_s", "curve", "rests_on")
    kept = {key: before[key] for key in told if key in before}
    return {"published": said | {"of": of}, **kept}
