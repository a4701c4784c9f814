"""Publishes a run as named weights after re-running the first test cases to confirm
their IoU.

Above evaluation, because it asks whether the run's tables are those of its weights.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shlex
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.data.codec import decode_frames, encode_frames
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation import tables
from fluoro_jax.evaluation.evaluate import evaluate, fingerprint, masks_of
from fluoro_jax.evaluation.statistics import case_means, score_frames
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.studies.render import render_case
from fluoro_jax.tracking.networks import network_tracker
from fluoro_jax.tracking.tracker import track_clip
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.training.workdir import HISTORY
from fluoro_jax.training.writer import read_rows, training_seconds
from fluoro_jax.zoo import registry as zoo
from fluoro_jax.zoo.unpack import unpacked

# Ours: enough to notice another renderer or tracker, few enough for each publishing.
NUM_CASES = 4  # of the test split, kept in the card to be reproduced
# Ours, and far under a real change: pixels whose probability is near the threshold move
# between machines.
TOLERANCE = 2e-3  # of a case's IoU: another machine rounds otherwise


def publish(
    cfg: Any,
    workdir: str | Path,
    *,
    name: str,
    data_dir: str | Path | None = None,
    dtype: str = "float32",
    folder: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the averaged generator of a run, with its card, into the package.

    In bfloat16 the rounded weights are evaluated first, into `<workdir>/bfloat16`: the
    card's numbers are theirs. Before anything is written, the first test cases are
    rendered and tracked again. `python docs/make_weights.py` then updates the page.

    Args:
        cfg: the run's config.
        workdir: of a run that has been evaluated.
        name: of the weights.
        data_dir: of the stored studies; default `<workdir>/data`.
        dtype: of the file, "float32" or "bfloat16".
        folder: where to, if not into the package.
        overwrite: replace weights of that name.

    Returns:
        Path of the safetensors file.

    Raises:
        UserError: no checkpoint, no tables or those of other weights, numbers that are
            not reproduced; and as `zoo.save`.
    """
    # First, since it costs nothing: training and rendering would be for a name that is
    # taken.
    zoo.check_name(name, folder=folder, overwrite=overwrite)
    workdir = Path(workdir)
    restored = restore_generator(cfg, workdir)
    params, home = restored[1], workdir
    # Rounding changes the numbers, so the rounded weights get a table of their own.
    if dtype == "bfloat16":
        params, home = _evaluate_rounded(cfg, workdir, restored, data_dir)
    table = _read_tables(home / "tables", fingerprint(cfg, params), cfg, workdir)
    run = {
        "cases": first_cases(home / "tables"),
        "training": {**training(workdir), "step": restored[2]},
    }
    put = lambda place, replace=False: zoo.save(
        name,
        cfg,
        params=params,
        table=table,
        run=run,
        dtype=dtype,
        folder=place,
        overwrite=replace,
    )
    # Saved to a temporary folder and read back: what is checked is the file, not the
    # arrays in memory.
    with tempfile.TemporaryDirectory() as scratch:
        put(scratch)
        _check(recheck(zoo.load(name, folder=scratch)))
    path = put(folder, overwrite)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB) and its card", flush=True)
    return path


def recheck(weights: zoo.Weights) -> list[tuple[int, float, float]]:
    """The card's first test cases, rendered and tracked again on this machine.

    Returns:
        (case, IoU in the card, IoU now), one a case.
    """
    cfg, card = weights.cfg, weights.card
    spec = StudySpec.from_config(cfg.study)
    lookahead = card["metrics"]["columns"][0]["lookahead_frames"]
    tracker = network_tracker(weights.generator, weights.params, cfg, lookahead)
    found = []
    for row in card["cases"]:
        one = study_case(spec, "test", row["index"])
        clip = render_case(dataclasses.replace(one, id=row["case"]), spec)
        # Through the storage's 16 bits, as the cases went that the table scored.
        stored = decode_frames(encode_frames(np.asarray(clip.frames)))
        tracks = track_clip(tracker, dataclasses.replace(clip, frames=stored))
        masks = masks_of(tracks, cfg.evaluation.threshold)
        scores = score_frames(masks, np.asarray(clip.mask), one.geometry)
        found.append((row["case"], row["iou"], case_means(scores)["iou"]))
    return found


def first_cases(folder: Path) -> list[dict[str, Any]]:
    """Reads the network's scores of the first test cases from per_case.csv.

    Returns:
        dicts of index (in the test split), case (its id), diameter_mm and iou.
    """
    with (folder / "per_case.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tracker"] == "ours"]
    cases = [
        {
            "index": index,
            "case": int(row["case"]),
            "diameter_mm": float(row["diameter_mm"]),
            "iou": float(row["iou"]),
        }
        for index, row in enumerate(rows)
    ]
    # A case without a tumour in any frame has no IoU to reproduce.
    return [case for case in cases if math.isfinite(case["iou"])][:NUM_CASES]


def training(workdir: Path) -> dict[str, Any]:
    """Returns how a run was trained: command, commit, machine, packages, seconds.

    The command is the one it was begun by, and `history` says from which step to which
    each call went, by which commit; the machine is that of the last call. Seconds as in
    `training_seconds`. Of unpacked weights their card says it.
    """
    if note := unpacked(workdir):
        return note["training"]
    calls = read_rows(workdir / HISTORY)
    env = json.loads((workdir / "env.json").read_text())
    devices = ", ".join(sorted(set(env["devices"])))
    return {
        # The first call began the run; later ones only went on with it.
        "command": _command(calls[0]["command"]),
        "history": [{k: c[k] for k in ("from", "to", "commit")} for c in calls],
        "commit": calls[-1]["commit"],
        "machine": f"{env['platform']}, {env['cpus']} CPUs, "
        f"{len(env['devices'])} x {devices}",
        "python": env["python"],
        "packages": env["packages"],
        "begun": calls[0]["time"],
        "wall_s": training_seconds(read_rows(workdir / "metrics.jsonl")),
    }


def _command(line: str) -> str:
    """A command as it was typed: no interpreter, no folders of that machine."""
    # The first word is the interpreter.
    script, *words = shlex.split(line)[1:]
    path = Path(script)
    launched = ["python", "-m", f"launch.{path.stem}"]
    return shlex.join([*(launched if path.suffix == ".py" else [path.name]), *words])


def _evaluate_rounded(
    cfg: Any,
    workdir: Path,
    restored: tuple[Any, Any, int],
    data_dir: str | Path | None,
) -> tuple[Any, Path]:
    """Parameters rounded to bfloat16, and the folder in which they are evaluated."""
    generator, params, step = restored
    params, home = zoo.rounded(params), workdir / "bfloat16"
    # The same weights are evaluated once, however often they are published.
    if not _has_tables(home, fingerprint(cfg, params)):
        evaluate(
            cfg,
            home,
            data_dir=data_dir or workdir / "data",
            restored=(generator, params, step),
        )
    return params, home


def _has_tables(home: Path, sha256: str) -> bool:
    try:
        return tables.read_table(home / "tables")["checkpoint"]["sha256"] == sha256
    except (OSError, ValueError, KeyError):
        return False


def _read_tables(folder: Path, sha256: str, cfg: Any, workdir: Path) -> dict[str, Any]:
    """The table in `folder`, if it was made from these weights, config and code."""
    if _has_tables(folder.parent, sha256):
        return tables.read_table(folder)
    there = (folder / "results.json").exists()
    raise UserError(
        f"{folder} holds numbers of other weights, config or code"
        if there
        else f"no {folder / 'results.json'}",
        needed=f"the tables of the newest checkpoint of {workdir}, made by this code",
        why="a card must report the metrics of exactly these weights",
        fix=f"python -m launch.evaluate --config=<that of {cfg.name}> "
        f"--workdir={workdir}, then this command again",
    )


def _check(found: list[tuple[int, float, float]]) -> None:
    # Not `>`: a NaN compares False, and must count as off.
    off = [row for row in found if not abs(row[1] - row[2]) <= TOLERANCE]
    if off:
        case, before, now = off[0]
        raise UserError(
            f"test case {case} has IoU {now:.4f} here and {before:.4f} in the tables",
            needed=f"a difference of at most {TOLERANCE}",
            why="a card's IoU must be reproduced from the file and its config",
            fix="evaluate the run again on this machine, then this command again",
        )
