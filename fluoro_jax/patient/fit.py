"""Trains a tracker for one patient in the minutes given, and judges it.

The run stands in `<out>/run` and goes on where it was interrupted. It ends when the
time is up, however fast the machine is: its learning rate does not fall towards an end
that nobody knows, and what is judged are averaged weights.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fluoro_jax import zoo
from fluoro_jax.clip import Clip
from fluoro_jax.config import validate
from fluoro_jax.data.batches import validation_clips, validation_views
from fluoro_jax.data.patient_bodies import PATIENT
from fluoro_jax.evaluation import tables
from fluoro_jax.evaluation.evaluate import Method, Run, identity, run_method
from fluoro_jax.io.files import write_text
from fluoro_jax.metrics import centroid_px
from fluoro_jax.stages import stage
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.networks import network_tracker
from fluoro_jax.training.loop import train
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.zoo.publish import training

# All ours.
START_FROM = "group"  # published weights whose config is the start of the recipe
SCRATCH, AUTO = "scratch", "auto"  # fresh networks; the better of both in a trial
TRIAL_SHARE = 0.2  # of the minutes, for each of the two
CHOICE = "init.json"  # what a trial found
VIEW_MM = 160.0  # height and width of what the network sees, in the isocentre plane
PIXELS = 128
LAST_MINUTES = 1.5  # for the clips held out, the table and the card
NEVER = 1_000_000  # steps: time ends the run, and there is no critic
LOOKAHEAD = 5  # frames that the judged tracker waits
APPEARANCE = "clutter+texture+warp+exposure"
VAL_CLIPS = 8


@dataclass(frozen=True)
class FitOptions:
    """What a tracker is fitted to.

    Attributes:
        out: folder that holds `patient.npz` in `patient/` and takes the weights.
        name: of the weights.
        gantry_deg: IEC gantry angles of the views, at least one.
        minutes: that training may take, all told.
        seed: of networks and clips.
        init: "scratch", the name or path of published weights to start from, or `AUTO`.
    """

    out: Path
    name: str = "patient"
    gantry_deg: tuple[float, ...] = (0.0,)
    minutes: float = 20.0
    seed: int = 0
    init: str = SCRATCH


def fit(options: FitOptions) -> dict[str, Any]:
    """Trains, judges and writes `<name>.safetensors` with its card into `out`.

    Returns:
        The table of the clips held out, as in an evaluation: moments of the CT, breaths
        and paths of the tumour that training did not see.

    Raises:
        UserError: no patient file, too little time, a run of another patient, or
            weights that are not there.
        SystemExit: interrupted; the same command goes on.
    """
    until = time.monotonic() + 60.0 * (options.minutes - LAST_MINUTES)
    print(f"training for {options.minutes - LAST_MINUTES:.1f} min", flush=True)
    if options.init == AUTO:
        options = dataclasses.replace(options, init=_chosen(options))
    cfg = fit_config(options)
    train(cfg, options.out / "run", until=until, params=_first_params(options))
    return _judge(cfg, options)


def fit_config(options: FitOptions) -> Any:
    """Returns the config of a patient's run: the recipe of the group's weights.

    Other than there: one patient in place of many, a panel of 160 x 160 mm about the
    isocentre at the same pixels of 1.25 mm, and a network of fewer channels behind
    cells of 2 x 2 pixels. From published weights on, panel and network are theirs.
    """
    fresh = options.init == SCRATCH
    name, folder = zoo.find(START_FROM if fresh else options.init)
    cfg: Any = ConfigDict(zoo.load(name, folder=folder).cfg.to_dict())
    cfg.name, cfg.seed, cfg.choices = options.name, options.seed, "validation"
    cfg.study.update(name="clinic", num_train=1, num_val=VAL_CLIPS, num_test=1)
    cfg.study.collimate = False
    if fresh:
        cfg.study.update(rows=PIXELS, cols=PIXELS, detector_mm=1.5 * VIEW_MM)
        cfg.gen.update(base=16, cap=64, patch=2, stem=16)
    cfg.study.gantry_deg = options.gantry_deg[0]
    several = len(options.gantry_deg) > 1
    cfg.data.angles_deg = ",".join(map(str, options.gantry_deg)) if several else ""
    cfg.data.update(bodies="patient", ct_dir=str(options.out / "patient"))
    cfg.data.update(randomise=APPEARANCE, random_start=False)
    cfg.data.update(midline_share=0.0, displaced_mm=0.0)
    # Every device takes at least one clip.
    cfg.data.update(batch_size=max(2, jax.device_count()))
    cfg.data.update(pool_bodies=8, renew_every=40)
    cfg.init.update(parent="", frozen="nothing")
    cfg.gen_opt.update(learning_rate=2e-3, warmup_steps=50, schedule="constant")
    cfg.loss.update(warmup_steps=NEVER, critic_start=NEVER, adv_start=NEVER)
    cfg.loss.foreground_weight = 20.0  # what the figures of docs/patient.md are of
    cfg.train.update(num_steps=NEVER, log_every=20, eval_every=NEVER, save_every=100)
    cfg.train.update(ema_decay=0.995, collapse_after=NEVER)
    return validate(cfg)


def _judge(cfg: Any, options: FitOptions) -> dict[str, Any]:
    generator, params, step = restore_generator(cfg, options.out / "run")
    with stage(f"track {VAL_CLIPS} clips held out"):
        clips = _clips(cfg)
        tracker = network_tracker(generator, params, cfg, LOOKAHEAD)
        runs = {"ours": run_method(Method("ours", "network", tracker), clips, cfg)}
        # Where the tumour lies on average over these very clips, told to nobody else:
        # a tracker that does not look must lose against the network.
        masks = np.stack([np.asarray(clip.mask) for clip in clips])
        places = np.stack([np.asarray(clip.centroid_px) for clip in clips])
        blind = StaticTracker.fit({"mask": masks, "centroid_px": places})
        runs["static"] = run_method(Method("static", "static", blind), clips, cfg)
    table = tables.build_table(runs, cfg) | identity(cfg, params, step)
    tables.write_tables(table, options.out / "tables")
    run = {
        "cases": [],
        "training": {
            "step": step,
            "init": options.init,
            **training(options.out / "run"),
        },
    }
    zoo.save(
        options.name,
        cfg,
        params=params,
        table=table,
        run=run,
        folder=options.out,
        overwrite=True,
    )
    _tell(runs, options)
    if cfg.data.angles_deg:
        _tell_angles(runs["ours"], clips)
    return table


def _first_params(options: FitOptions) -> Any:
    """Returns the parameters to start from, None for fresh ones."""
    if options.init == SCRATCH:
        return None
    name, folder = zoo.find(options.init)
    return zoo.load(name, folder=folder).params


def _chosen(options: FitOptions) -> str:
    """Trains fresh and published networks for a share of the time; returns the better.

    Its run goes on as the fit's; the other one is removed. What was found stands in
    `CHOICE`, and the same command does not try again.
    """
    path = options.out / CHOICE
    inits = (SCRATCH, START_FROM)
    if not path.exists():
        found = {
            init: _trial(dataclasses.replace(options, init=init)) for init in inits
        }
        best = min(found, key=lambda init: found[init]["median_mm"])
        text = json.dumps({"init": best, "trials": found}, indent=1)
        write_text(path, text + "\n")
    best = str(json.loads(path.read_text(encoding="utf-8"))["init"])
    # After the record: a command that ended here goes on here.
    if _trial_folder(options, best).exists():
        _trial_folder(options, best).rename(options.out / "run")
    for init in inits:
        shutil.rmtree(_trial_folder(options, init), ignore_errors=True)
    return best


def _trial(options: FitOptions) -> dict[str, float]:
    """Trains for the share of a trial; returns its median error and its steps."""
    cfg, folder = fit_config(options), _trial_folder(options, options.init)
    until = time.monotonic() + 60.0 * TRIAL_SHARE * options.minutes
    train(cfg, folder, until=until, params=_first_params(options))
    generator, params, step = restore_generator(cfg, folder)
    tracker = network_tracker(generator, params, cfg, LOOKAHEAD)
    # Other clips than those that the fit is judged by in the end.
    clips = _clips(cfg, first=VAL_CLIPS)
    run = run_method(Method("trial", "trial", tracker), clips, cfg)
    errors = np.concatenate([score.distance_mm for score in run.scores])
    median_mm = float(np.median(errors))
    print(f"trial from {options.init}: {median_mm:.2f} mm after {step} steps")
    return {"median_mm": median_mm, "steps": step}


def _trial_folder(options: FitOptions, init: str) -> Path:
    return options.out / f"trial-{init}"


def _clips(cfg: Any, *, first: int = 0) -> list[Clip]:
    """Returns the clips held out, with the centroids of their masks."""
    frames, masks = validation_clips(cfg, "", first=first)
    views = validation_views(cfg, first=first)
    spec = StudySpec.from_config(cfg.study)
    times = spec.frame_s * np.arange(spec.num_frames)
    return [
        Clip(
            frame,
            times,
            view,
            mask.astype(np.float32),
            centroid_px(mask.astype(np.float32)),
        )
        for frame, mask, view in zip(frames, masks, views, strict=True)
    ]


def _tell(runs: dict[str, Run], options: FitOptions) -> None:
    for run in runs.values():
        errors = np.concatenate([score.distance_mm for score in run.scores])
        print(
            f"{run.method.label}: median {np.median(errors):.2f} mm, P95 "
            f"{np.percentile(errors, 95):.2f} mm over {len(errors)} frames held out",
            flush=True,
        )
    print(f"{options.out / options.name}.safetensors and its card", flush=True)
    print(f"fluoro track CLIP --model={options.out} --out=DIR", flush=True)


def _tell_angles(run: Run, clips: list[Clip]) -> None:
    """Prints the errors at each angle: one may be harder than the others."""
    angles = [float(clip.geometry.gantry_deg) for clip in clips]
    for angle in sorted(set(angles)):
        pairs = zip(run.scores, angles, strict=True)
        errors = np.concatenate([s.distance_mm for s, at in pairs if at == angle])
        print(
            f"  at {angle:g} degrees: median {np.median(errors):.2f} mm, P95 "
            f"{np.percentile(errors, 95):.2f} mm over {len(errors)} frames",
            flush=True,
        )


def patient_folder(out: Path) -> Path:
    """Returns where a fit's patient file lies."""
    return out / "patient" / PATIENT
