"""Micro-batches by number: stored cases in shuffled epochs, or fresh simulated ones.

A source is a pure function of the micro-batch's number, so a run resumes by opening
it at the step it stopped at, and every process computes only its own share.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.config import Config
from fluoro_jax.config_rules import parse_angles
from fluoro_jax.data.appearance import finish
from fluoro_jax.data.ct_bodies import CtBodies, CtPatient, ct_turn
from fluoro_jax.data.dataset import load_split
from fluoro_jax.data.patient_bodies import VAL_FIRST, PatientBodies, PatientClip
from fluoro_jax.devices import on_host
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.fluoroscope import Case, add_tumor, lung_at, render_body
from fluoro_jax.sim.lung import LungState
from fluoro_jax.studies import StudySpec, draw_rng, fresh_case, pool_patient
from fluoro_jax.studies.spec import STREAMS

Array = jax.Array
Batch = dict[str, Any]  # frames [b, T, H, W], mask [b, T, H, W], id [b]
SOURCES = ("dataset", "simulator")


class BatchSource(Protocol):
    """Anything that can make micro-batch number `index`, whatever came before."""

    def batch_at(self, index: int) -> Batch:
        """This process's share of global micro-batch `index`.

        Returns:
            dict of frames `[b, T, H, W]` float32 line integrals [1], mask
            `[b, T, H, W]` float32 in {0, 1}, and id `[b]` int32, unique over all
            micro-batches and processes; b = batch_size / processes.
        """
        ...


def open_batches(cfg: Config, data_dir: str | Path) -> BatchSource:
    """The training batches that `cfg.data` asks for.

    Args:
        cfg: the run's config; reads `seed`, `study` and `data`.
        data_dir: where the stored cases are, or are built ("dataset" only).

    Raises:
        UserError: if `cfg.data.source` is neither "dataset" nor "simulator".
    """
    if cfg.data.source == "dataset":
        spec = StudySpec.from_config(cfg.study)
        arrays = load_split(spec, data_dir, "train")
        return DatasetSource(arrays, cfg.data.batch_size, seed=cfg.seed)
    if cfg.data.source == "simulator":
        return SimulatorSource(cfg)
    raise UserError(
        f'data.source = "{cfg.data.source}"',
        needed="one of " + ", ".join(SOURCES),
        why="training reads stored cases or simulates fresh ones",
        fix='data.source = "dataset" for the fixed cases of the study',
    )


def blank_batch(cfg: Config) -> Batch:
    """Returns a batch of zeros, of the shapes and types of every other."""
    study = cfg.study
    share = cfg.data.batch_size // jax.process_count()
    clip = np.zeros((share, study.num_frames, study.rows, study.cols), np.float32)
    return {"frames": clip, "mask": clip, "id": np.zeros(share, np.int32)}


def _positions(index: int, batch_size: int, process: tuple[int, int] | None) -> range:
    """Example numbers of one process's share; they count on over micro-batches."""
    # Micro-batch first, then the process: the global batch is the same for any number
    # of processes.
    rank, count = process or (jax.process_index(), jax.process_count())
    share = batch_size // count
    start = index * batch_size + rank * share
    return range(start, start + share)


class DatasetSource:
    """Stored cases, each exactly once an epoch, in a new order every epoch.

    Epochs follow on without a gap: a micro-batch may hold the end of one and the
    start of the next, so no case is dropped and any batch size will do.

    Args:
        arrays: what `load_split` returns (frames and mask are read).
        batch_size: examples of a micro-batch over all processes.
        seed: of the order.
        process: (rank, count), by default this JAX process's.
    """

    def __init__(
        self,
        arrays: dict[str, Any],
        batch_size: int,
        *,
        seed: int,
        process: tuple[int, int] | None = None,
    ) -> None:
        self._frames, self._mask = arrays["frames"], arrays["mask"]
        self._batch_size, self._seed, self._process = batch_size, seed, process
        # An epoch's order is drawn once; two are in use where a micro-batch crosses
        # over.
        self._order = functools.lru_cache(maxsize=4)(self._order_of)

    def case_rows(self, index: int) -> np.ndarray:
        """Returns the rows of stored cases in this process's share of a micro-batch."""
        ids = _positions(index, self._batch_size, self._process)
        # Epoch and row follow from the example's number alone, so there is no state to
        # resume.
        places = [divmod(i, len(self._frames)) for i in ids]
        return np.array([self._order(epoch)[row] for epoch, row in places])

    def batch_at(self, index: int) -> Batch:
        """See `BatchSource`."""
        rows = self.case_rows(index)
        ids = _positions(index, self._batch_size, self._process)
        # Fancy indexing copies: a batch that waits on the device keeps no view of the
        # store.
        return {
            "frames": self._frames[rows],
            "mask": self._mask[rows].astype(np.float32),
            "id": np.array(ids, np.int32),
        }

    def _order_of(self, epoch: int) -> np.ndarray:
        # A list of numbers seeds each epoch independently; seed + epoch would repeat
        # orders between runs of neighbouring seeds.
        rng = np.random.default_rng([self._seed, epoch])
        return rng.permutation(len(self._frames))


@dataclasses.dataclass(frozen=True)
class PoolPatient:
    """A patient of the pool: view, clip without tumour `[T, H, W]`, and lung."""

    number: int
    case: Case
    geometry: Geometry
    frames: Array
    lung: LungState


Patient = PoolPatient | CtPatient | PatientClip  # of the pool


class SimulatorSource:
    """Fresh tumours, phases and noise on a pool of patients that is slowly renewed.

    A patient's clip without tumour costs most; it is rendered when first drawn and
    kept on the device, and every example adds a tumour of its own in closed form. After
    every `renew_every` micro-batches one slot of the pool, in turn, gets a new patient:
    a phantom, or a CT of `data.ct_dir` (`data.bodies`).

    Args:
        cfg: the run's config; reads `seed`, `study` and `data`.
        process: (rank, count), by default this JAX process's.

    Raises:
        UserError: clips that are not one whole breath would start at a random phase;
            a CT cannot be used.
    """

    def __init__(self, cfg: Config, process: tuple[int, int] | None = None) -> None:
        self._spec = StudySpec.from_config(cfg.study)
        self._seed, self._data, self._process = cfg.seed, cfg.data, process
        if cfg.data.random_start and not self._spec.periodic:
            raise UserError(
                f'data.random_start = True with study.name = "{cfg.study.name}"',
                needed="data.random_start = False",
                why="a clip that is not one whole breath cannot be rolled in time",
                fix="--config.data.random_start=False: its breaths start at any phase",
            )
        self._cts = _open_bodies(cfg, self._spec)
        self._pool: dict[int, Patient] = {}  # by slot

    def batch_at(self, index: int) -> Batch:
        """See `BatchSource`."""
        ids = _positions(index, self._data.batch_size, self._process)
        pairs = [self._example(index, i) for i in ids]
        frames, masks = zip(*pairs, strict=True)
        return {
            "frames": jnp.stack(frames),
            "mask": jnp.stack(masks),
            "id": np.array(ids, np.int32),
        }

    def held_out(self, index: int) -> tuple[Array, Array]:
        """Returns frames and mask of a validation clip of one patient's tracker."""
        number = VAL_FIRST + index
        rng = np.random.default_rng(
            [self._spec.seed, STREAMS["val"], self._seed, index]
        )
        return self._of(rng, self._new_patient(0, number))

    def _example(self, index: int, example_id: int) -> tuple[Array, Array]:
        """Frames and mask of one example, each `[T, H, W]`."""
        # One generator an example, in a fixed order of draws: an example is the same on
        # any process and after any resume.
        rng = draw_rng(self._spec, self._seed, example_id)
        slot = int(rng.integers(self._data.pool_bodies))
        # By the micro-batch, not by what was drawn before: all processes renew alike.
        patient = self._patient(slot, index // self._data.renew_every)
        return self._of(rng, patient)

    def _of(self, rng: np.random.Generator, patient: Patient) -> tuple[Array, Array]:
        with on_host():
            drawn = self._draw(rng, patient)
        # Drawn even where it is not used, so that `random_start` changes no later draw.
        shift = int(rng.integers(self._spec.num_frames))
        # NumPy's uint32: a Python int from 2^31 on overflows JAX's int32 as an
        # argument.
        noise_seed = np.uint32(rng.integers(2**32))
        options: dict[str, Any] = dict(
            shift=shift if self._data.random_start else 0,
            noise_seed=noise_seed,
            photons=self._spec.photons,
            appearance=self._data.randomise,
        )
        if not isinstance(patient, PoolPatient):
            return patient.render(drawn, **options)
        background = (patient.frames, patient.lung)
        values, form = _packed((drawn, patient.geometry))
        return _render(background, values, form=form, **options)

    def _draw(self, rng: np.random.Generator, patient: Patient) -> Any:
        """Returns a tumour for a patient: a case, a sphere in a CT, or a path."""
        how: dict[str, Any] = dict(
            diameter_mm=(self._data.smallest_mm, self._data.largest_mm),
            even_in=self._data.even_in,
        )
        if not isinstance(patient, PoolPatient):
            return patient.draw(rng, **how)
        how |= dict(number=patient.number, midline_share=self._data.midline_share)
        how |= dict(displaced_mm=self._data.displaced_mm)
        return fresh_case(rng, self._spec, patient.case, **how)

    def _patient(self, slot: int, renewals: int) -> Patient:
        """Returns the patient in `slot` after so many renewals."""
        number = patient_number(slot, renewals, self._data.pool_bodies)
        held = self._pool.get(slot)
        # Rendered when first drawn: a short run renders only what it uses.
        if held is None or held.number != number:
            held = self._pool[slot] = self._new_patient(slot, number)
        return held

    def _new_patient(self, slot: int, number: int) -> Patient:
        with on_host():
            case, view = pool_patient(self._spec, self._seed, number)
        data = self._data
        turn = ct_turn(data.bodies, slot, number, data.pool_bodies)
        if self._cts is not None and turn is not None:
            return self._cts.patient(turn, number, case, view)
        frames = render_body(case, view, voxel_mm=self._spec.voxel_mm)
        return PoolPatient(number, case, view, frames, lung_at(case))


def _open_bodies(cfg: Config, spec: StudySpec) -> CtBodies | PatientBodies | None:
    data = cfg.data
    if data.bodies == "phantom":
        return None
    if data.bodies == "patient":
        return PatientBodies(data.ct_dir, spec, parse_angles(data.angles_deg))
    return CtBodies(data.ct_dir, spec, smallest_mm=data.smallest_mm)


def validation_clips(
    cfg: Config, data_dir: str | Path, *, first: int = 0
) -> tuple[np.ndarray, Any]:
    """Returns frames `[N, T, H, W]` and masks (boolean) of the validation cases.

    Those of the study, stored in `data_dir`; or, of one patient's tracker, clips of
    moments, breaths and paths of that patient that training does not see, from number
    `first` on.
    """
    spec = StudySpec.from_config(cfg.study)
    if cfg.data.bodies != "patient":
        arrays = load_split(spec, data_dir, "val")
        return arrays["frames"], arrays["mask"].astype(bool)
    source, clips = SimulatorSource(cfg, process=(0, 1)), []
    for index in range(first, first + cfg.study.num_val):
        clips.append(source.held_out(index))
    columns = zip(*clips, strict=True)
    frames, masks = (np.stack([np.asarray(x) for x in xs]) for xs in columns)
    return frames, masks.astype(bool)


def validation_views(cfg: Config, *, first: int = 0) -> list[Geometry]:
    """Returns the view of every clip of `validation_clips` of one patient's tracker."""
    spec = StudySpec.from_config(cfg.study)
    bodies = _open_bodies(cfg, spec)
    assert isinstance(bodies, PatientBodies)
    start = VAL_FIRST + first
    numbers = range(start, start + cfg.study.num_val)
    return [bodies.view_of(number, spec.geometry()) for number in numbers]


def patient_number(slot: int, renewals: int, pool: int) -> int:
    """Returns the number, in the list of `pool_patient`, of the patient in a slot.

    Renewal r (from 0) fills slot r mod `pool`.
    """
    return slot + pool * ((renewals + pool - 1 - slot) // pool)


def _packed(tree: Any) -> tuple[np.ndarray, Hashable]:
    """Returns all numbers of a tree in one float32 vector, and how to unpack them.

    Sent to an accelerator one by one, the fifty arrays of a case take 9 ms.
    """
    leaves, structure = jax.tree.flatten(tree)
    shapes = tuple(np.shape(leaf) for leaf in leaves)
    values = [np.ravel(leaf).astype(np.float32) for leaf in leaves]
    return np.concatenate(values), (structure, shapes)


def _unpacked(values: Array, form: Any) -> Any:
    structure, shapes = form
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(values, ends[:-1])
    leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return jax.tree.unflatten(structure, leaves)


# Static: no photons is another program, without noise. Shift and seed are traced, or
# each example would compile anew.
@functools.partial(jax.jit, static_argnames=("form", "photons", "appearance"))
def _render(
    background: tuple[Array, LungState],
    values: Array,
    *,
    form: Hashable,
    shift: int,
    noise_seed: np.uint32,
    photons: float,
    appearance: str,
) -> tuple[Array, Array]:
    """Returns an example's frames and mask, `[T, H, W]`, starting `shift` frames later.

    `background` holds the frames without the tumour and the lung of the same patient;
    `values` and `form` are those of its case and view (`_packed`); `appearance` names
    the parts of `appearance.randomise`.
    """
    case, geometry = _unpacked(values, form)
    key = jax.random.key(noise_seed)
    frames, lung = background
    clip = add_tumor(frames, case, geometry, photons=photons, key=key, lung=lung)
    assert clip.mask is not None
    return finish(
        (jnp.asarray(clip.frames), jnp.asarray(clip.mask, jnp.float32)),
        (case.breathing, case.time_s),
        key,
        geometry=geometry,
        parts=appearance,
        shift=shift,
    )
