"""Clips of a real CT that breathes, with one simulated tumour each."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry, lps_to_iec
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct import (
    CtVolume,
    animate,
    find_landmarks,
    find_lung,
)
from fluoro_jax.sim.ct_body import TAKEN_AT
from fluoro_jax.sim.ct_tumor import path_mm, sample_sites, sphere_frame
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_centroid_px, tumor_mask
from fluoro_jax.sim.xray.projector import project

# Ours; quiet, see studies.Motion.
BREATH = Breathing(period_s=5.0, si_mm=14.0, ap_mm=5.0)


def clips(
    volume: CtVolume,
    geometry: Geometry,
    *,
    count: int,
    seed: int,
    num_frames: int = 10,
    frame_s: float = 0.5,
    diameter_mm: tuple[float, float] = (12.0, 35.0),
) -> Iterator[tuple[float, Clip]]:
    """Yields diameters and clips of one CT with one simulated tumour each.

    Args:
        volume: the CT, its lungs whole.
        geometry: the view.
        count: tumours.
        seed: of sites and sizes.
        num_frames: of a clip.
        frame_s: time between frames.
        diameter_mm: range of the spheres.

    Raises:
        UserError: for a CT without lungs, or too small for the tumours or the motion.
    """
    lung = find_lung(volume)
    marks = find_landmarks(lung, volume.grid, taken_at=TAKEN_AT)
    time_s = np.arange(num_frames) * frame_s
    moments = list(animate(volume, marks, BREATH, time_s, lung=lung))
    # The patient is projected once for all tumours: spheres are added in closed form.
    frames = [project(now.mu(), now.grid, geometry) for now in moments]
    rng = np.random.default_rng(seed)
    sites = sample_sites(rng, lung, volume.grid, count=count, diameter_mm=diameter_mm)
    for centre, diameter in sites:
        path = path_mm(marks, BREATH, time_s, centre)
        tumor = Tumor(centre, diameter, 0.0, 0.0)
        added = [
            frame + sphere_frame(now, geometry, place, diameter)
            for frame, now, place in zip(frames, moments, path, strict=True)
        ]
        yield (
            diameter,
            Clip(
                frames=np.asarray(jnp.stack(added)),
                time_s=time_s,
                geometry=geometry,
                mask=np.stack([tumor_mask(geometry, tumor, place) for place in path]),
                centroid_px=np.stack(
                    [tumor_centroid_px(geometry, tumor, place) for place in path]
                ),
                centre_mm=np.asarray(lps_to_iec(path)),
                # Exactly one breath, or the stack must not wrap.
                periodic=num_frames * frame_s == BREATH.period_s,
            ),
        )
