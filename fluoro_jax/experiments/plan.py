"""A plan: many runs and evaluations as one command, each part done once.

A part is a run (train, evaluate, report) in a folder of its own, or another part's
network (`of`) on a study that it was not trained for. What a finished part found is
one JSON record, named by the part; a record that stands in the workdir or among the
stored results is reused. A record of another config, code or data is stale: it is shown
with what changed, and run again only if its part is asked for by name.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fluoro_jax.config import Config, validate
from fluoro_jax.errors import UserError, nearest, refuse
from fluoro_jax.experiments import (
    from_weights,
    plan_figures,
    plan_tables,
    records,
    roles,
)
from fluoro_jax.experiments.reproduce import reproduce
from fluoro_jax.io.files import write_text
from fluoro_jax.studies import StudySpec
from fluoro_jax.training import parallel
from fluoro_jax.training.workdir import HISTORY, environment, resolve
from fluoro_jax.training.writer import read_rows, training_seconds

RESULTS = "docs/results"  # of the checkout the command is called in
Records = dict[str, dict[str, Any]]
# Of a part in the config.
ENTRY_FIELDS = (*roles.FIELDS, "core", "minutes", "table_only", "weights")


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a plan.

    Attributes:
        name: of its folder and record.
        title: in words.
        core: runs unless other parts are asked for.
        minutes: estimate on two cores; 0 for none.
        of: the part whose network is evaluated; "" for a run of its own.
        table_only: its table is enough; no figures and report.
        paper: what of the paper it stands beside: group, subgroup, finetuned, patient
            or "".
        section: the table that it is a row of, one of `roles.SECTIONS`.
        role: what it is there; in the ablations the row.
        recipe: whose, "ours" or "published".
        weights: published ones of this run; "" for none.
        run: the config.
    """

    name: str
    title: str
    core: bool
    minutes: float
    of: str
    table_only: bool
    paper: str
    section: str
    role: str
    recipe: str
    weights: str
    run: Any

    @property
    def rests_on(self) -> tuple[str, ...]:
        """Parts whose networks it needs."""
        return tuple(name for name in (self.of, self.run.init.parent) if name)

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of them that it cannot be run without: none of published weights."""
        return () if self.weights else self.rests_on

    @property
    def choices(self) -> str:
        """Returns on which cases its recipe was chosen; see `choices.py`."""
        return self.run.choices


def read_plan(cfg: Config) -> dict[str, Part]:
    """The parts of a plan, checked, in their order.

    Raises:
        UserError: a run that is not valid, or a part that rests on a later one.
    """
    parts: dict[str, Part] = {}
    # `order` is a list of its own: a ConfigDict sorts its keys.
    for name in cfg.order:
        entry = cfg.parts[name]
        _check_entry(name, entry)
        run = validate(entry.run, training=False)  # batches are checked when it runs
        StudySpec.from_config(run.study)
        part = Part(
            name=name, run=run, **{field: entry[field] for field in ENTRY_FIELDS}
        )
        _check_role(part)
        # Parents first in the plan: then one pass in order runs everything.
        for other in part.rests_on:
            if other not in parts:
                raise UserError(
                    f"part {name} rests on {other!r}",
                    needed="a part that stands before it in the plan",
                    why="its network is needed first",
                    fix="put that part first, or correct the name",
                )
        parts[name] = part
    return parts


def _check_entry(name: str, entry: Config) -> None:
    missing = [field for field in (*ENTRY_FIELDS, "run") if field not in entry]
    if missing:
        raise UserError(
            f"part {name} without {', '.join(missing)}",
            needed="every field of a part, as `_part` in configs/paper_all.py sets it",
            why="the tables of a plan choose their rows by them",
            fix=f"add {missing[0]} to parts.{name} of the plan",
        )


def _check_role(part: Part) -> None:
    """Raises `UserError` unless a table knows the part's section, role and recipe."""
    for field, known in (
        ("section", roles.SECTIONS),
        ("recipe", roles.RECIPES),
        ("role", roles.ROLES.get(part.section, (part.role,))),
    ):
        value = getattr(part, field)
        if value not in known:
            close = nearest(value, known)
            raise UserError(
                f"{field} {value!r} of part {part.name}",
                needed="one of " + ", ".join(known),
                why="the tables of a plan choose their rows by it",
                fix=f"did you mean {close!r}?" if close else "correct it in the plan",
            )


def choose(parts: Mapping[str, Part], only: Sequence[str]) -> list[Part]:
    """The parts asked for, or the core; with those that they rest on, in order.

    Args:
        parts: of the plan.
        only: names, or beginnings of names: "held_out", which is no part itself, stands
            for every "held_out_...".

    Raises:
        UserError: for a name that is no part.
    """
    wanted = {name for name, part in parts.items() if part.core and not only}
    for name in only:
        # A part's name is that part alone. The underscore: a beginning is whole words.
        begun = {n for n in parts if n.startswith(f"{name}_")}
        found = {name} if name in parts else begun
        wanted |= found
        if not found:
            close = nearest(name, parts)
            raise UserError(
                f"--only: no part {name!r}",
                needed="some of " + ", ".join(parts),
                why="a plan runs the parts that its config names",
                fix=f"did you mean {close}?" if close else "correct the name",
            )
    # Backwards: a part's parents stand before it, and theirs before them.
    for name in reversed(list(parts)):
        if name in wanted:
            wanted |= set(parts[name].needs)
    return [part for name, part in parts.items() if name in wanted]


def reproduce_plan(
    cfg: Config,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    only: Sequence[str] = (),
    published: bool = False,
    results: str | Path = RESULTS,
) -> Records:
    """Runs what is missing of a plan, then prints and writes its tables and figures.

    Args:
        cfg: the plan; see `configs/paper_all.py`.
        workdir: one folder a part, `results/` and `results.md`.
        data_dir: of the stored studies; default `<workdir>/data`.
        only: names of parts, which are run again if their records are stale; none
            means the core, of which only what has no record is run.
        published: parts whose weights are published are not trained: those are scored,
            or started from.
        results: stored records of parts that were run before, read only.

    Returns:
        The record of every part that was ever finished, by name; `stale` in it says
        what changed since, "" for nothing.

    Raises:
        UserError: as `training.loop.train`, and for parts that are not there.
        SystemExit: when stopped; the same command goes on.
    """
    workdir, parts = Path(workdir), read_plan(cfg)
    if published and jax.process_count() > 1:
        refuse(
            f"--published in {jax.process_count()} processes",
            "one process",
            "weights are unpacked and scored by one",
            "run it without JAX_COORDINATOR_ADDRESS",
        )
    if not published:
        parts = {n: dataclasses.replace(p, weights="") for n, p in parts.items()}
    data_dir = Path(data_dir) if data_dir else workdir / "data"
    # The workdir's first: they are newer than those that came with the checkout.
    stored = [workdir / "results", Path(results) / cfg.name]
    chosen = choose(parts, only)
    found = records.find_all(parts, stored)
    missing = _missing(chosen, found, workdir, asked=bool(only))
    _run_parts(missing, parts, found, workdir=workdir, data_dir=data_dir)
    # Only process 0 writes and prints; the others have trained along.
    if jax.process_index() > 0:
        return {}
    # Read again: parts that were run replaced records, and made others stale.
    found = records.find_all(parts, stored)
    text = _with_note(plan_tables.to_markdown(cfg, parts, found), found)
    print(text, flush=True)
    workdir.mkdir(parents=True, exist_ok=True)
    write_text(workdir / "results.md", text)
    # Without a new record the figures are those of before.
    if missing or not (workdir / "figures" / "parts.png").exists():
        plan_figures.draw(parts, found, workdir)
    return found


def _run_parts(
    missing: Sequence[Part],
    parts: Mapping[str, Part],
    found: Records,
    *,
    workdir: Path,
    data_dir: Path,
) -> None:
    """Runs parts one after the other and writes their records into the workdir."""
    for number, part in enumerate(missing):
        left = sum(p.minutes for p in missing[number:])
        words = f" (about {part.minutes:.0f} min; {left:.0f} for all left)"
        _say(
            f"part {number + 1} of {len(missing)}: {part.title}{words if left else ''}"
        )
        _set_aside_stale(part, found.get(part.name), workdir)
        if jax.process_index() == 0:
            from_weights.make_room(part.weights, workdir / part.name)
        # All wait until process 0 has renamed the folder, or they would train in the
        # old one.
        parallel.wait_for_all(f"room for {part.name}")
        if part.weights:
            from_weights.provide(part.weights, part.run, workdir / part.name)
        record = run_part(part, parts, workdir, data_dir)
        before = found.get(part.name)
        record |= from_weights.told_of_training(workdir / part.name, before)
        if jax.process_index() == 0:
            records.write(record, workdir / "results")
        # The next part may start from this one's checkpoint and record.
        parallel.wait_for_all(f"part {part.name}")


def _missing(
    chosen: Sequence[Part], found: Records, workdir: Path, *, asked: bool
) -> list[Part]:
    """Parts to run: without a record, or needed by such and without their network.

    Stale records count as none if parts were asked for by name.
    """
    wanted: list[Part] = []
    needed: set[str] = set()
    # Backwards: whether a parent's network is needed shows in the parts after it.
    for part in reversed(chosen):
        record = found.get(part.name)
        unseen = record is None or (asked and bool(record["stale"]))
        # A record without a network is enough for a table, not for a child.
        gone = part.name in needed and not _is_trained(part, workdir)
        if unseen or gone:
            wanted.append(part)
            needed |= set(part.needs)
    return wanted[::-1]


def _is_trained(part: Part, workdir: Path) -> bool:
    """Whether the folder of a part holds its network, trained to the last step.

    A run that was stopped has checkpoints too, from which no other part may start.
    """
    folders = (workdir / part.name / "ckpt").glob("*")
    steps = [int(folder.name) for folder in folders if folder.name.isdigit()]
    return max(steps, default=-1) >= part.run.train.num_steps


def _set_aside_stale(part: Part, record: dict[str, Any] | None, workdir: Path) -> None:
    """Keeps a stale run's folder under another name, so that it starts afresh."""
    if record is None or not record["stale"]:
        return
    _say(f"{part.name} is stale: {record['stale']}")
    if part.of or part.weights or jax.process_index() > 0:
        return
    # A run whose parent has other weights now cannot go on, though its own config is
    # unchanged; a parent that was only evaluated again has those that it had.
    started, now = record.get("rests_on", {}), _networks(part, workdir)
    parents = [name for name in now if now[name] != started.get(name)]
    there = records.set_aside(workdir / part.name, part.run, parents=parents)
    if there:
        _say(f"its earlier run is kept in {there}")


def _with_note(text: str, found: Records) -> str:
    """The tables with what is stale under their title."""
    note = records.stale_note(found)
    title, _, rest = text.partition("\n\n")
    return f"{title}\n\n{note}\n\n{rest}" if note else text


def run_part(
    part: Part, parts: Mapping[str, Part], workdir: Path, data_dir: Path
) -> dict[str, Any]:
    """Runs a part (or what is left of it) and answers its record."""
    folder, begun = workdir / part.name, time.perf_counter()
    if part.of:
        owner = parts[part.of]
        done = reproduce(
            part.run,
            folder,
            data_dir=data_dir,
            network_of=(owner.run, workdir / owner.name),
        )
    else:
        done = reproduce(
            part.run, folder, data_dir=data_dir, table_only=part.table_only
        )
    rows = read_rows(folder / "metrics.jsonl")
    history = read_rows(folder / HISTORY)
    return {
        "format": records.FORMAT,
        "part": part.name,
        **{field: getattr(part, field) for field in roles.FIELDS},
        "choices": part.choices,
        "rests_on": _networks(part, workdir),
        "code": records.scoring_files(),
        "config": resolve(part.run),
        "environment": environment(),
        "last_call_s": round(time.perf_counter() - begun, 1),
        "history": history,
        "train_s": training_seconds(rows),
        "curve": [_point(row) for row in rows if "eval/iou" in row],
        "table": done.table,
    }


def _networks(part: Part, workdir: Path) -> dict[str, str]:
    """The weights that a part rests on, by part."""
    read = lambda name: records.read(workdir / "results" / f"{name}.json")
    found = {name: read(name) for name in part.rests_on}
    return {name: records.weights_of(r) for name, r in found.items() if r}


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("step", "eval/iou", "eval/vertical_mm", "eval/horizontal_mm")
    return {name: row.get(name) for name in names}


def _say(words: str) -> None:
    print(f"[reproduce] {words}", file=sys.stderr, flush=True)
