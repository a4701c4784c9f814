"""Times a simulated clip beside the least its memory traffic must cost.

Bodies, tumours, spectrum, panel and overlaps are timed apart, in turn, at gantry 0. The
paper's whole data are not made: their time is estimated from a few bodies and tumours.
"""

from __future__ import annotations

import dataclasses
import math
import resource
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fluoro_jax.geometry import Geometry
from fluoro_jax.sim import fluoroscope as fl
from fluoro_jax.sim.body import solids
from fluoro_jax.sim.visibility import overlap, window_px
from fluoro_jax.sim.xray import detector, spectrum
from fluoro_jax.sim.xray.exposure import Exposure, exposure_beam, varian_fluoro
from fluoro_jax.studies import STUDIES, StudySpec, fresh_tumor, study_case
from launch.bench import timing

Row = dict[str, Any]
COPY_MIB, COPY_PASSES = 256, 8
MATERIALS = 2
SHADOWS = 4  # rib, heart, spine, diaphragm
SUBSET = (2, 3)  # bodies, and tumours on each, that the whole data are estimated from
# Training and test cases of the paper's three studies; a set's cases share a body.
PAPER = [STUDIES[name] for name in ("group", "subgroup", "patient")]
COUNTS = [study.numbers["train"] + study.numbers["test"] for study in PAPER]
CASES = sum(COUNTS)
BODIES = sum(s.sets.count if s.sets else n for s, n in zip(PAPER, COUNTS, strict=True))
LIMITS_S = {"body": 4.0, "tumour": 0.030, "whole data": 720.0}  # of 256 x 256 pixels
LIMIT_PIXELS = 256
LIMIT_MIB = 3072.0


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the work and its size.

    Attributes:
        program: compiled.
        voxels: of all its volumes, 0 without any.
        samples: on all its rays; without a volume, one a pixel.
    """

    program: timing.Program
    voxels: int
    samples: int


def simulate(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Returns rows of a body, a further tumour, X-ray machine, overlaps, whole data.

    Args:
        cfg: its `study` gives sizes, its `name` the preset.
        peers: none.
        repeats: timed runs of each part.
    """
    del peers
    spec = dataclasses.replace(StudySpec.from_config(cfg.study), gantry_deg=0.0)
    names = {"what": "simulate", "peer": None, "preset": cfg.name}
    parts = make_parts(spec)
    rows = _rows(parts, names, repeats)
    whole = whole_data(spec)
    peak_mib = max(row["peak_mib"] for row in rows)
    resident_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    # last, as it would count as resident
    parts["copy"] = Part(timing.compile_program(_copy, _to_copy()), 0, 0)
    rows += _rows({"copy": parts["copy"]}, names, repeats)
    copied = COPY_PASSES * 2e3 * COPY_MIB * 2**20 / rows[-1]["median_ms"]
    for row, part in zip(rows, parts.values(), strict=True):
        add_rates(row, part, copied)
        row |= {**whole, "resident_mib": resident_mib}
        print(line_of(row, spec))
    print(
        f"memory: {peak_mib:.0f} MiB the largest program (XLA), {resident_mib:.0f} MiB "
        f"resident set at its peak, compiler included (limit {LIMIT_MIB:.0f} MiB)"
    )
    return rows


def _rows(parts: dict[str, Part], names: Row, repeats: int) -> list[Row]:
    programs = [part.program for part in parts.values()]
    timing.run_in_turn(programs, 1)  # warm-up
    seconds = timing.run_in_turn(programs, repeats)
    return [
        timing.make_row(part.program, taken, max_diff=None, variant=name, **names)
        for (name, part), taken in zip(parts.items(), seconds, strict=True)
    ]


def make_parts(spec: StudySpec) -> dict[str, Part]:
    """Returns all parts by name, compiled for one case of the study at gantry 0."""
    view, case = spec.geometry(), study_case(spec, "train", 0).case
    voxel_mm = spec.voxel_mm
    grid_shape = solids.body_grid(voxel_mm)[1]
    pixels = spec.num_frames * spec.rows * spec.cols
    voxels = spec.num_frames * math.prod(grid_shape)
    samples = pixels * grid_shape[1]  # planes of voxels across the beam
    rng = np.random.default_rng(0)
    frames = rng.uniform(1.0, 5.0, (spec.num_frames, spec.rows, spec.cols))
    frames = frames.astype(np.float32)
    # g/cm^2 of soft tissue and bone
    areal_density = np.stack([6.0 * frames, 0.2 * frames])
    make = timing.compile_program
    exposure = varian_fluoro()
    side = window_px(case, view) or spec.rows
    return {
        "body": Part(
            make(lambda c: fl.render_body(c, view, voxel_mm=voxel_mm), case),
            voxels,
            samples,
        ),
        "body, two materials": Part(
            make(lambda c: fl.render_areal_density(c, view, voxel_mm=voxel_mm), case),
            MATERIALS * voxels,
            MATERIALS * samples,
        ),
        "tumour": Part(
            # as in training: the lung is computed once for all tumours of a patient
            make(_add_tumor(view), frames, case, fl.lung_at(case)),
            0,
            pixels,
        ),
        "spectrum": Part(
            make(_spectrum(exposure), areal_density), 0, MATERIALS * pixels
        ),
        "panel": Part(
            make(_panel(view, exposure), frames, jax.random.key(0)), 0, pixels
        ),
        "overlap": Part(
            make(_overlap(case, view, voxel_mm), case.anatomy),
            SHADOWS * voxels,
            SHADOWS * spec.num_frames * grid_shape[1] * min(spec.rows, side) ** 2,
        ),
    }


def _copy(values: jax.Array) -> jax.Array:
    """Reads and writes the whole array several times; nothing stays in a cache."""
    return jax.lax.fori_loop(0, COPY_PASSES, lambda _, x: x * 1.0001, values)


def _to_copy() -> np.ndarray:
    return np.ones(COPY_MIB * 2**18, np.float32)


def _add_tumor(view: Geometry) -> Any:
    return lambda frames, case, lung: fl.add_tumor(frames, case, view, lung=lung)


def _overlap(case: fl.Case, view: Geometry, voxel_mm: float) -> Any:
    # only the anatomy is traced: a traced tumour would be searched on the whole panel
    patient = lambda anatomy: dataclasses.replace(case, anatomy=anatomy)
    return lambda anatomy: overlap(patient(anatomy), view, voxel_mm=voxel_mm)


def _spectrum(exposure: Exposure) -> Any:
    return lambda density: spectrum.line_integral(density, exposure_beam(exposure))


def _panel(view: Geometry, exposure: Exposure) -> Any:
    return lambda line, key: detector.read_out(line, view, exposure, key)


def add_rates(row: Row, part: Part, copied: float) -> None:
    """Adds ns per voxel and per ray sample, and the machine's bandwidth.

    Args:
        row: of `timing.make_row`; gets `ns_per_voxel` (None without a volume),
            `ns_per_sample`, `floor_ns` (one float32 written and read again) and
            `copy_gbyte_per_s`.
        part: what ran.
        copied: bytes read and written a second by a large copy.
    """
    ns = 1e6 * row["median_ms"]
    row["ns_per_voxel"] = ns / part.voxels if part.voxels else None
    row["ns_per_sample"] = ns / part.samples if part.samples else None
    row["floor_ns"] = 1e9 * 2 * np.float32().nbytes / copied
    row["copy_gbyte_per_s"] = copied / 1e9


def line_of(row: Row, spec: StudySpec) -> str:
    """Returns one row in words: its time, its limit, its rates beside the floor."""
    name, took_s = row["variant"], 1e-3 * row["median_ms"]
    if name == "copy":
        return (
            f"copy: {row['copy_gbyte_per_s']:.1f} GB/s read and written; a float32 "
            f"written and read again takes {row['floor_ns']:.2f} ns"
        )
    size = f"{spec.num_frames} frames of {spec.rows} x {spec.cols}"
    words = f"{name}: {1e3 * took_s:.1f} ms for {size}"
    if name in LIMITS_S and spec.rows == spec.cols == LIMIT_PIXELS:
        words += f" (limit {1e3 * LIMITS_S[name]:.0f} ms)"
    for unit in ("voxel", "sample"):
        rate = row[f"ns_per_{unit}"]
        if rate is not None:
            words += f", {rate:.3f} ns per {unit} ({rate / row['floor_ns']:.2f} floors)"
    return words


def whole_data(spec: StudySpec) -> dict[str, float]:
    """Estimates the time of the paper's 540 cases from a few, and prints it.

    Patients are drawn and placed as in the study; every case is a clip with its truth,
    with the overlaps of `overlap` counted apart.

    Returns:
        `whole_data_s`, and `whole_data_overlap_s` with overlaps.
    """
    took = {"draw": [], "body": [], "tumour": [], "overlap": []}
    bodies, tumours = SUBSET
    view, voxel_mm = spec.geometry(), spec.voxel_mm
    rng = np.random.default_rng(0)
    for number in range(-1, bodies):  # the first compiles
        spent = {name: [] for name in took}
        case = _timed(spent["draw"], lambda n=number: _patient(spec, n))
        body = _timed(
            spent["body"], lambda c=case: fl.render_body(c, view, voxel_mm=voxel_mm)
        )
        lung = fl.lung_at(case)
        for _ in range(tumours):
            tumor = fresh_tumor(rng, case, diameter_mm=(20.0, 40.0))
            case = dataclasses.replace(case, tumor=tumor)
            _timed(
                spent["tumour"],
                lambda c=case, f=body, at=lung: fl.add_tumor(f, c, view, lung=at),
            )
        _timed(spent["overlap"], lambda c=case: overlap(c, view, voxel_mm=voxel_mm))
        if number >= 0:
            took = {name: took[name] + spent[name] for name in took}
    mean = {name: float(np.mean(seconds)) for name, seconds in took.items()}
    clips_s = BODIES * (mean["draw"] + mean["body"]) + CASES * mean["tumour"]
    everything = clips_s + CASES * mean["overlap"]
    print(
        f"whole data, estimated from {bodies} bodies with {tumours} tumours each: "
        f"{BODIES} bodies, {CASES} cases, {CASES * spec.num_frames} frames of "
        f"{spec.rows} x {spec.cols} in {clips_s / 60.0:.1f} min (limit "
        f"{LIMITS_S['whole data'] / 60.0:.0f} min at {LIMIT_PIXELS} x {LIMIT_PIXELS}), "
        f"{everything / 60.0:.1f} min with overlaps; a body takes "
        f"{mean['draw']:.2f} s to draw and {mean['body']:.2f} s to render"
    )
    return {"whole_data_s": clips_s, "whole_data_overlap_s": everything}


def _patient(spec: StudySpec, number: int) -> fl.Case:
    return study_case(spec, "train", number + 1).case


def _timed(seconds: list[float], work: Any) -> Any:
    """Returns what `work` answers, waited for; its seconds go on the list."""
    start = time.perf_counter()
    answer = jax.block_until_ready(work())
    seconds.append(time.perf_counter() - start)
    return answer
