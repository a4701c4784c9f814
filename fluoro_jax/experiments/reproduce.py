"""From a config to its table and report: train, evaluate, draw, write; resumable."""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

from fluoro_jax import stages
from fluoro_jax.config import check_platform
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation import tables
from fluoro_jax.evaluation.evaluate import (
    Results,
    evaluate,
    fingerprint,
    tables_folder,
)
from fluoro_jax.experiments import published
from fluoro_jax.experiments.recorded_breathing import (
    recorded_markdown,
    recorded_section,
    track_recorded,
)
from fluoro_jax.io.files import write_text
from fluoro_jax.report.study import write_report
from fluoro_jax.report.study_figures import study_figures
from fluoro_jax.stages import stage
from fluoro_jax.studies import STUDIES, StudySpec
from fluoro_jax.training.alone import first_alone
from fluoro_jax.training.loop import train
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.zoo.unpack import unpacked

TIMING = "timing.json"  # seconds by stage of the last call
DONE = "evaluation.json"  # written last: which evaluation stands in the workdir


def reproduce(
    cfg: Any,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    network_of: tuple[Any, Path] | None = None,
    table_only: bool = False,
) -> Results:
    """Trains what is missing, then evaluates and writes table, figures and report.

    A finished evaluation of the same weights, config and code is not repeated, and
    published weights that were unpacked into `workdir` are not trained.

    Args:
        cfg: the run's config.
        workdir: takes everything; may hold a stopped or finished run of this config.
        data_dir: of the stored studies; default `<workdir>/data`.
        network_of: config and workdir of another, finished run, whose network is then
            evaluated on the study of `cfg`; nothing is trained.
        table_only: no figures, report and recorded clip.

    Returns:
        Results; `report` is the path of report.html. In a run of several processes
        only the first evaluates; the others wait for it and get an empty table.

    Raises:
        UserError: as `training.loop.train`; in the other processes also if the
            evaluation of the first failed.
    """
    check_platform(cfg)  # a network of another run is not trained, so not checked there
    workdir, begun = Path(workdir), time.perf_counter()
    stages.reset()
    # Unpacked weights are a finished run; there may be nothing left of its parents.
    if network_of is None and not unpacked(workdir):
        _say("train")
        train(cfg, workdir, data_dir=data_dir)
    evaluated = functools.partial(
        _evaluated, cfg, workdir, data_dir, network_of, table_only, begun
    )
    # One process evaluates: its clips are tracked one after the other.
    return first_alone(evaluated, "evaluation") or Results({}, workdir)


def _evaluated(
    cfg: Any,
    workdir: Path,
    data_dir: str | Path | None,
    network_of: tuple[Any, Path] | None,
    table_only: bool,
    begun: float,
) -> Results:
    """What `reproduce` does once the network is trained, in one process."""
    _say(f"evaluate ({time.perf_counter() - begun:.0f} s since the start)")
    owner, home = network_of or (cfg, workdir)
    # Restored once, for the fingerprint and for the evaluation.
    restored = restore_generator(owner, home)
    if table_only:
        # A table alone leaves no `DONE`, and is made again at every call.
        paper = published.reference(cfg)
        return evaluate(
            cfg, workdir, data_dir=data_dir, restored=restored, published=paper
        )
    results = _finished(workdir, fingerprint(cfg, restored[1]))
    if results is None:
        results = _evaluate_and_write(
            cfg,
            workdir,
            data_dir,
            restored,
            trained_on=StudySpec.from_config(owner.study) if network_of else None,
        )
    _show(results)
    total_s = time.perf_counter() - begun
    write_text(workdir / TIMING, json.dumps(stages.split(total_s), indent=1) + "\n")
    _say(stages.describe(total_s))
    return results


def _show(results: Results) -> None:
    print(tables.to_markdown(results.table, short=True))
    if results.table.get("recorded"):
        print(recorded_markdown(results.table["recorded"]))
    print(f"report: {results.report}", flush=True)


def evaluate_run(
    cfg: Any,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    split: str = "test",
) -> Results:
    """Scores the newest checkpoint on a split, prints and writes its table.

    See `evaluation.evaluate.evaluate`; on the test split the paper's numbers are
    printed beside ours.
    """
    if split not in ("test", "val"):
        raise UserError(
            f"--split={split}",
            needed="test or val",
            why="networks are scored on cases that they were not trained on",
            fix="--split=val for choices, --split=test once they are made",
        )
    paper = tables.NOTHING_PUBLISHED
    if split == "test":
        # Its tables lack the recorded clip, so a finished report no longer fits them.
        (Path(workdir) / DONE).unlink(missing_ok=True)
        paper = published.reference(cfg)
    results = evaluate(cfg, workdir, data_dir=data_dir, published=paper, split=split)
    print(tables.to_markdown(results.table, short=True))
    print(f"tables: {tables_folder(workdir, split)}", flush=True)
    return results


def _evaluate_and_write(
    cfg: Any,
    workdir: Path,
    data_dir: str | Path | None,
    restored: tuple[Any, Any, int],
    *,
    trained_on: StudySpec | None = None,
) -> Results:
    # First of all: until the new report is whole, no evaluation stands in the workdir.
    (workdir / DONE).unlink(missing_ok=True)
    results = evaluate(
        cfg,
        workdir,
        data_dir=data_dir,
        restored=restored,
        trained_on=trained_on,
        published=published.reference(cfg),
    )
    folder, section = workdir / "figures", None
    with stage("figures"):
        pictures = study_figures(results, folder)
    if trained_on is None and STUDIES[cfg.study.name].recorded:
        recorded = track_recorded(results.runs, cfg)
        section = recorded_section(recorded, folder, cfg)
        results.table["recorded"] = section["rows"]
    tables.write_tables(results.table, workdir / "tables")
    with stage("report"):
        report = write_report(
            workdir / "report.html",
            results.table,
            pictures,
            cfg=cfg,
            geometry=results.clips[0].geometry,
            recorded=section,
        )
    drawn = pictures + (section["figures"] if section else [])
    # Relative, so that a workdir may be moved.
    files = [str(f.path.relative_to(workdir)) for f in drawn]
    files += ["report.html", "tables/results.json", "tables/results.md"]
    done = {"sha256": results.table["checkpoint"]["sha256"], "files": files}
    # Last of all: its presence says that the files it names are whole.
    write_text(workdir / DONE, json.dumps(done, indent=1) + "\n")
    return Results(
        results.table,
        workdir,
        results.runs,
        results.arrays,
        results.clips,
        report.resolve(),
    )


def _finished(workdir: Path, sha256: str) -> Results | None:
    """The evaluation that stands in `workdir`, if it is this one and whole."""
    try:
        done = json.loads((workdir / DONE).read_text(encoding="utf-8"))
        table = tables.read_table(workdir / "tables")
        # A figure that was deleted makes the evaluation run again.
        whole = all((workdir / name).exists() for name in done["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if done.get("sha256") != sha256 or not whole:
        return None
    _say("the evaluation of these weights is already there; reusing it")
    return Results(table, workdir, report=(workdir / "report.html").resolve())


def _say(words: str) -> None:
    print(f"[reproduce] {words}", file=sys.stderr, flush=True)
