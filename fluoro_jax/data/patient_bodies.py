"""One patient's own CT and tumour as the training pool (`data.bodies = "patient"`).

The patient file holds the CT at one or several moments of a breath, each without the
tumour, and the tumour by itself (`sim.ct_gtv`). Every patient of the pool is one of
these moments, breathing on from there by `sim.ct.animate`; every example moves the
tumour with the lung by an amplitude of its own, and sets it off from there: further
than it was seen to go.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.data.appearance import finish
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, Grid, iso_pixel_mm
from fluoro_jax.io.files import expand_path, write_all
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct_body import CtBody, breathing_frames, ct_body
from fluoro_jax.sim.ct_gtv import Gtv, gtv_clip
from fluoro_jax.sim.ct_tumor import path_mm
from fluoro_jax.sim.fluoroscope import Case, add_quantum_noise
from fluoro_jax.studies import StudySpec

Array = jax.Array
PATIENT = "patient.npz"  # in `data.ct_dir`
# All ours. Of the lung's motion at the tumour; beyond 1 it moves further than the lung.
AMPLITUDE = (0.3, 1.7)
# (left, posterior, superior): of a clip, from where the CT says. 3 mm of baseline shift
# and as much of registration error lie within.
OFF_MM = (4.0, 4.0, 8.0)
VAL_FIRST = 1_000_000  # the pool's patients from here on are for validation
LEAST_SCAN = 0.75  # of a frame's height about the isocentre that the CT must hold
HELD_OUT = 4  # every so many moments, one is for validation alone


@dataclass(frozen=True)
class PatientFile:
    """A patient, ready for training; lengths in mm.

    Attributes:
        hu: `[N, Z, Y, X]` HU without the tumour, at N moments of a breath.
        grid: of `hu`, in the CT's own (LPS) coordinates.
        taken_at: `[N]` fraction of a full breath at each moment (0: exhale).
        centre_mm: `[N, 3]` the tumour's centroid at each moment, in those coordinates.
        isocentre_mm: `[3]`, likewise.
        gtv: the tumour.
    """

    hu: np.ndarray
    grid: Grid
    taken_at: np.ndarray
    centre_mm: np.ndarray
    isocentre_mm: np.ndarray
    gtv: Gtv


def write_patient(path: Path, patient: PatientFile) -> None:
    """Writes a patient file (NumPy's npz), whole or not at all."""
    gtv, grid = patient.gtv, patient.grid
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        hu=patient.hu.astype(np.int16),
        grid=np.array([grid.origin_mm, grid.spacing_mm], float),
        taken_at=patient.taken_at,
        centre_mm=patient.centre_mm,
        isocentre_mm=patient.isocentre_mm,
        gtv_extra=np.asarray(gtv.extra, np.float32),
        gtv_share=np.asarray(gtv.share, np.float32),
        gtv_grid=np.array([gtv.grid.origin_mm, gtv.grid.spacing_mm], float),
    )
    write_all({path: buffer.getvalue()})


def read_patient(path: str | Path) -> PatientFile:
    """Reads a patient file.

    Raises:
        UserError: no such file, or another one.
    """
    path = expand_path(str(path))
    try:
        # NumPy leaves a file open that it cannot read.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
        as_grid = lambda key: _grid(found[key])
        return PatientFile(
            hu=found["hu"],
            grid=as_grid("grid"),
            taken_at=found["taken_at"],
            centre_mm=found["centre_mm"],
            isocentre_mm=found["isocentre_mm"],
            gtv=Gtv(found["gtv_extra"], found["gtv_share"], as_grid("gtv_grid")),
        )
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, EOFError) as error:
        raise UserError(
            f"{path}: no patient file ({error.__class__.__name__}: {error})",
            needed="a patient.npz as `fluoro fit` writes it",
            why='data.bodies = "patient" trains on one patient\'s CT and tumour',
            fix="fluoro fit --ct=DIR --rtstruct=FILE --roi=GTV -o MODEL",
        ) from error


def _grid(rows: np.ndarray) -> Grid:
    (ox, oy, oz), (dx, dy, dz) = rows.tolist()
    return Grid((ox, oy, oz), (dx, dy, dz))


def patient_size(folder: str | Path) -> dict[str, int]:
    """Returns the bytes of a folder's patient file: which patient a run is of."""
    return {PATIENT: (expand_path(str(folder)) / PATIENT).stat().st_size}


@dataclass(frozen=True)
class PatientClip:
    """A patient of the pool: one moment of the CT, breathing on from there.

    Attributes:
        number: of the patient in the pool.
        gtv: the tumour.
        centre_mm: `[3]` its centroid at that moment, about the isocentre.
        path_mm: `[T, 3]` where the lung carries it.
        breathing: the breath.
        time_s: `[T]` of the frames.
        geometry: the view.
        frames: `[T, H, W]` without tumour.
    """

    number: int
    gtv: Gtv
    centre_mm: np.ndarray
    path_mm: np.ndarray
    breathing: Breathing
    time_s: np.ndarray
    geometry: Geometry
    frames: Array

    def draw(self, rng: np.random.Generator, **_: Any) -> np.ndarray:
        """Returns how the tumour moves in one example: its centroid, `[T, 3]` mm."""
        moved = self.path_mm - self.centre_mm
        amplitude = rng.uniform(*AMPLITUDE)
        off = rng.uniform(-1.0, 1.0, 3) * np.array(OFF_MM)
        return (self.centre_mm + amplitude * moved + off).astype(np.float32)

    def render(
        self,
        path: np.ndarray,
        *,
        shift: int,
        noise_seed: np.uint32,
        photons: float,
        appearance: str,
    ) -> tuple[Array, Array]:
        """Returns an example's frames and mask, `[T, H, W]`.

        Args:
            path: of `draw`.
            shift: frames by which it starts later.
            noise_seed: of noise and appearance.
            photons: unattenuated quanta a pixel; 0 is noiseless.
            appearance: parts of `appearance.randomise`.
        """
        return _render(
            self.frames,
            self.gtv,
            (self.breathing, self.time_s),
            path,
            self.geometry,
            shift=shift,
            noise_seed=noise_seed,
            photons=photons,
            appearance=appearance,
        )


class PatientBodies:
    """The moments of a patient's CT as patients of the pool, in turn.

    Args:
        folder: `data.ct_dir`, which holds the patient file.
        spec: the study; gives view, voxels and frame times.
        angles_deg: IEC gantry angles of the views; none is the study's alone.

    Raises:
        UserError: no patient file, or a CT that cannot be used: its lungs are cut, or
            it ends within the frames.
    """

    def __init__(
        self, folder: str, spec: StudySpec, angles_deg: tuple[float, ...] = ()
    ) -> None:
        self._file = read_patient(expand_path(folder) / PATIENT)
        self._spec, self._angles_deg = spec, angles_deg
        _check_beam(self._file, spec.geometry())
        self._gtv = jax.tree.map(jnp.asarray, self._file.gtv)
        self._body = functools.cache(self._read)

    def patient(
        self, turn: int, number: int, case: Case, view: Geometry
    ) -> PatientClip:
        """Returns a patient with its clip.

        Args:
            turn: which moment, counting on over them again and again; from `VAL_FIRST`
                on those held out, where there are enough moments.
            number: of the patient in the pool.
            case: the study's patient of that number, who gives the breath.
            view: of the frames, but for the angle (`view_of`).
        """
        view = self.view_of(turn, view)
        moments = self._moments(held_out=turn >= VAL_FIRST)
        moment = moments[turn % len(moments)]
        body, breath = self._body(moment), case.breathing
        frames = breathing_frames(body, breath, case.time_s, view)
        centre = self._file.centre_mm[moment] - self._file.isocentre_mm
        times = np.asarray(case.time_s)
        path = np.asarray(path_mm(body.landmarks, breath, times, centre))
        return PatientClip(number, self._gtv, centre, path, breath, times, view, frames)

    def view_of(self, turn: int, view: Geometry) -> Geometry:
        """Returns a patient's view: at the angles in turn, each with every moment."""
        count = len(self._angles_deg)
        if not count:
            return view
        moments = len(self._moments(held_out=turn >= VAL_FIRST))
        # With a common divisor of the two numbers an angle would see the same moments
        # for ever: it is shifted by one after each common multiple.
        shift = turn // math.lcm(moments, count) % math.gcd(moments, count)
        angle = self._angles_deg[(turn + shift) % count]
        return dataclasses.replace(view, gantry_deg=angle)

    def _moments(self, *, held_out: bool) -> list[int]:
        every = range(len(self._file.hu))
        if len(every) < HELD_OUT:
            return list(every)
        return [i for i in every if (i % HELD_OUT == HELD_OUT - 1) == held_out]

    def _read(self, moment: int) -> CtBody:
        body = ct_body(
            self._file.hu[moment],
            self._file.grid,
            self._spec.geometry(),
            voxel_mm=self._spec.voxel_mm,
            isocentre_mm=[float(x) for x in self._file.isocentre_mm],
            taken_at=float(self._file.taken_at[moment]),
        )
        # Sites for simulated tumours are not needed, and take 0.1 GB.
        return dataclasses.replace(body, centres_mm=body.centres_mm[:0])


def _check_beam(patient: PatientFile, view: Geometry) -> None:
    """Refuses a CT that ends within the frames; in the plane of the isocentre."""
    half = 0.5 * view.rows * iso_pixel_mm(view)[0]
    grid, counts = patient.grid, np.array(patient.hu.shape[:0:-1])  # x, y, z
    spacing = np.array(grid.spacing_mm, float)
    low = np.array(grid.origin_mm, float) - patient.isocentre_mm - 0.5 * spacing
    high = low + counts * spacing
    share = max(min(half, high[2]) - max(-half, low[2]), 0.0) / (2.0 * half)
    # Beside the CT there is nothing to see, however long it is.
    if share >= LEAST_SCAN and (low[:2] < 0.0).all() and (high[:2] > 0.0).all():
        return
    names = ("left-right", "front-back", "head-foot")
    held = ", ".join(
        f"{a:.0f} to {b:.0f} mm {name}"
        for name, a, b in zip(names, low, high, strict=True)
    )
    raise UserError(
        f"a CT that does not cover the beam: about the isocentre it holds {held}, "
        f"frames show {-half:.0f} to {half:.0f} mm head-foot",
        needed=f"the isocentre inside the CT, and {LEAST_SCAN:.0%} of the frames' "
        "height about it",
        why="beyond its ends the last slices are repeated, which is no anatomy",
        fix="a longer scan; or the right isocentre (fluoro fit --plan=FILE, or "
        "--isocentre-mm X Y Z), with another --out",
    )


@functools.partial(jax.jit, static_argnames=("photons", "appearance"))
def _render(
    frames: Array,
    gtv: Gtv,
    breath: tuple[Breathing, AnyArray],
    path: AnyArray,
    geometry: Geometry,
    *,
    shift: int,
    noise_seed: np.uint32,
    photons: float,
    appearance: str,
) -> tuple[Array, Array]:
    key = jax.random.key(noise_seed)
    added, mask = gtv_clip(gtv, path, geometry)
    frames = frames + added
    if photons:
        frames = add_quantum_noise(frames, key, photons)
    return finish(
        (frames, mask),
        breath,
        key,
        geometry=geometry,
        parts=appearance,
        shift=shift,
    )
