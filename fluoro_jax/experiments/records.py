"""Writes and reads the records of a plan's parts, and tells stale ones from current.

A record is current if the config keys that change numbers, the code and data files that
make them, and the networks it rests on are those of now. Any other record of the same
part is stale: it is still shown, with what changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluoro_jax import fingerprint
from fluoro_jax.data.dataset import RENDERERS
from fluoro_jax.experiments.roles import FIELDS
from fluoro_jax.io.files import write_text
from fluoro_jax.training.workdir import TRAINERS, differences, resolve
from fluoro_jax.training.writer import read_rows

FORMAT = 2  # of the records; 1 has no fingerprints
SHOWN = 3  # changes of a kind that are named
UNRECORDED = "made before fingerprints were recorded"
Record = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """Lists the differences since a record was made; empty where there are none.

    Attributes:
        config: (old, new) by key.
        trained: files of the code that trained; or `UNRECORDED` alone.
        scored: files of the code and data that rendered and scored; likewise.
        parents: what became of the parts that it rests on, in words.
    """

    config: Mapping[str, tuple]
    trained: Sequence[str]
    scored: Sequence[str]
    parents: Sequence[str] = ()

    @property
    def words(self) -> str:
        """All of it in one line; "" for a current record."""
        files = sorted({*self.trained, *self.scored} - {UNRECORDED})
        keys = [f"{key} {old} -> {new}" for key, (old, new) in self.config.items()]
        parts = [UNRECORDED] if UNRECORDED in (*self.trained, *self.scored) else []
        parts += [f"config: {_some(keys)}"] if keys else []
        parts += [f"code or data: {_some(files)}"] if files else []
        return "; ".join([*parts, *self.parents])


def scoring_files() -> dict[str, str]:
    """Digests of the code and data that render, track and score test cases."""
    return fingerprint.files(*RENDERERS, *fingerprint.SCORERS)


def training_files() -> dict[str, str]:
    """Digests of the code and data that decide what a network learns."""
    return fingerprint.files(*RENDERERS, *TRAINERS)


def change_of(record: Mapping[str, Any], run: Any) -> Change:
    """Returns what changed since a record was made, its parents left out.

    Args:
        record: of a part.
        run: the part's config now.
    """
    return Change(
        config=fingerprint.different(record["config"], resolve(run)),
        trained=changed_training(record.get("history", [])),
        scored=_changed(record.get("code"), scoring_files()),
    )


def changed_training(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the files changed since any call of a run's history trained with them."""
    # Each call of a run that was resumed trained with the code of its day.
    now = training_files()
    found = {name for call in history for name in _changed(call.get("code"), now)}
    return sorted(found)


def find(name: str, run: Any, folders: Sequence[Path]) -> Record | None:
    """Returns the record of a part: the first current one, or else the first stale one.

    `record["stale"]` is "" or what changed, in words.

    Args:
        name: of the part.
        run: its config.
        folders: looked through in this order.
    """
    stale = None
    for folder in folders:
        # A workdir's own record wins over a stored one only if it is current, or both
        # are stale.
        record = read(folder / f"{name}.json")
        if record is None:
            continue
        record["stale"] = change_of(record, run).words
        if not record["stale"]:
            return record
        stale = stale or record
    return stale


def find_all(parts: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Record]:
    """Returns the record of every part that has one, in the order of the parts.

    The words of a record (title, section, role, ...) are the plan's. A record that
    rests on a stale network, or on another than the one recorded, is stale too.

    Args:
        parts: `plan.Part` by name; those rested on come first.
        folders: see `find`.
    """
    found: dict[str, Record] = {}
    for name, part in parts.items():
        record = find(name, part.run, folders)
        if record is None:
            continue
        # Parents were looked up before: plans list them first.
        before = record.get("of", "")
        other = [f"tells of {before}"] if before != part.of else []
        words = [record["stale"], *other, *_parents(record, part.rests_on, found)]
        record["stale"] = "; ".join(word for word in words if word)
        # Words of tables may be corrected without running anything again.
        record |= {field: getattr(part, field) for field in FIELDS}
        record.setdefault("choices", record["config"].get("choices", ""))
        found[name] = record
    return found


def weights_of(record: Mapping[str, Any]) -> str:
    """Returns the sha256 of the network that a record tells of; "" if not recorded."""
    return record["table"].get("checkpoint", {}).get("weights", "")


def networks_of(record: Mapping[str, Any]) -> set[str]:
    """Returns the sha256 of a record's network in every form that was used.

    Of published weights also that of the run which they are the rounded weights of.
    """
    return {weights_of(record), record.get("published", {}).get("of", "")} - {""}


def set_aside(folder: Path, run: Any, *, parents: Sequence[str]) -> Path | None:
    """Renames the folder of a stale run that cannot be gone on with.

    It cannot if the config or the code that it was trained with changed, or a network
    that it started from.

    Args:
        folder: of the run.
        run: its config now.
        parents: parts that it rests on and that were run again.

    Returns:
        Where the folder is now; None if it stands where it was.
    """
    # Without a checkpoint there is nothing to go on with: the folder may stand.
    if not (folder / "ckpt").is_dir():
        return None
    stored = _json(folder / "config.json")
    lines = read_rows(folder / "history.jsonl")
    same = isinstance(stored, dict) and not differences(stored, resolve(run))
    if same and lines and not changed_training(lines) and not parents:
        return None
    return put_aside(folder)


def put_aside(folder: Path) -> Path:
    """Renames a folder to the first free `<name>.before-N`; returns where it is now."""
    number = 1
    while (there := folder.with_name(f"{folder.name}.before-{number}")).exists():
        # Numbered, so that no earlier run is ever overwritten.
        number += 1
    return folder.rename(there)


def read(path: Path) -> Record | None:
    """Returns the record in a file; None if it is missing, damaged or no record.

    Its config has the keys that configs have today (`fingerprint.complete`).
    """
    record = _json(path)
    if not isinstance(record, dict) or not {"part", "config", "table"} <= record.keys():
        return None
    # Completed, so that a key that was added since makes no record stale by itself.
    return {**record, "config": fingerprint.complete(record["config"])}


def write(record: Mapping[str, Any], folder: Path) -> None:
    """Writes `<folder>/<part>.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(folder / f"{record['part']}.json", text + "\n")


def stale_note(records: Mapping[str, Record]) -> str:
    """Returns what is stale and how to run it again, as Markdown; "" for nothing."""
    reasons: dict[str, list[str]] = {}
    for name, record in records.items():
        if record["stale"]:
            reasons.setdefault(record["stale"], []).append(name)
    if not reasons:
        return ""
    lines = [
        "**Stale rows.** They were made by another config, code or data than those of "
        "now; their numbers are shown as they were. A part that is named is run again: "
        "`--only=NAME` (this trains).",
        "",
    ]
    lines += [
        f"- {', '.join(f'`{name}`' for name in names)}: {reason}."
        for reason, names in reasons.items()
    ]
    return "\n".join(lines)


def _parents(
    record: Record, rests_on: Sequence[str], found: Mapping[str, Record]
) -> list[str]:
    words = []
    for name in rests_on:
        if name not in found:
            continue
        recorded = record.get("rests_on", {}).get(name, "")
        if found[name]["stale"]:
            words.append(f"rests on {name}, which is stale")
        elif recorded and recorded not in networks_of(found[name]):
            # Records of before have no digest of their parent's weights: nothing to
            # compare.
            words.append(f"rests on other weights of {name}")
    return words


def _changed(old: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    return [UNRECORDED] if old is None else fingerprint.changed(old, now)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _some(words: Sequence[str]) -> str:
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more} more" if more > 0 else "")
