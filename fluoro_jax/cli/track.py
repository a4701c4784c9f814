"""`fluoro track`: from a clip on disk to positions in millimetres and masks.

The module imports no JAX, so that --help is quick; `track` does.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluoro_jax.cli import frame0, pixels_only, run_record, stated, tracker_options
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import expand_path, readable
from fluoro_jax.io.overrides import Overrides

BESIDE = ("seg", "sr", "slicer", "trackrad", "gif")  # keys of `io.tracks_beside.KINDS`
DOES = "find the tumour in a clip: positions in mm, masks, a record"
EPILOG = """CLIP is a DICOM projection (XA, XRF, enhanced or not, RT Image: one
multi-frame file or a folder of frames; extra [dicom]); or a TrackRAD case folder, an
.mha or .npz of frames, or a folder of numbered PNG frames, each with a geometry.json
that gives sad_mm, sdd_mm, gantry_deg, pixel_mm [row, column], frame_s and domain.
`fluoro simulate` writes such folders, `fluoro inspect` says what a file holds. Frames
are resampled to the model's pixels and back. DIR receives track.csv, masks.mha,
run.json and the page report.html with its results.json; with --seg seg.dcm, with --sr
centroid_sr.dcm, both with frames.dcm, with --slicer a folder for SlicerCineTrack, with
--trackrad a TrackRAD case with the masks as targets, with --gif an animation.
Research software. Not a medical device. Not for clinical use."""


@dataclass(frozen=True)
class Options:
    """A command line, read but not yet checked.

    Attributes:
        clip: file or folder to read.
        model: name of the weights.
        out: folder to write to.
        lookahead: frames after t that the answer for t may use; None is the model's.
        answer: one of `tracker_options.ANSWERS`; None is the model's.
        overwrite: replace results in `out`.
        quiet: no progress.
        stated: numbers that win over the clip's files.
        beside: more files to write, any of `io.tracks_beside.KINDS`.
        frame0: file with the mask of the first frame, if it is shown.
    """

    clip: Path
    model: str
    out: Path
    lookahead: int | None = None
    answer: str | None = None
    overwrite: bool = False
    quiet: bool = False
    stated: Overrides = field(default_factory=Overrides)
    beside: tuple[str, ...] = ()
    frame0: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("clip", metavar="CLIP", help="file or folder to read")
    tracker_options.add_arguments(parser)
    frame0.add_arguments(parser)
    parser.add_argument("-o", "--out", metavar="DIR", help="where results go")
    parser.add_argument(
        "--seg", action="store_true", help="masks as DICOM-SEG too (extra [dicom])"
    )
    parser.add_argument(
        "--sr", action="store_true", help="centroids as DICOM SR too (extra [dicom])"
    )
    parser.add_argument(
        "--slicer", action="store_true", help="a folder for SlicerCineTrack too"
    )
    parser.add_argument(
        "--trackrad", action="store_true", help="a TrackRAD case of the masks too"
    )
    parser.add_argument(
        "--gif", action="store_true", help="frames with the outline as track.gif too"
    )
    parser.add_argument(
        "--pixels-only",
        action="store_true",
        help="no millimetres: pixel size, SAD and SID may be unknown; the frames are "
        "then taken to have the model's scale",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--debug", action="store_true", help="show the traceback")
    stated.add_arguments(parser)


def options_from(args: argparse.Namespace) -> Options:
    """Returns what was asked for.

    Raises:
        UserError: for a missing model or folder.
    """
    for name, example in (("model", "group"), ("out", "tracked")):
        if not getattr(args, name):
            raise UserError(
                f"no --{name}",
                needed=f"fluoro track CLIP --model=NAME --out=DIR (no --{name} given)",
                why="positions depend on the model and are written to files",
                fix=f"add --{name}={example}",
            )
    beside = tuple(kind for kind in BESIDE if getattr(args, kind))
    if args.pixels_only:
        pixels_only.check(beside)
    return Options(
        expand_path(args.clip),
        args.model,
        expand_path(args.out),
        args.lookahead,
        args.answer,
        args.overwrite,
        args.quiet,
        stated.stated_from(args),
        beside,
        expand_path(args.frame0) if args.frame0 else None,
    )


def track(options: Options) -> None:
    """Reads, resamples, tracks and writes: all three files or none, then the page.

    Raises:
        UserError: before anything is written, for a clip, a model or a folder that
            cannot be used.
    """
    from fluoro_jax.io.tracks import check_out, write_tracks
    from fluoro_jax.io.tracks_beside import check_beside, check_inputs, write_beside

    begun = time.time()
    # Before the model is loaded, which takes seconds.
    bare = options.stated.pixels_only
    check_out(options.out, overwrite=options.overwrite, pixels_only=bare)
    check_beside(options.out, options.beside, overwrite=options.overwrite)
    # Caught here: each is printed once, and stands in run.json.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read, plan, outline = _read_and_plan(options)
        inputs = [*filter(None, (options.clip, options.frame0)), *read.files]
        check_inputs(options.out, inputs, options.beside)
        rows, masks, first_s = _follow(plan, quiet=options.quiet)
    rows, masks = frame0.moved(rows, masks, outline=outline, plan=plan, clip=read.clip)
    told = tell_warnings(caught)
    about = run_record.about(options, read, plan)
    # The whole record: paths stand all over it, in warnings too.
    record = readable(
        {
            **(pixels_only.without_mm(about) if bare else about),
            "frame0_moved_by": frame0.moved_by(options.frame0, outline),
            "runtime": {
                "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
                "seconds": round(time.time() - begun, 3),
                "compile_s": round(first_s, 3),
            },
            "warnings": told,
            "status": _counts([answer.status for answer, _ in rows]),
        }
    )
    answers = [answer for answer, _ in rows]
    name = readable(options.model)
    more: Any = dict(algorithm=name, kinds=options.beside, inputs=inputs)
    with write_beside(options.out, read, answers, masks, **more) as others:
        record["more_files"] = others
        write_tracks(
            options.out, read.clip, rows, masks=masks, run=record, pixels_only=bare
        )
    page = _write_page(options, read.clip, rows, masks=masks, run=record)
    if not options.quiet:
        print(f"{len(rows)} frames: {record['status']}", file=sys.stderr)
        names = ["track.csv", "masks.mha", "run.json", *others, *page]
        print(f"{', '.join(names)} in {options.out}", file=sys.stderr)


def _read_and_plan(options: Options) -> tuple[Any, Any, Any]:
    """Returns what was read, its plan for the model, and the outline to be moved."""
    from fluoro_jax.io.read_clip import read_clip_with_sources
    from fluoro_jax.tracking.follow import make_plan

    read = read_clip_with_sources(options.clip, options.stated)
    tracker, _ = tracker_options.open_tracker(
        options.model, options.lookahead, options.answer
    )
    outline, reference = frame0.given(options.frame0, read.clip, tracker)
    if not options.stated.pixels_only:
        return read, make_plan(tracker, read.clip, reference), outline
    clip = pixels_only.scaled(read.clip, tracker.learned.view)
    return pixels_only.unscaled(read), make_plan(tracker, clip, reference), outline


def _write_page(
    options: Options, clip: Any, rows: list[Any], *, masks: Any, run: dict[str, Any]
) -> list[str]:
    """Writes report.html and results.json; returns what is to be named of them.

    A mask in the clip is the truth. Without millimetres there is no page.
    """
    import numpy as np

    from fluoro_jax.io.tracks import PAGE, read_track
    from fluoro_jax.report.clip import Tracked, write_clip_report

    out = options.out
    if options.stated.pixels_only:
        return []
    confidence = np.array([float(answer.confidence) for answer, _ in rows])
    latency_ms = np.array([latency for _, latency in rows])
    write_clip_report(
        out, Tracked(clip, read_track(out), masks, confidence, latency_ms, run)
    )
    return [PAGE]


def _follow(plan: Any, *, quiet: bool) -> tuple[list[Any], Any, float]:
    """Runs a plan.

    Returns:
        ((track, latency in ms) of every frame, its probability cut to the mask; masks
        `[T, H, W]` uint8; seconds of the first frame, which compiles).
    """
    import numpy as np

    # Together the parts hold every frame, so the largest index tells their number.
    source, count = plan.resampler.source, 1 + max(int(part[-1]) for part in plan.parts)
    masks = np.zeros((count, source.rows, source.cols), np.uint8)
    rows: dict[int, Any] = {}
    threshold = plan.tracker.cfg.evaluation.threshold
    tell = _progress(plan.steps, quiet=quiet)
    first_s = plan.warm_up()
    for place, (answer, latency_ms) in enumerate(plan.run()):
        # None: a frame given whose answer comes later, or a second answer for the same
        # frame.
        if answer is not None:
            mask = np.asarray(answer.probability) >= threshold
            masks[answer.frame] = mask
            # Cut, and uint8 in place of float32: a long clip's answers are kept until
            # all are written.
            cut = dataclasses.replace(answer, probability=masks[answer.frame])
            rows[answer.frame] = (cut, latency_ms)
        tell(place + 1)
    return [rows[frame] for frame in range(count)], masks, first_s


def tell_warnings(caught: list[warnings.WarningMessage]) -> list[str]:
    """Prints this package's warnings, each once, and gives others back to Python."""
    # Ours begin with "WARNING" (`checks._warn`); other libraries' go where Python sends
    # them.
    ours = [one for one in caught if str(one.message).startswith("WARNING")]
    for one in caught:
        if one not in ours:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    told = list(dict.fromkeys(str(one.message) for one in ours))
    for line in told:
        print(line, file=sys.stderr)
    return told


def _counts(statuses: list[str]) -> dict[str, int]:
    return {status: statuses.count(status) for status in dict.fromkeys(statuses)}


def _progress(total: int, *, quiet: bool) -> Callable[[int], None]:
    """A function that is told how many frames are done."""
    if quiet:
        return lambda done: None
    print("first frame: compiling, once, 5-60 s on two cores", file=sys.stderr)
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, unit="frame", desc="track")

        def move(done: int) -> None:
            bar.update(min(done, total) - bar.n)
            if done >= total:
                bar.close()

        return move
    # Without a terminal ten lines: a bar would fill a log file.
    every, start = max(total // 10, 1), time.monotonic()

    def tell(done: int) -> None:
        if done <= total and (done % every == 0 or done == total):
            took = time.monotonic() - start
            left = took / done * (total - done)
            print(
                f"frame {done} of {total}: {took:.0f} s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    return tell
