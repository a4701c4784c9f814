"""Patients of the training pool from a folder of chest CTs.

A patient is one CT with a breath of the study's own patients: the CT breathes by
`sim.ct.animate` and is projected once; every example adds a sphere of its own, which
rides on the lung (`sim.ct_tumor.sphere_clip`). Which CT, which breath and which sphere
follow from numbers alone, as for the phantom's patients.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from fluoro_jax.data.appearance import finish
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, Grid
from fluoro_jax.io.ct import VOLUMES, read_ct
from fluoro_jax.io.files import expand_path
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct_body import CtBody, breathing_frames, ct_body
from fluoro_jax.sim.ct_field import Landmarks, displacement_mm
from fluoro_jax.sim.ct_tumor import path_mm, sphere_clip
from fluoro_jax.sim.fluoroscope import Case, add_quantum_noise
from fluoro_jax.studies import StudySpec, draw_diameter

Array = jax.Array
HELD = 4  # CTs in memory beside those of the pool: 0.1 GB each at 2 mm


def ct_files(folder: str | Path) -> list[Path]:
    """Returns the CTs of a folder, sorted: volumes, and sub-folders.

    A sub-folder counts by the volumes in it or, without any, as one DICOM series.

    Raises:
        UserError: if there is no folder, or no CT in it.
    """
    folder = expand_path(str(folder))
    found: list[Path] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if _is_volume(p)) or [path]
        elif _is_volume(path):
            found.append(path)
    if not found:
        what = "no CT in" if folder.is_dir() else "no folder"
        raise UserError(
            f"{what} data.ct_dir = {folder}",
            needed=f"files {', '.join(VOLUMES)}, or a sub-folder for each DICOM series",
            why="patients of the training pool are made from them",
            fix="--config.data.ct_dir=FOLDER, or --config.data.bodies=phantom",
        )
    return found


def ct_sizes(folder: str | Path) -> dict[str, int]:
    """Returns the bytes of every CT by its name: which CTs a run was trained on."""
    files = ct_files(folder)
    size = lambda p: sum(
        q.stat().st_size for q in ([p] if p.is_file() else p.iterdir())
    )
    root = expand_path(str(folder))
    return {path.relative_to(root).as_posix(): size(path) for path in files}


def _is_volume(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(VOLUMES)


def read_body(path: Path, view: Geometry, voxel_mm: float) -> CtBody:
    """Returns a CT ready for training.

    Args:
        path: file or folder of a chest CT.
        view: what the panel sees.
        voxel_mm: side of the voxels.

    Raises:
        UserError: that names the file, if it holds no whole chest.
    """
    hu, grid = read_ct(path)
    try:
        return ct_body(hu, grid, view, voxel_mm=voxel_mm)
    except UserError as error:
        raise UserError(
            f"{path}: {error.found}",
            needed=error.needed,
            why=error.why,
            fix=f"{error.fix}; or move the file out of data.ct_dir",
        ) from error


@dataclass(frozen=True)
class CtPatient:
    """A patient of the pool: a CT that breathes.

    Attributes:
        number: of the patient in the pool.
        body: the CT.
        breathing: its breath.
        time_s: `[T]` of the frames.
        geometry: the view.
        frames: `[T, H, W]` without tumour.
    """

    number: int
    body: CtBody
    breathing: Breathing
    time_s: np.ndarray
    geometry: Geometry
    frames: Array

    def draw(
        self,
        rng: np.random.Generator,
        *,
        diameter_mm: tuple[float, float],
        even_in: str,
    ) -> tuple[np.ndarray, float]:
        """Returns centre `[3]` mm (as scanned) and diameter of a sphere in the lung.

        Args:
            rng: where the random numbers come from.
            diameter_mm: its range; cut at what has room in this lung.
            even_in: see `studies.draw_diameter`.
        """
        least, most = diameter_mm
        size = draw_diameter(rng, (least, min(most, self.body.room_mm)), even_in)
        return self.body.draw_site(rng, size), size

    def render(
        self,
        sphere: tuple[np.ndarray, float],
        *,
        shift: int,
        noise_seed: np.uint32,
        photons: float,
        appearance: str,
    ) -> tuple[Array, Array]:
        """Returns an example's frames and mask, `[T, H, W]`.

        Args:
            sphere: of `draw`.
            shift: frames by which it starts later.
            noise_seed: of noise and appearance.
            photons: unattenuated quanta a pixel; 0 is noiseless.
            appearance: parts of `appearance.randomise`.
        """
        body = self.body
        return _render(
            self.frames,
            (body.mu, body.volume.grid, body.landmarks),
            (self.breathing, self.time_s),
            sphere,
            self.geometry,
            shift=shift,
            noise_seed=noise_seed,
            photons=photons,
            appearance=appearance,
        )


class CtBodies:
    """The CTs of a folder as patients, in turn.

    Every CT is read once at the start, so that a run does not end at a bad one.

    Args:
        folder: `data.ct_dir`.
        spec: the study; gives view, voxels and frame times.
        smallest_mm: diameter that must have room in every lung.

    Raises:
        UserError: no CT, or one that cannot be used.
    """

    def __init__(self, folder: str, spec: StudySpec, *, smallest_mm: float) -> None:
        self._files, self._spec = ct_files(folder), spec
        self._body = functools.lru_cache(maxsize=HELD)(self._read)
        for path in tqdm(self._files, desc="check CTs", unit="CT", leave=False):
            room = self._body(path).room_mm
            if room < smallest_mm:
                raise UserError(
                    f"{path}: room for a sphere of {room:.0f} mm",
                    needed=f"data.smallest_mm = {smallest_mm:g} mm at least",
                    why="the whole tumour must lie in the lung",
                    fix="a smaller --config.data.smallest_mm, or move the file out of "
                    "data.ct_dir",
                )

    def patient(self, turn: int, number: int, case: Case, view: Geometry) -> CtPatient:
        """Returns a patient with its clip.

        Args:
            turn: which CT, counting on over the files again and again.
            number: of the patient in the pool.
            case: the study's patient of that number, who gives the breath.
            view: of the frames.
        """
        body = self._body(self._files[turn % len(self._files)])
        breath = case.breathing
        frames = breathing_frames(body, breath, case.time_s, view)
        return CtPatient(number, body, breath, np.asarray(case.time_s), view, frames)

    def _read(self, path: Path) -> CtBody:
        return read_body(path, self._spec.geometry(), self._spec.voxel_mm)


def ct_turn(bodies: str, slot: int, number: int, pool: int) -> int | None:
    """Returns which CT, in turn, patient `number` in `slot` has; None for a phantom.

    "mixed" gives every other slot a CT, from the second on. Patient `number` is the
    (number // pool + 1)-th of its slot.
    """
    if bodies in ("ct", "patient"):
        return number
    if bodies == "mixed" and slot % 2:
        return number // pool * (pool // 2) + slot // 2
    return None


@functools.partial(jax.jit, static_argnames=("photons", "appearance"))
def _render(
    frames: Array,
    chest: tuple[Array, Grid, Landmarks],
    breath: tuple[Breathing, AnyArray],
    sphere: tuple[AnyArray, Any],
    geometry: Geometry,
    *,
    shift: int,
    noise_seed: np.uint32,
    photons: float,
    appearance: str,
) -> tuple[Array, Array]:
    key = jax.random.key(noise_seed)
    (mu, grid, marks), (centre_mm, diameter_mm) = chest, sphere
    moves = displacement_mm(marks, *breath)
    path = path_mm(marks, *breath, centre_mm)
    added, mask = sphere_clip(mu, grid, marks, moves, path, diameter_mm, geometry)
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
