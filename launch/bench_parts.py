"""The simulator and its projector; nothing of a peer's stands beside them yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fluoro_jax.sim import projector as projecting
from fluoro_jax.sim import solids
from fluoro_jax.sim.fluoroscope import simulate as film_of
from fluoro_jax.studies import StudySpec, study_case
from launch import timing

Row = dict[str, Any]


def projector(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """One view of a body volume, at gantry 0 and at 30 degrees."""
    study = cfg.study
    grid, shape = solids.body_grid(study.voxel_mm)
    panel = StudySpec.from_config(study).geometry()
    mu = np.random.default_rng(0).uniform(0.0, 0.02, shape).astype(np.float32)
    rows = []
    for angle in (0.0, 30.0):
        view = dataclasses.replace(panel, gantry_deg=angle)
        program = timing.compile_program(
            lambda mu, view=view: projecting.project(mu, grid, view), mu
        )
        variant = f"forward, gantry {angle:g}"
        names = {"what": "projector", "variant": variant, "preset": cfg.name}
        rows += timing.compare({None: program}, names, repeats)
    return rows


def simulate(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """The film of one case of the study."""
    spec = StudySpec.from_config(cfg.study)
    case = study_case(spec, "train", 0).case
    view = spec.geometry()
    film = lambda case: film_of(case, view, voxel_mm=spec.voxel_mm).frames
    names = {"what": "simulate", "variant": "forward", "preset": cfg.name}
    return timing.compare({None: timing.compile_program(film, case)}, names, repeats)
