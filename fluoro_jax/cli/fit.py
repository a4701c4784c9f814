"""`fluoro fit`: from a patient's CT and contours to a tracker for that patient.

The module imports no JAX, so that --help is quick; `fit` does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluoro_jax.cli import phase_flags
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import expand_path, write_text

DOES = "make a tracker for one patient from CT and contours"
EPILOG = """The tumour (ROI) is cut out of the CT, moved along with the lung and beyond,
and put back; a small network learns to find it. The same command goes on where it was
interrupted. DIR receives the weights with their card, tables/ of clips held out, and
fit.json: every number and where it comes from. Research software. Not a medical device.
Not for clinical use."""
MINUTES = (3.0, 10_000.0)
AUTO_MINUTES = 20.0  # compiling both took 6 minutes on a busy machine of two cores
RECORD = "fit.json"


@dataclass(frozen=True)
class Options:
    """A command line, read but not yet checked.

    Attributes:
        ct: folder of one CT series, or a volume in one file; None with `ct4d`.
        ct4d: folder of the phases.
        rtstruct: file or folder of the contours; None with `gtv_mask`.
        roi: name of the tumour's ROI; its label in a mask, "" for the only one.
        out: folder for the tracker.
        gtv_mask: file of the tumour's mask on the voxels of `ct`.
        plan: RTPLAN that has the isocentre.
        beam: of the plan.
        isocentre_mm: LPS mm; before the plan's.
        gantry_deg: IEC angles of the views, at least one.
        minutes: for training.
        seed: of networks and clips.
        init: what the network starts from, as of `patient.fit.FitOptions`.
        phases: of `ct4d`, per cent by series; None as its files say.
        reference_percent: phase of contours that refer to none.
    """

    ct: Path | None
    ct4d: Path | None
    rtstruct: Path | None
    roi: str
    out: Path
    gtv_mask: Path | None = None
    plan: Path | None = None
    beam: str = ""
    isocentre_mm: tuple[float, float, float] | None = None
    gantry_deg: tuple[float, ...] = (0.0,)
    minutes: float = 20.0
    seed: int = 0
    init: str = "scratch"
    phases: dict[str, float] | None = None
    reference_percent: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    add = parser.add_argument
    add(
        "--ct",
        metavar="PATH",
        help="planning CT: a folder of one DICOM series, or a .mha, .nii, .nii.gz or "
        ".nrrd of HU",
    )
    add("--ct4d", metavar="DIR", help="DICOM folder of the phases, in place of --ct")
    add("--rtstruct", metavar="FILE", help="contours; a folder with one a phase")
    add("--gtv-mask", metavar="FILE", help="mask on the CT's voxels, for --rtstruct")
    add(
        "--roi",
        metavar="NAME",
        help="the tumour's, as GTV; another lists all names. Of a mask its label, "
        "where there are several",
    )
    add("-o", "--out", metavar="DIR", help="where the tracker goes")
    add("--plan", metavar="FILE", help="RTPLAN that has the isocentre")
    add("--beam", default="", help="of the plan, where its isocentres differ")
    triple: dict[str, Any] = dict(nargs=3, type=float, metavar=("X", "Y", "Z"))
    add(
        "--isocentre-mm", **triple, help="LPS mm (default: plan, else the ROI's centre)"
    )
    add(
        "--gantry-deg",
        default="0",
        metavar="A[,B...]",
        help="IEC angle, or the angles of all clips to come, as 0,90 (default: 0)",
    )
    add("--minutes", type=float, default=20.0, help="of training (default: 20)")
    add("--seed", type=int, default=0, help="of network and clips (default: 0)")
    add(
        "--init",
        default="scratch",
        metavar="MODEL",
        help="scratch (default); weights to start from, as group or a folder; or auto: "
        "scratch and group for a fifth of the minutes each, the better goes on",
    )
    add("--debug", action="store_true", help="show the traceback")
    phase_flags.add_arguments(parser)


def options_from(args: argparse.Namespace) -> Options:
    """Returns what was asked for.

    Raises:
        UserError: something is missing, doubled or out of its range.
    """
    _check_inputs(args)
    _check_numbers(args)
    path = lambda value: expand_path(value) if value else None
    return Options(
        ct=path(args.ct),
        ct4d=path(args.ct4d),
        rtstruct=path(args.rtstruct),
        roi=args.roi or "",
        out=expand_path(args.out),
        gtv_mask=path(args.gtv_mask),
        plan=path(args.plan),
        beam=args.beam,
        isocentre_mm=tuple(args.isocentre_mm) if args.isocentre_mm else None,
        gantry_deg=_angles(args.gantry_deg),
        minutes=args.minutes,
        seed=args.seed,
        init=args.init,
        phases=phase_flags.phases_from(args.phase),
        reference_percent=args.reference_phase,
    )


def _check_inputs(args: argparse.Namespace) -> None:
    examples = {"rtstruct": "contours.dcm", "roi": "GTV", "out": "tracker"}
    for name in ("out",) if args.gtv_mask else examples:
        if not getattr(args, name):
            raise UserError(
                f"no --{name}",
                needed="fluoro fit --ct=PATH --rtstruct=FILE --roi=NAME --out=DIR, or "
                "--gtv-mask=FILE in place of --rtstruct and --roi",
                why="a patient's tracker is made from the CT and the tumour's contours",
                fix=f"add --{name}={examples[name]}",
            )
    if bool(args.ct) == bool(args.ct4d):
        raise UserError(
            "both --ct and --ct4d" if args.ct else "neither --ct nor --ct4d",
            needed="one of them",
            why="the chest is that of one CT, or of the phases of a 4DCT",
            fix="leave one out" if args.ct else "add --ct=DIR",
        )
    _check_phases(args)
    if not args.gtv_mask:
        return
    other = next((n for n in ("rtstruct", "ct4d") if getattr(args, n)), None)
    if other:
        raise UserError(
            f"--gtv-mask with --{other}",
            needed="--ct=PATH --gtv-mask=FILE",
            why="the tumour is told once"
            if other == "rtstruct"
            else "a mask does not say which phase it was drawn on",
            fix="leave one out" if other == "rtstruct" else "give an RTSTRUCT",
        )
    if args.roi and not args.roi.strip().isdecimal():
        raise UserError(
            f"--roi={args.roi} with --gtv-mask",
            needed="a label of the mask, a whole number; none where there is only one",
            why="a mask has numbers and no names",
            fix="leave --roi out; another number lists the labels",
        )


def _check_phases(args: argparse.Namespace) -> None:
    for name in ("phase", "reference_phase"):
        if getattr(args, name) is not None and not args.ct4d:
            raise UserError(
                f"--{name.replace('_', '-')} without --ct4d",
                needed="the phases of a 4DCT: --ct4d=DIR",
                why="a single CT has no phases",
                fix="leave it out, or give the folder of the phases with --ct4d",
            )


def _check_numbers(args: argparse.Namespace) -> None:
    for name, (low, high), why, usual in (
        ("minutes", MINUTES, "compiling and judging alone take two minutes", "20"),
        ("seed", (0, 2**31 - 1), "it is a whole number", "0"),
    ):
        value = getattr(args, name.replace("-", "_"))
        if not low <= value <= high:
            raise UserError(
                f"--{name}={value:g}",
                needed=f"from {low:g} to {high:g}",
                why=why,
                fix=f"--{name}={usual}",
            )


def _check_init(init: str, minutes: float) -> None:
    if init == "auto" and minutes < AUTO_MINUTES:
        raise UserError(
            f"--init=auto with --minutes={minutes:g}",
            needed=f"at least {AUTO_MINUTES:g} minutes",
            why="two networks are compiled and tried before one of them goes on",
            fix=f"--minutes={AUTO_MINUTES:g}, or --init=scratch",
        )
    if init not in ("auto", "scratch"):
        from fluoro_jax import zoo

        name, folder = zoo.find(init)
        zoo.load(name, folder=folder)


def _angles(text: str) -> tuple[float, ...]:
    from fluoro_jax.config_rules import ANGLES, parse_angles

    if not text or not ANGLES.accepts(text):
        raise UserError(
            f"--gantry-deg={text}",
            needed=f"one angle, {ANGLES.needed.partition(', or ')[2]}; each from -360 "
            "to 360",
            why="the network learns the patient from these sides and no others",
            fix="--gantry-deg=0 or --gantry-deg=0,90",
        )
    return parse_angles(text)


def fit(options: Options) -> None:
    """Reads, prepares, trains, judges and writes.

    Raises:
        UserError: files that cannot be used; a folder of another patient.
    """
    from fluoro_jax.data.patient_bodies import write_patient
    from fluoro_jax.patient.fit import FitOptions, patient_folder
    from fluoro_jax.patient.fit import fit as train
    from fluoro_jax.stages import stage

    begun = time.monotonic()
    # Before the patient is read, which takes a minute.
    _check_init(options.init, options.minutes)
    path, asked = patient_folder(options.out), _asked(options)
    if path.exists():
        _check_same(options.out / RECORD, asked)
        print("the patient is prepared already; training goes on", file=sys.stderr)
    else:
        with stage("read and prepare the patient"):
            patient, told = _prepare(options)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"asked": asked, **told}
        write_text(options.out / RECORD, json.dumps(record, indent=1) + "\n")
        write_patient(path, patient)
        print(f"tumour of {told['volume_ml']} ml, isocentre: {told['isocentre']}")
    left = options.minutes - (time.monotonic() - begun) / 60.0
    train(
        FitOptions(
            options.out,
            gantry_deg=options.gantry_deg,
            minutes=max(left, MINUTES[0]),
            seed=options.seed,
            init=options.init,
        )
    )


def _prepare(options: Options) -> tuple[Any, dict[str, Any]]:
    from fluoro_jax.io.dicom.rtplan import choose_isocentre
    from fluoro_jax.patient.prepare import prepare

    ct, rois, frame_uid = _read(options)
    first, mask, isocentre = rois[min(rois)], options.gtv_mask, None
    if not mask or options.isocentre_mm or options.plan:
        isocentre = choose_isocentre(
            given_mm=options.isocentre_mm,
            plan=options.plan,
            beam=options.beam,
            roi=None if mask else first,
            frame_uid=frame_uid,
        )
    patient, told = prepare(ct, rois, isocentre and isocentre.position_mm.tolist())
    at = [float(x) for x in patient.isocentre_mm]
    source = isocentre.source if isocentre else f"centroid of {mask} (no plan given)"
    roi = {"mask": str(mask)} if mask else dict(first.sources)
    return patient, {
        **told,
        "isocentre": f"{', '.join(f'{x:.1f}' for x in at)} mm, {source}",
        "isocentre_mm": at,
        "sources": {"ct": dict(ct.sources), "roi": roi},
    }


def _read(options: Options) -> tuple[Any, dict[int, Any], str]:
    """Returns CT or phases, the tumour by phase, and the CT's frame of reference."""
    from fluoro_jax.io.ct import VOLUMES
    from fluoro_jax.io.dicom.rtstruct import read_rtstruct, rois_by_phase
    from fluoro_jax.io.dicom.series import read_4dct, read_series_ct
    from fluoro_jax.io.volume_files import read_file_ct, read_mask

    if options.ct4d:
        assert options.rtstruct is not None
        phases = read_4dct(options.ct4d, phases=options.phases)
        reference = phase_flags.reference_index(phases, options.reference_percent)
        rois: dict[int, Any] = rois_by_phase(
            options.rtstruct, options.roi, phases, reference=reference
        )
        return phases, rois, phases.phases[0].frame_uid
    assert options.ct is not None
    single = options.ct.name.lower().endswith(VOLUMES) and not options.ct.is_dir()
    ct = read_file_ct(options.ct) if single else read_series_ct(options.ct)
    if options.gtv_mask:
        label = int(options.roi) if options.roi else None
        return ct, {0: read_mask(options.gtv_mask, ct, label=label)}, ct.frame_uid
    assert options.rtstruct is not None
    contours = read_rtstruct(options.rtstruct, ct=ct).roi(options.roi)
    return ct, {0: contours}, ct.frame_uid


def _asked(options: Options) -> dict[str, Any]:
    """Returns what decides the patient and the view, ready for JSON."""
    named = lambda path: path and str(path.resolve())
    first, *more = options.gantry_deg
    return {
        "ct": named(options.ct),
        "ct4d": named(options.ct4d),
        "rtstruct": named(options.rtstruct),
        "gtv_mask": named(options.gtv_mask),
        "roi": options.roi,
        "plan": named(options.plan),
        "beam": options.beam,
        "isocentre_mm": options.isocentre_mm and list(options.isocentre_mm),
        # A number where there is one, as earlier fits have it.
        "gantry_deg": [first, *more] if more else first,
        "init": options.init,
        # None in fits of before there were these options, too.
        "phase": options.phases,
        "reference_phase": options.reference_percent,
    }


def _check_same(path: Path, asked: dict[str, Any]) -> None:
    try:
        then = json.loads(path.read_text())["asked"]
    except (OSError, ValueError, KeyError):
        then = {}
    # Fits of before there was a choice started from fresh networks.
    then = {"init": "scratch", **then}
    other = sorted(key for key in asked if then.get(key) != asked[key])
    if other:
        raise UserError(
            f"{path.parent} holds another fit: --{other[0].replace('_', '-')} was "
            f"{then.get(other[0])}, is {asked[other[0]]}",
            needed="a new folder for another patient or view",
            why="its network would go on with other images",
            fix="--out=ANOTHER",
        )
