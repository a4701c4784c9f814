"""The measures of the TrackRAD2025 challenge, as it computes them and corrected.

The challenge's evaluation has properties that matter for fluoroscopy: it takes a pixel
for a millimetre; leaves frames with an empty prediction out of every geometric mean, so
that a tracker gains by saying nothing where it is hard; measures surface distances
from the prediction to the truth alone; and interpolates a binary dose by a cubic
spline, which overshoots. `compat=True` reproduces them, so that numbers can stand
beside the challenge's; `compat=False` is in mm at the isocentre, counts an empty
prediction as Dice 0 and half the frame's diagonal, measures both ways, and shifts the
dose linearly.

Source: https://github.com/LMUK-RADONC-PHYS-RES/trackrad2025, evaluation/evaluate.py as
of 2025, read and not copied.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fluoro_jax import metrics
from fluoro_jax.errors import refuse

NAMES = ("dsc", "hd95", "masd", "cd", "relative_d98_decrease_pct")
MARGIN = 3  # of the dose around the first target, pixels (compat) or mm
BLUR = 4.0  # of its edge, the same units
CUT = 0.25  # of the blurred mask
DOSE_BIN = 0.1  # of the dose-volume histogram; the prescribed dose is 1


def trackrad_metrics(
    pred: np.ndarray,
    truth: np.ndarray,
    pixel_mm: tuple[float, float],
    *,
    compat: bool,
) -> dict[str, float | None]:
    """Returns the challenge's measures of one sequence.

    Args:
        pred: `[T, H, W]` predicted masks in {0, 1}.
        truth: `[T, H, W]` true masks; frames without a target are left out.
        pixel_mm: (row, column) pitch in the isocentre plane.
        compat: as the challenge computes them; distances are then in pixels.

    Returns:
        `NAMES`: Dice; 95 % Hausdorff, mean surface and centre distance (mm at the
        isocentre, or pixels); by how much the dose that 98 % of the first target gets
        falls, per cent. None where no frame counts.

    Raises:
        UserError: masks of other shapes, or a truth without a target.
    """
    pred, truth = np.asarray(pred, bool), np.asarray(truth, bool)
    if pred.shape != truth.shape or pred.ndim != 3:
        refuse(
            f"masks of {pred.shape} and a truth of {truth.shape}",
            "the same frames, rows and columns",
            "masks are compared pixel by pixel",
            "track the clip that the truth belongs to",
        )
    there = truth.any(axis=(1, 2))
    if not there.any():
        refuse(
            "a truth without a target in any frame",
            "at least one frame with a target",
            "there is nothing to compare with",
            "give the truth of this clip",
        )
    pred, truth = pred[there], truth[there]
    unit = (1.0, 1.0) if compat else pixel_mm
    dose = _d98_decrease_pct(pred, truth, unit, compat=compat)
    if compat:
        said = pred.any(axis=(1, 2))
        pred, truth = pred[said], truth[said]
    surface = metrics.asd if compat else metrics.assd
    found = {
        "dsc": metrics.dice(pred, truth),
        "hd95": metrics.hd95(pred, truth, unit),
        "masd": surface(pred, truth, unit),
        "cd": _centre_distance(pred, truth, unit),
    }
    means = {k: float(np.mean(v)) if len(v) else None for k, v in found.items()}
    return {**means, "relative_d98_decrease_pct": dose}


def _centre_distance(
    pred: np.ndarray, truth: np.ndarray, unit: tuple[float, float]
) -> np.ndarray:
    shift = (metrics.centroid_px(pred) - metrics.centroid_px(truth)) * unit
    far = metrics.half_diagonal(pred.shape[-2:], unit)
    distance = np.linalg.norm(shift, axis=-1)
    return np.where(np.isnan(distance), far, distance)


def _d98_decrease_pct(
    pred: np.ndarray, truth: np.ndarray, unit: tuple[float, float], *, compat: bool
) -> float | None:
    """Decrease of D98 when a beam around the first target follows the prediction.

    The dose of each frame is the first target with a margin, moved by the error of the
    centroid. Where nothing was predicted the challenge has no answer; corrected, the
    frame gives no dose, so that silence does not pay.
    """
    target = truth[0]
    beam = _beam(target, unit, compat=compat)
    planned = _d98(beam, target)
    error = metrics.centroid_px(pred) - metrics.centroid_px(truth)
    said = ~np.isnan(error).any(axis=1)
    if planned == 0.0 or not said.any() or (compat and not said.all()):
        return None
    order = 3 if compat else 1
    given = np.zeros(target.shape)
    for shift in error[said]:
        given += ndimage.shift(beam, shift, order=order, mode="nearest")
    return 100.0 * (planned - _d98(given / len(said), target)) / planned


def _beam(target: np.ndarray, unit: tuple[float, float], *, compat: bool) -> np.ndarray:
    """Dose of a beam around the target, `[H, W]` in {0, 1}."""
    if compat:
        cross = ndimage.generate_binary_structure(2, 1)
        wide = ndimage.binary_dilation(target, structure=cross, iterations=MARGIN)
    else:
        # Of a disc, in mm; the challenge's cross grows a diamond.
        away = ndimage.distance_transform_edt(~target, sampling=unit)
        wide = np.asarray(away) <= MARGIN
    sigma = [BLUR / pitch for pitch in unit]
    # A float32 blur: the challenge's cut is made in it.
    soft = ndimage.gaussian_filter(wide.astype(np.float32), sigma=sigma)
    return (soft > CUT).astype(np.float32)


def _d98(dose: np.ndarray, target: np.ndarray) -> float:
    """Dose that 98 % of the target gets, from a cumulative histogram."""
    edges = np.arange(-DOSE_BIN / 2, max(float(dose.max()), 0.0) + DOSE_BIN, DOSE_BIN)
    counts, edges = np.histogram(dose[target], bins=edges)
    middles = (edges[1:] + edges[:-1]) / 2
    share = np.cumsum(counts[::-1])[::-1].astype(float)
    if not share.any():
        return 0.0
    share /= share.max()
    # All of the target in the lowest bin: it gets nothing.
    if share[0] == share.sum():
        return 0.0
    return float(np.interp(0.98, share[::-1], middles[::-1]))
