"""Reads the cards of trained weights: names, checks by sha256, whether they are stale.

Imports no JAX, so that a list of the weights is quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from fluoro_jax import fingerprint
from fluoro_jax.errors import UserError, nearest

FOLDER = Path(__file__).parent / "weights"
CARD_HASH = "card_sha256"
REINSTALL = "install the package again, or publish the weights again from their run"
# Every card has these; one without is refused at load.
SECTIONS = ("name", "config", "weights", "metrics", "cases", "training", "limits")
# The first lines are `data.dataset.RENDERERS`, whose module imports JAX; a test keeps
# them equal.
DECIDE_NUMBERS = (
    *("geometry.py", "studies/**/*.py", "sim/**/*.py", "sim/**/*.csv"),
    *("data/builder.py", "data/codec.py"),
    *fingerprint.SCORERS,
)


def folder_of(folder: str | Path | None) -> Path:
    """Returns where weights lie: in `folder`, or in the package."""
    return FOLDER if folder is None else Path(folder)


def names(*, folder: str | Path | None = None) -> list[str]:
    """Returns the names that `load` takes, sorted.

    Args:
        folder: where the weights lie, if not in the package.
    """
    return sorted(path.stem for path in folder_of(folder).glob("*.safetensors"))


def read(
    name: str, *, folder: str | Path | None = None
) -> tuple[dict[str, Any], bytes]:
    """Returns the card of weights, and the weights' file, which agrees with it.

    Args:
        name: one of `names()`.
        folder: where they lie, if not in the package.

    Raises:
        UserError: unknown name, no card, one that was changed, or other weights.
    """
    place = folder_of(folder)
    # Before any path is built from it: a name with slashes never reaches the file
    # system.
    if name not in names(folder=place):
        _refuse_name(name, place)
    card = _read_card(place / f"{name}.json")
    path = place / f"{name}.safetensors"
    data = path.read_bytes()
    # Before anything is unpacked: the file is untrusted until it agrees with its card.
    found, wanted = hashlib.sha256(data).hexdigest(), card["weights"]["sha256"]
    if found != wanted:
        raise UserError(
            f"{path} has sha256 {found[:16]}...",
            needed=f"{str(wanted)[:16]}..., as its card says",
            why="the card's numbers are those of the file it was written with",
            fix=REINSTALL,
        )
    return card, data


def sign(card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the card with `card_sha256`, the hash of all its other entries.

    The hash is over JSON with sorted keys, no spaces and no `card_sha256`.
    """
    plain = {key: value for key, value in card.items() if key != CARD_HASH}
    # Sorted and without spaces, so that the layout of the file does not count.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**plain, CARD_HASH: hashlib.sha256(text.encode()).hexdigest()}


def stale(card: Mapping[str, Any]) -> str:
    """Returns why the card's numbers need not be reproduced now; "" if they must.

    They were measured with the simulator, tracker and metrics of their time. A change
    of those changes the numbers, not the weights.
    """
    recorded = card.get("fingerprint")
    if recorded is None:
        return (
            "Numbers of an earlier simulator and of its test cases, made before "
            "fingerprints were recorded."
        )
    # By contents: code that was moved as it was changes no number.
    if fingerprint.changed(recorded, fingerprint.files(*DECIDE_NUMBERS)):
        return (
            "Numbers of an earlier version of the simulator, the tracker or the "
            "metrics, and of its test cases."
        )
    return ""


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        # In this order: a card without its parts is told before one that was changed.
        missing = [key for key in SECTIONS if key not in card]
        if not missing and "sha256" not in card["weights"]:
            missing = ["weights.sha256"]
        problem = f"has no {', '.join(missing)}" if missing else ""
        if not problem and sign(card)[CARD_HASH] != card.get(CARD_HASH):
            problem = f"was changed: its {CARD_HASH} is of other entries"
    except FileNotFoundError:
        card, problem = {}, "is not there"
    except (OSError, ValueError, TypeError) as error:
        card, problem = {}, f"cannot be read ({error})"
    if problem:
        raise UserError(
            f"the card {path} {problem}",
            needed="the card that was written with the weights",
            why="weights without their config, sha256 and numbers are not used",
            fix=REINSTALL,
        )
    return card


def _refuse_name(name: str, folder: Path) -> NoReturn:
    known = names(folder=folder)
    close = nearest(name, known)
    raise UserError(
        f"no weights {name!r}",
        needed="one of " + ", ".join(known) if known else f"weights in {folder}",
        why="weights are files of the package; nothing is downloaded",
        fix=f"did you mean {close}?"
        if close
        else "`fluoro models list` shows what is there; in Python, zoo.names()",
    )
