"""From a study's case to its clip: the one place where studies are simulated."""

from __future__ import annotations

import jax
import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.fluoroscope import Case, add_tumor, render_body, simulate
from fluoro_jax.sim.xray.exposure import varian_fluoro
from fluoro_jax.studies.spec import STREAMS, StudyCase, StudySpec

Array = jax.Array


def render_case(
    case: StudyCase, spec: StudySpec, *, background: Array | None = None
) -> Clip:
    """Returns the clip of one case of a study.

    Args:
        case: the case.
        spec: its study.
        background: the case's body without the tumour if it is at hand, from
            `render_background`; ignored in studies seen through a real panel.
    """
    return render_clip(
        case.case,
        case.geometry,
        noise_key(spec.seed, case.split, case.index),
        spec,
        background=background,
    )


def render_clip(
    case: Case,
    geometry: Geometry,
    key: Array,
    spec: StudySpec,
    *,
    background: Array | None = None,
) -> Clip:
    """Returns the clip of any case, rendered as the study renders its own.

    Args:
        case: body, breathing, tumour and times.
        geometry: the view.
        key: a typed JAX key, for the noise.
        spec: gives voxel size, quanta and whether a real panel takes the frames.
        background: see `render_case`.
    """
    if spec.exposed:
        machine = varian_fluoro()
        return simulate(case, geometry, key, voxel_mm=spec.voxel_mm, exposure=machine)
    if background is None:
        background = render_background(case, geometry, spec)
    return add_tumor(background, case, geometry, photons=spec.photons, key=key)


def noise_key(seed: int, split: str, index: int) -> Array:
    """Returns the key of a case's noise, whatever the number of cases of any split."""
    key = jax.random.fold_in(jax.random.key(seed), np.uint32(STREAMS[split]))
    return jax.random.fold_in(key, index)


def render_background(case: Case, geometry: Geometry, spec: StudySpec) -> Array:
    """Returns the body's line integrals without the tumour, `[T, rows, cols]`."""
    return render_body(case, geometry, voxel_mm=spec.voxel_mm)
