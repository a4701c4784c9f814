"""From a scenario's case to its clip, with the true trace between the frames."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import ct_clips
from fluoro_jax.experiments.compare.cases import ScenarioCase, draw_case
from fluoro_jax.experiments.compare.kept_clips import clip_name, read_clip, write_clip
from fluoro_jax.experiments.compare.scenarios import SEEDS, Scenario
from fluoro_jax.geometry import Geometry, position_iso_mm
from fluoro_jax.io.ct import read_ct
from fluoro_jax.io.files import expand_path
from fluoro_jax.sim.ct import ct_volume
from fluoro_jax.sim.fluoroscope import Case, add_tumor, lung_at, render_body
from fluoro_jax.sim.tumor.tumor import tumor_centroid_px, tumor_path_mm
from fluoro_jax.sim.xray.detector import read_out
from fluoro_jax.sim.xray.exposure import Exposure
from fluoro_jax.sim.xray.scatter import Scatter
from fluoro_jax.studies import StudySpec

TRUTH_HZ = 20.0  # of the trace between frames
# One breath, repeated: a CT's frames are slow to make.
CT_BREATH_S = float(ct_clips.BREATH.period_s)


@dataclass(frozen=True)
class ScenarioClip:
    """A clip of the comparison.

    Attributes:
        clip: frames and truth, NumPy leaves.
        truth_time_s: `[M]` s, `TRUTH_HZ`; the frames' times for a CT.
        truth_mm: `[M, 2]` the true centroid (superior, right of image) at those
            times, mm from the isocentre in its plane.
        planning: the patient of the planning scan; None for a CT.
        setup_mm: how far the patient lies from where the scan has them, LPS mm.
    """

    clip: Clip
    truth_time_s: np.ndarray
    truth_mm: np.ndarray
    planning: Case | None
    setup_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


def scenario_clips(
    name: str,
    scenario: Scenario,
    clips: Any,
    *,
    ct: str = "",
    indices: Sequence[int] | None = None,
    kept: Path | None = None,
) -> Iterator[ScenarioClip]:
    """Yields the clips of a scenario, one rendered at a time.

    Args:
        name: of the scenario.
        scenario: its entry.
        clips: the config's section.
        ct: file or folder of a chest CT, for the scenario that needs one.
        indices: of the cases wanted, rising; None for all.
        kept: folder of rendered clips (`kept_clips`); None renders every one.

    Raises:
        UserError: a CT that is needed and not given or cannot be used, or a scenario
            without a case.
    """
    wanted = range(clips.cases) if indices is None else indices
    if scenario.from_ct:
        made = enumerate(_ct_clips(name, scenario, clips, ct))
        yield from (given for index, given in made if index in wanted)
        return
    for index in wanted:
        drawn = draw_case(name, scenario, clips, index)
        yield render(drawn, scenario, voxel_mm=clips.voxel_mm, kept=kept)


def render(
    drawn: ScenarioCase,
    scenario: Scenario,
    *,
    voxel_mm: float,
    kept: Path | None = None,
) -> ScenarioClip:
    """Returns the clip of a case as the scenario's machine records it.

    Args:
        drawn: the case.
        scenario: its entry.
        voxel_mm: side of the body's voxels.
        kept: folder of rendered clips, or None.
    """
    case, view = drawn.case, drawn.geometry
    moved = case
    if drawn.tumor_breathing is not None:
        moved = dataclasses.replace(case, breathing=drawn.tumor_breathing)
    name = clip_name(case, moved, view, voxel_mm) if kept else ""
    clip = read_clip(kept, name, view)
    if clip is None:
        background = render_body(case, view, voxel_mm=voxel_mm)
        # The lung is the body's, also where the tumour has a motion of its own.
        clip = add_tumor(background, moved, view, lung=lung_at(case))
        clip = jax.tree.map(np.asarray, clip)
        write_clip(kept, name, clip)
    clip = _record(clip, scenario, drawn.rng)
    time_s = np.arange(0.0, float(case.time_s[-1]) + 1e-6, 1.0 / TRUTH_HZ)
    places_mm = _places_mm(moved, view, time_s)
    return ScenarioClip(clip, time_s, places_mm, drawn.planning, scenario.setup_mm)


def _places_mm(case: Case, view: Geometry, time_s: np.ndarray) -> np.ndarray:
    """Returns the true centroids at `[M]` s, `[M, 2]` mm at the isocentre."""
    path = tumor_path_mm(case.tumor, case.breathing, time_s, case.anatomy)
    place_fn = lambda centre: tumor_centroid_px(view, case.tumor, centre)
    return np.asarray(position_iso_mm(view, jax.vmap(place_fn)(path)))


def _record(clip: Clip, scenario: Scenario, rng: np.random.Generator) -> Clip:
    """Returns the clip with the scenario's scatter, quanta, gain and missing frames."""
    frames, domain = clip.frames, clip.domain
    key = jax.random.key(np.uint32(rng.integers(2**32)))
    if scenario.photons or scenario.scatter_ratio:
        scatter = (
            Scatter(spr=scenario.scatter_ratio) if scenario.scatter_ratio else None
        )
        machine = Exposure(quanta=scenario.photons or None, scatter=scatter)
        frames = np.asarray(read_out(frames, clip.geometry, machine, key))
        domain = "log"
    if scenario.gain != 1.0:
        late = np.arange(len(frames)) >= len(frames) // 2
        # The open beam was read before the gain changed.
        frames = frames - np.float32(np.log(scenario.gain)) * late[:, None, None]
        domain = "log"
    clip = dataclasses.replace(clip, frames=frames, domain=domain)
    if not scenario.dropped:
        return clip
    kept = rng.random(len(frames)) >= scenario.dropped
    kept[0] = True  # a reference is frame 0
    # Leaves of the clip that are not the geometry's have the frames' axis first.
    return dataclasses.replace(
        clip,
        **{
            name: getattr(clip, name)[kept]
            for name in ("frames", "time_s", "mask", "centroid_px", "centre_mm")
        },
    )


def _ct_clips(
    name: str, scenario: Scenario, clips: Any, ct: str
) -> Iterator[ScenarioClip]:
    if not ct:
        raise UserError(
            f"scenario {name} without --ct",
            needed="a whole chest: DICOM folder, .nii.gz or .mha",
            why="its clips are rendered from it",
            fix="add --ct=FILE, or leave the scenario out with --scenarios",
        )
    volume = ct_volume(*read_ct(expand_path(ct)))
    spec = StudySpec(rows=clips.rows, cols=clips.rows, detector_mm=clips.detector_mm)
    breaths = max(round(clips.seconds / CT_BREATH_S), 1)
    frames = round(CT_BREATH_S * clips.frames_per_s)
    sequences = ct_clips.clips(
        volume,
        spec.geometry(),
        count=clips.cases,
        seed=(SEEDS[clips.seeds] + zlib.crc32(name.encode())) % 2**32,
        num_frames=frames,
        frame_s=CT_BREATH_S / frames,
    )
    for _, clip in sequences:
        whole = _repeated(clip, breaths)
        centroid_px = np.asarray(whole.centroid_px)
        place_mm = np.asarray(position_iso_mm(clip.geometry, centroid_px))
        whole = _record(whole, scenario, np.random.default_rng(0))
        yield ScenarioClip(whole, np.asarray(whole.time_s), place_mm, None)


def _repeated(clip: Clip, breaths: int) -> Clip:
    """Returns a clip of one breath, `breaths` times."""
    again = lambda values: np.concatenate([np.asarray(values)] * breaths)
    parts = {
        name: again(getattr(clip, name))
        for name in ("frames", "mask", "centroid_px", "centre_mm")
    }
    frames = len(parts["frames"])
    time_s = np.arange(frames) * (CT_BREATH_S * breaths / frames)
    return dataclasses.replace(clip, time_s=time_s, periodic=False, **parts)
