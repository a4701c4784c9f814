"""From options to cases, and from a case to its clip and its ground truth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax import __version__
from fluoro_jax.cli.commands import read_config
from fluoro_jax.cli.simulate.options import (
    DEFAULT_ROWS,
    DEFAULT_VOXEL_MM,
    SPEC_KEYS,
    Options,
)
from fluoro_jax.clip import Clip
from fluoro_jax.config import validate
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, axis_names, iec_to_lps, position_iso_mm
from fluoro_jax.sim import fluoroscope as fl
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal, load_trace
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.sim.placement import sample_tumor, to_numpy
from fluoro_jax.sim.tumor.shapes import KINDS, sample_shape
from fluoro_jax.sim.tumor.tumor import Tumor, check_tumor, tumor_coverage
from fluoro_jax.sim.visibility import contrast, contrast_to_noise, overlap
from fluoro_jax.sim.xray.exposure import (
    Exposure,
    elekta_fluoro,
    varian_fluoro,
)
from fluoro_jax.sim.xray.exposure import (
    validate as check_exposure,
)
from fluoro_jax.sim.xray.scatter import air_gap_mm
from fluoro_jax.studies import STREAMS, StudySpec, case_labels, sample_group_case

IDEAL = "line integrals at 60 keV, bone bright"
READ = "minus the logarithm of the panel's reading over the open beam, bone bright"
DEFAULT_MAS = 0.4
BREATH_S = 5.0  # a usual breath; a stretch of a recording that holds one


@dataclass
class Drawn:
    """One case and how it was drawn.

    Attributes:
        name: of its folder.
        case: what is simulated.
        labels: diameter, amplitudes, side, lobe (a zone: see placement.py), shape.
        noise_key: a JAX key.
    """

    name: str
    case: fl.Case
    labels: dict[str, Any]
    noise_key: jax.Array


def study_spec(options: Options) -> tuple[StudySpec, dict[str, str]]:
    """Returns the clip that was asked for, and the source of each of its values.

    Raises:
        UserError: for a config or a value that no study can have, or a clip that is
            longer than its recording.
    """
    spec, sources = _asked_spec(options)
    clip_s = (spec.num_frames - 1) * spec.frame_s
    _check_recording(options.breathing, clip_s)
    return spec, sources


def _asked_spec(options: Options) -> tuple[StudySpec, dict[str, str]]:
    if options.config:
        words = [f"--config={options.config}", *options.overrides]
        # A config of a study, not of a training: batches and networks need not fit.
        cfg = validate(read_config("simulate", words), training=False)
        spec, origin = StudySpec.from_config(cfg.study), options.config
    else:
        rows = DEFAULT_ROWS
        spec = StudySpec(rows=rows, cols=rows, voxel_mm=DEFAULT_VOXEL_MM)
        origin = "default"
    asked = {name: getattr(options, name) for name in SPEC_KEYS}
    asked = {name: value for name, value in asked.items() if value is not None}
    sources = {name: "command line" if name in asked else origin for name in SPEC_KEYS}
    # One option for a square frame; --cols is for others.
    if "rows" in asked and "cols" not in asked:
        asked["cols"] = asked["rows"]
        sources["cols"] = "as rows"
    # Quanta come from the tube then; --photons would draw them twice.
    if options.kvp is not None:
        asked["photons"], sources["photons"] = 0.0, "off, as --kvp is on"
    try:
        return dataclasses.replace(spec, seed=options.seed, **asked), sources
    except UserError as error:
        raise _of_an_option(error, asked) from error


def _check_recording(kind: str, clip_s: float) -> None:
    if not kind.startswith("trace:"):
        return
    recorded_s = _recorded_s(*load_trace(kind.removeprefix("trace:")))
    if clip_s + BREATH_S > recorded_s:
        raise UserError(
            f"clips of {clip_s:g} s with --breathing={kind}",
            needed=f"at most {recorded_s - BREATH_S:g} s: the recording less a breath",
            why="after its end the chest would stand still",
            fix="fewer or closer frames, or --breathing=irregular, which is drawn",
        )


def _recorded_s(mm: np.ndarray, rate_hz: float) -> float:
    return (len(mm) - 1) / rate_hz


def _of_an_option(error: UserError, asked: dict[str, Any]) -> UserError:
    """Returns the error of a study's key as that of the option that gave its value."""
    key = error.found.removeprefix("study.").split(" ")[0]
    if key not in asked:
        return error
    flag = f"--{key.replace('_', '-')}"
    return UserError(
        f"{flag} {asked[key]}",
        needed=error.needed,
        why="no clip can be simulated with it",
        fix=f"correct {flag}, or leave it out to take the default",
    )


def machine_of(options: Options, view: Geometry) -> Exposure | None:
    """Returns the X-ray machine, or None for ideal line integrals.

    Args:
        options: its tube and panel.
        view: of the clip. Every panel is put at its distance (not at a machine's own
            SDD), so the air gap is the view's.

    Raises:
        UserError: for a setting that no machine has.
    """
    if options.kvp is None:
        return None
    mas = DEFAULT_MAS if options.mas is None else options.mas
    make = {"varian": varian_fluoro, "elekta": elekta_fluoro}[options.panel]
    exposure = make(options.kvp, mas)
    assert exposure.scatter is not None
    # The panel stands where the view has it, and scatter falls with the air gap.
    scatter = dataclasses.replace(exposure.scatter, gap_mm=air_gap_mm(view))
    exposure = dataclasses.replace(exposure, scatter=scatter)
    check_exposure(exposure)
    return exposure


def draw_case(spec: StudySpec, options: Options, number: int) -> Drawn:
    """Draws case `number` of a seed, whatever the number of cases.

    Body, breathing and tumour are those of the group study's training population; other
    breathing keeps the body, and its amplitudes as those of a usual breath, or of the
    clip's deepest one where that is deeper.
    """
    # By the case's number: case 7 is the same whether 8 or 800 are asked for.
    rng = np.random.default_rng([spec.seed, STREAMS["simulate"], number])
    case = sample_group_case(rng, spec)
    drawn_mm, asked_mm = float(case.tumor.diameter_mm), options.diameter_mm
    size_mm = drawn_mm if asked_mm is None else asked_mm
    # Before it is placed: a tumour that cannot be should not cost a search for its
    # site.
    check_tumor(
        dataclasses.replace(
            case.tumor, diameter_mm=size_mm, density_g_cc=options.density_g_cc
        )
    )
    if options.breathing != "cycle":
        breathing = _other_breathing(rng, options.breathing, case)
        case = dataclasses.replace(case, breathing=breathing, periodic=False)
    # Placed again only where one changed: the site was checked for those that were
    # drawn.
    if options.breathing != "cycle" or size_mm != drawn_mm:
        tumor = sample_tumor(
            rng, case.anatomy, case.breathing, case.time_s, diameter_mm=size_mm
        )
        case = dataclasses.replace(case, tumor=tumor)
    kind = options.shape
    if kind == "mixed":
        kind = KINDS[int(rng.integers(len(KINDS)))]
    density = np.float32(options.density_g_cc)
    shape = sample_shape(rng, kind)  # within the sphere that was placed
    case = dataclasses.replace(
        case,
        tumor=dataclasses.replace(case.tumor, shape=shape, density_g_cc=density),
        heartbeat=options.heartbeat,
        # a breath is seldom a whole number of beats
        periodic=case.periodic and not options.heartbeat,
    )
    # NumPy's uint32: a Python int from 2^31 on overflows JAX's int32.
    key = jax.random.key(np.uint32(rng.integers(2**32)))
    labels = {**_labels(case), "shape": kind, "breathing": options.breathing}
    return Drawn(f"case_{number:04d}", case, labels, key)


def _labels(case: fl.Case) -> dict[str, Any]:
    """Returns `case_labels`, amplitudes those of the deepest breath that is seen."""
    labels, breathing = case_labels(case), case.breathing
    if breathing.trace is not None or breathing.breaths is not None:
        # Not what the curve is multiplied by: that counts from no exhale of the body.
        moves = fl.breathing_displacement_mm(breathing, case.time_s)
        labels["si_mm"], labels["ap_mm"] = (float(np.max(mm)) for mm in moves)
    return labels


def _other_breathing(rng: np.random.Generator, kind: str, case: fl.Case) -> Breathing:
    clip_s = float(case.time_s[-1])
    if kind == "irregular":
        key = jax.random.key(np.uint32(rng.integers(2**32)))
        breathing = _irregular(key, clip_s + float(case.breathing.period_s))
    else:
        mm, rate_hz = load_trace(kind.removeprefix("trace:"))
        # Any stretch of the recording that is long enough. The chest's lag counts in
        # breaths, and in many studies the case's own breath is as long as its clip.
        spare_s = _recorded_s(mm, rate_hz) - clip_s - BREATH_S
        breathing = dataclasses.replace(
            case.breathing,
            period_s=BREATH_S,
            trace=mm / _usual_depth(mm, round(BREATH_S * rate_hz)),
            trace_rate_hz=rate_hz,
            start=case.breathing.ap_lag + rng.uniform(0.0, spare_s) / BREATH_S,
        )
    si, ap = (np.asarray(s) for s in breathing_signal(breathing, case.time_s))
    # The clip's deepest exhale is the body's, and nothing in it is deeper than the
    # amplitude that was drawn: the body can take both. Shallow breaths (of a curve
    # whose usual depth is 1) stay shallow: turned up, they would be too fast.
    exhale = min(si.min(), ap.min())
    breathing = dataclasses.replace(
        _lowered(breathing, exhale),
        si_mm=case.breathing.si_mm / max(float(si.max() - exhale), 1.0),
        ap_mm=case.breathing.ap_mm / max(float(ap.max() - exhale), 1.0),
    )
    return to_numpy(breathing)


def _usual_depth(mm: np.ndarray, steps: int) -> float:
    """Returns how far stretches of so many steps go in a recording, mm.

    The 95th percentile over all stretches: one sigh is no scale.
    """
    stretch = min(max(steps, 1) + 1, len(mm))
    stretches = np.lib.stride_tricks.sliding_window_view(mm, stretch)
    return float(np.percentile(np.ptp(stretches, axis=1), 95))


def _lowered(breathing: Breathing, by: float) -> Breathing:
    """Returns uneven breaths or a trace with its curve lower by this fraction."""
    if breathing.trace is not None:
        return dataclasses.replace(breathing, trace=breathing.trace - by)
    assert breathing.breaths is not None
    baseline = breathing.breaths.baseline - by
    breaths = dataclasses.replace(breathing.breaths, baseline=baseline)
    return dataclasses.replace(breathing, breaths=breaths)


# Seconds decide the length of an array, so they are static.
_irregular = jax.jit(sample_breathing, static_argnums=1)


def simulate_case(
    drawn: Drawn, spec: StudySpec, exposure: Exposure | None = None
) -> tuple[Clip, dict[str, np.ndarray]]:
    """Returns the clip and its visibility per frame.

    Visibility, each `[T]`: overlaps, contrast (at 60 keV) and, with `spec.photons`,
    contrast to noise.
    """
    geometry, case = spec.geometry(), drawn.case
    # Without tumour once: the tumour, overlaps and contrast are all made from it.
    body = fl.render_body(case, geometry, voxel_mm=spec.voxel_mm)
    plain = fl.add_tumor(body, case, geometry)
    over = overlap(case, geometry, voxel_mm=spec.voxel_mm)
    seen = {f"overlap_{name}": share for name, share in over.items()}
    seen["contrast"] = contrast(body, plain.frames, plain.mask)
    clip = plain
    if spec.photons:
        quanta = spec.photons
        seen["contrast_to_noise"] = contrast_to_noise(
            body, plain.frames, plain.mask, quanta
        )
        noisy = fl.jitted_quantum_noise(plain.frames, drawn.noise_key, quanta)
        clip = dataclasses.replace(plain, frames=noisy)
    if exposure is not None:
        key, voxel_mm = drawn.noise_key, spec.voxel_mm
        # The machine's own noise, from another simulation: `plain` keeps the exact
        # contrast.
        clip = fl.simulate(case, geometry, key, voxel_mm=voxel_mm, exposure=exposure)
    return jax.tree.map(np.asarray, clip), jax.device_get(seen)


def coverage_of(clip: Clip, tumor: Tumor) -> np.ndarray:
    """Returns soft masks `[T, H, W]`: share of each pixel that the shadow covers."""
    path = iec_to_lps(jnp.asarray(clip.centre_mm))
    return np.asarray(_coverage(clip.geometry, tumor, path))


# Jitted as a whole: the projection of every frame is one program.
@jax.jit
def _coverage(view: Geometry, tumor: Tumor, path_mm: jax.Array) -> jax.Array:
    return jax.lax.map(lambda centre: tumor_coverage(view, tumor, centre), path_mm)


def truth_of(
    drawn: Drawn,
    clip: Clip,
    seen: dict[str, np.ndarray],
    *,
    spec: StudySpec,
    sources: dict[str, str],
    exposure: Exposure | None = None,
) -> dict[str, Any]:
    """Returns the ground truth of a clip for JSON; lengths in mm, times in s."""
    view = clip.geometry
    assert clip.centroid_px is not None and clip.mask is not None
    centroid_iso = np.asarray(position_iso_mm(view, clip.centroid_px))
    vertical, horizontal = axis_names(float(view.gantry_deg))
    case = drawn.case
    return {
        "case": drawn.name,
        "fluoro_jax": __version__,
        "seed": spec.seed,
        "number": int(drawn.name.rsplit("_")[-1]),
        "labels": drawn.labels,
        "frames": {
            "holds": IDEAL if exposure is None else READ,
            "photons": {"value": spec.photons, "source": sources["photons"]},
            "rate_hz": 1.0 / spec.frame_s,
            "time_s": plain_json(clip.time_s),
            "periodic": clip.periodic,
            "heartbeat": case.heartbeat,
        },
        "geometry": _geometry_json(spec, sources),
        "exposure": plain_json(exposure),
        "axes": {
            "centroid_px": "row, column; 0, 0 is the centre of the top left pixel",
            "centroid_iso_mm": f"{vertical} (superior), {horizontal} (image right), "
            "in the isocentre plane",
            "centre_mm": "IEC 61217: left, superior, anterior, about the isocentre",
            "pixel_of_the_mha": "(row, column) mm in the isocentre plane",
        },
        "centroid_px": plain_json(clip.centroid_px),
        "centroid_iso_mm": plain_json(centroid_iso),
        "centre_mm": plain_json(clip.centre_mm),
        "range_mm": range_mm(clip),
        "mask_area_px": plain_json(np.sum(clip.mask, axis=(1, 2))),
        **{name: plain_json(values) for name, values in sorted(seen.items())},
        "anatomy": plain_json(case.anatomy),
        "breathing": plain_json(case.breathing),
        "tumor": plain_json(case.tumor),
    }


def range_mm(clip: Clip) -> dict[str, float]:
    """Returns the range of the tumour's centre along each axis of the patient, mm."""
    ranges = np.ptp(np.asarray(clip.centre_mm, float), axis=0)
    return dict(zip(("LR", "SI", "AP"), ranges.tolist(), strict=True))


def _geometry_json(spec: StudySpec, sources: dict[str, str]) -> dict[str, Any]:
    view = spec.geometry()
    study = "the studies' view"
    pitch = f"detector_mm ({sources['detector_mm']}) / rows, cols"
    values = {
        "sad_mm": (view.sad_mm, study),
        "sdd_mm": (view.sdd_mm, study),
        "gantry_deg": (view.gantry_deg, sources["gantry_deg"]),
        "rows": (view.rows, sources["rows"]),
        "cols": (view.cols, sources["cols"]),
        "pixel_mm": (list(view.pixel_mm), pitch),
        "offset_mm": (list(view.offset_mm), study),
    }
    return {k: {"value": v, "source": s} for k, (v, s) in values.items()}


def plain_json(tree: Any) -> Any:
    """Returns a pytree of numbers as dictionaries, lists and floats; None stays."""
    if dataclasses.is_dataclass(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        return {name: plain_json(getattr(tree, name)) for name in names}
    if isinstance(tree, dict):
        return {name: plain_json(value) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [plain_json(value) for value in tree]
    if tree is None or isinstance(tree, str):
        return tree
    return np.asarray(tree).tolist()
