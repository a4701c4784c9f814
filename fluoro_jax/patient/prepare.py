"""From a CT or 4DCT and contours to the file that a patient's tracker is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fluoro_jax.data.patient_bodies import PatientFile
from fluoro_jax.io.contours import rasterise
from fluoro_jax.io.volumes import CtPhase, FourDCt, Roi
from fluoro_jax.patient.phases import PhaseMotion, register_phases, volume_at
from fluoro_jax.sim.ct_body import TAKEN_AT, resampled
from fluoro_jax.sim.ct_gtv import cut_gtv

VOXEL_MM = 2.0  # of the bodies: finer than a pixel of the panel is seen at the tumour
STILL_MM = 1.0  # a tumour that moves less between phases says nothing of the breath


def prepare(
    ct: CtPhase | FourDCt,
    rois: Mapping[int, Roi | np.ndarray],
    isocentre_mm: Sequence[float] | None,
) -> tuple[PatientFile, dict[str, object]]:
    """Returns a patient ready for training, and what was found on the way.

    A phase without contours of its own takes those of a phase that has some, carried
    by the registration of the phases (`phases.register_phases`).

    Args:
        ct: one volume, or the phases of a breath.
        rois: the tumour by index of the phase (0 for a single CT): its contours, or the
            share `[Z, Y, X]` of each voxel inside.
        isocentre_mm: (x, y, z) LPS mm of the CT; None takes the tumour's centroid in
            the first phase with contours.

    Returns:
        The patient; a dict, ready for JSON: volume, motion and residuals.

    Raises:
        UserError: contours that are not in the CT, no tumour, no lung around it; no
            SimpleITK where phases must be registered.
    """
    phases = ct.phases if isinstance(ct, FourDCt) else (ct,)
    shares = {
        index: rasterise(roi, ct.grid, phases[index].hu.shape)
        if isinstance(roi, Roi)
        else roi
        for index, roi in rois.items()
    }
    told: dict[str, object] = {}
    if isinstance(ct, FourDCt) and len(shares) < len(phases):
        first = min(shares)
        motion = register_phases(ct, reference=first)
        shares |= _carried(shares[first], motion, ct, skip=shares)
        told["registration"] = {
            "reference_percent": float(motion.percents[first]),
            "before_hu": [round(float(v), 1) for v in motion.before_hu],
            "after_hu": [round(float(v), 1) for v in motion.after_hu],
            "inverse_p95_mm": round(motion.inverse_mm, 2),
        }
    bodies, centres, gtv = [], [], None
    for index, phase in enumerate(phases):
        without, own, centre = cut_gtv(phase.hu, ct.grid, shares[index])
        values, grid = resampled(without, ct.grid, VOXEL_MM)
        bodies.append(values)
        centres.append(centre)
        # The contours that were drawn, and not carried, give the tumour its form.
        gtv = own if gtv is None or index == min(rois) else gtv
    centre_mm = np.stack(centres)
    assert gtv is not None
    told["volume_ml"] = round(float(np.sum(gtv.share)) / 1000.0, 3)
    told["centre_mm"] = [[round(float(x), 2) for x in row] for row in centre_mm]
    told["taken_at"] = [round(float(x), 3) for x in taken_at(centre_mm)]
    centre = centre_mm[min(rois)] if isocentre_mm is None else isocentre_mm
    patient = PatientFile(
        hu=np.stack(bodies),
        grid=grid,
        taken_at=taken_at(centre_mm),
        centre_mm=centre_mm,
        isocentre_mm=np.asarray(centre, float),
        gtv=gtv,
    )
    return patient, told


def taken_at(centre_mm: np.ndarray) -> np.ndarray:
    """Returns the fraction of a full breath at each moment, `[N]` (0: exhale).

    By how far down the tumour is; halfway where it moves under a millimetre, and for a
    single CT, of which nothing is known.

    Args:
        centre_mm: `[N, 3]` the tumour's centroids, LPS mm.
    """
    height = centre_mm[:, 2]
    span = float(np.ptp(height))
    if span < STILL_MM:
        return np.full(len(height), TAKEN_AT)
    return (height.max() - height) / span


def _carried(
    share: np.ndarray, motion: PhaseMotion, ct: FourDCt, *, skip: Mapping[int, object]
) -> dict[int, np.ndarray]:
    found = {}
    for index in range(len(ct.phases)):
        if index not in skip:
            moved = volume_at(share, ct.grid, motion, motion.fields_mm[index])
            found[index] = np.clip(moved, 0.0, 1.0)  # beyond the field there is air
    return found
