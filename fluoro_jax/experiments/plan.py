"""A plan: many runs and evaluations as one command, each part done once.

A part is a run (train, evaluate, report) in a folder of its own, or another part's
network (`of`) on a study that it was not trained for. What a finished part found is
one JSON record, named by the part and checked by the hash of its config; a record that
stands in the workdir or among the stored results is reused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fluoro_jax.config import Config, nearest, validate
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import plan_figures, plan_tables
from fluoro_jax.experiments.reproduce import reproduce
from fluoro_jax.io.files import write_text
from fluoro_jax.studies import StudySpec
from fluoro_jax.training import parallel
from fluoro_jax.training.workdir import HISTORY, environment, resolve
from fluoro_jax.training.writer import read_rows, training_seconds

RESULTS = "docs/results"  # of the checkout the command is called in
FORMAT = 1  # of the records; raise it when tables need something new in them
Records = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a plan.

    Attributes:
        name: of its folder and record.
        title: in words.
        core: runs unless other parts are asked for.
        minutes: estimate on two cores; 0 for none.
        of: the part whose network is looked at; "" for a run of its own.
        brief: its table is enough; no figures and report.
        paper: what of the paper it stands beside: group, subgroup, finetuned, patient
            or "".
        run: the config.
        sha256: of the config and, for `of`, of that part's too.
    """

    name: str
    title: str
    core: bool
    minutes: float
    of: str
    brief: bool
    paper: str
    run: Any
    sha256: str


def read_plan(cfg: Config) -> dict[str, Part]:
    """The parts of a plan, checked, in their order.

    Raises:
        UserError: a run that is not valid, or a part that rests on a later one.
    """
    parts: dict[str, Part] = {}
    for name in cfg.order:
        entry = cfg.parts[name]
        run = validate(entry.run, training=False)  # batches are checked when it runs
        StudySpec.from_config(run.study)
        for other in (entry.of, run.init.parent):
            if other and other not in parts:
                raise UserError(
                    f"part {name} rests on {other!r}",
                    needed="a part that stands before it in the plan",
                    why="its network is needed first",
                    fix="put that part first, or correct the name",
                )
        hashed: list[Any] = [FORMAT, resolve(run)]
        hashed += [parts[o].sha256 for o in (entry.of, run.init.parent) if o]
        text = json.dumps(hashed, sort_keys=True).encode()
        parts[name] = Part(
            name=name,
            title=entry.title,
            core=entry.core,
            minutes=entry.minutes,
            of=entry.of,
            brief=entry.brief,
            paper=entry.paper,
            run=run,
            sha256=hashlib.sha256(text).hexdigest(),
        )
    return parts


def choose(parts: Mapping[str, Part], only: Sequence[str]) -> list[Part]:
    """The parts asked for, or the core; with those that they rest on, in order.

    Args:
        parts: of the plan.
        only: names, or beginnings of names: "held_out" stands for every "held_out_...".

    Raises:
        UserError: for a name that is no part.
    """
    wanted = {name for name, part in parts.items() if part.core and not only}
    for name in only:
        found = {n for n in parts if n == name or n.startswith(f"{name}_")}
        wanted |= found
        if not found:
            close = nearest(name, parts)
            raise UserError(
                f"--only: no part {name!r}",
                needed="some of " + ", ".join(parts),
                why="a plan runs the parts that its config names",
                fix=f"did you mean {close}?" if close else "correct the name",
            )
    for name in reversed(list(parts)):
        if name in wanted:
            wanted |= {parts[name].of, parts[name].run.init.parent} - {""}
    return [part for name, part in parts.items() if name in wanted]


def reproduce_plan(
    cfg: Config,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    only: Sequence[str] = (),
    results: str | Path = RESULTS,
) -> Records:
    """Runs what is missing of a plan, then prints and writes its tables and figures.

    Args:
        cfg: the plan; see `configs/paper_all.py`.
        workdir: one folder a part, `results/` and `results.md`.
        data_dir: of the stored studies; default `<workdir>/data`.
        only: names of parts; none means the core.
        results: stored records of parts that were run before, read only.

    Returns:
        The record of every part that was ever finished, by name.

    Raises:
        UserError: as `training.loop.train`, and for parts that are not there.
        SystemExit: when stopped; the same command goes on.
    """
    workdir, parts = Path(workdir), read_plan(cfg)
    data_dir = Path(data_dir) if data_dir else workdir / "data"
    stored = [workdir / "results", Path(results) / cfg.name]
    chosen = choose(parts, only)
    missing = _missing(chosen, stored, workdir)
    for number, part in enumerate(missing):
        left = sum(p.minutes for p in missing[number:])
        words = f" (about {part.minutes:.0f} min; {left:.0f} for all left)"
        _say(
            f"part {number + 1} of {len(missing)}: {part.title}{words if left else ''}"
        )
        record = run_part(part, parts, workdir, data_dir)
        if jax.process_index() == 0:
            _write_record(record, workdir / "results")
        parallel.wait_for_all(f"part {part.name}")
    if jax.process_index() > 0:
        return {}
    records = {name: find_record(part, stored) for name, part in parts.items()}
    found = {name: record for name, record in records.items() if record is not None}
    text = plan_tables.to_markdown(cfg, parts, found)
    print(text, flush=True)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "results.md").write_text(text, encoding="utf-8")
    if missing or not (workdir / "figures" / "parts.png").exists():
        plan_figures.draw(parts, found, workdir)
    return found


def _missing(
    chosen: Sequence[Part], stored: Sequence[Path], workdir: Path
) -> list[Part]:
    """Parts to run: without a record, or needed by such and without their network."""
    wanted: list[Part] = []
    needed: set[str] = set()
    for part in reversed(chosen):
        unseen = find_record(part, stored) is None
        gone = part.name in needed and not (workdir / part.name / "ckpt").is_dir()
        if unseen or gone:
            wanted.append(part)
            needed |= {part.of, part.run.init.parent} - {""}
    return wanted[::-1]


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
        done = reproduce(part.run, folder, data_dir=data_dir, table_only=part.brief)
    rows = read_rows(folder / "metrics.jsonl")
    history = read_rows(folder / HISTORY)
    return {
        "part": part.name,
        "title": part.title,
        "paper": part.paper,
        "of": part.of,
        "config_sha256": part.sha256,
        "config": resolve(part.run),
        "environment": environment(),
        "last_call_s": round(time.perf_counter() - begun, 1),
        "history": history,
        "train_s": training_seconds(rows),
        "curve": [_point(row) for row in rows if "eval/iou" in row],
        "table": done.table,
    }


def find_record(part: Part, folders: Sequence[Path]) -> dict[str, Any] | None:
    """The record of a part, if one of this very config is there."""
    for folder in folders:
        path = folder / f"{part.name}.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and record.get("config_sha256") == part.sha256:
            return record
    return None


def _write_record(record: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(folder / f"{record['part']}.json", text + "\n")


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("step", "eval/iou", "eval/vertical_mm", "eval/horizontal_mm")
    return {name: row.get(name) for name in names}


def _say(words: str) -> None:
    print(f"[reproduce] {words}", file=sys.stderr, flush=True)
