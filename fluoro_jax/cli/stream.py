"""`fluoro stream`: a clip played at its frame times, with every delay accounted for.

The module imports no JAX, so that --help is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from typing import Any

from fluoro_jax import __version__
from fluoro_jax.cli import json_option, stated, tracker_options
from fluoro_jax.cli.surroundings import processor_name
from fluoro_jax.cli.track import tell_warnings
from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path, readable, write_text

DOES = "play a clip in real time: latency, missed deadlines, dropped frames"
EPILOG = """CLIP is what fluoro track reads. Every frame is given to the tracker at its
time; the latency of an answer is acquisition + transfer (both stated, not measured) +
waiting + computation + the wait for later frames. A deadline is missed if a frame is
computed after the next one has arrived. While the tracker is busy only the newest
waiting frame is kept, unless --no-drop. Compiling is done before the first frame and
not counted. Research software. Not a medical device. Not for clinical use."""
TIMES = {
    "compute_ms": "computation",
    "waiting_ms": "waiting for the tracker",
    "lookahead_ms": "look-ahead",
    "latency_ms": "latency, all included",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("clip", metavar="CLIP", help="file or folder to read")
    tracker_options.add_arguments(parser)
    parser.add_argument(
        "--acquisition-ms",
        type=float,
        default=0.0,
        metavar="X",
        help="from a frame's time to its complete image (default: 0)",
    )
    parser.add_argument(
        "--transfer-ms",
        type=float,
        default=20.0,
        metavar="X",
        help="from the complete image to the tracker (default: 20)",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="1 is real time"
    )
    parser.add_argument(
        "--no-drop", action="store_true", help="queue frames instead of dropping them"
    )
    json_option.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback")
    stated.add_arguments(parser)


def stream(args: argparse.Namespace) -> None:
    """Plays the clip, prints the table, and writes it if asked.

    Raises:
        UserError: a clip, a model or a number that cannot be used, or a file of
            `--json` that cannot be written; before the clip is played.
    """
    from fluoro_jax.io.read_clip import read_clip_with_sources
    from fluoro_jax.tracking.follow import make_plan
    from fluoro_jax.tracking.replay import Chain, WallClock, replay

    if not args.model:
        refuse(
            "no --model",
            "fluoro stream CLIP --model=NAME",
            "what is timed is a model",
            "add --model=group",
        )
    chain = Chain(
        acquisition_s=1e-3 * args.acquisition_ms,
        transfer_s=1e-3 * args.transfer_ms,
        speed=args.speed,
        drop=not args.no_drop,
    )
    out, numbers = json_option.json_path(args), stated.stated_from(args)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # The record counts dropped frames; a warning for each would fill the screen.
        warnings.filterwarnings("ignore", message="WARNING .* between two frames")
        clip = read_clip_with_sources(expand_path(args.clip), numbers).clip
        tracker, name = tracker_options.open_tracker(
            args.model, args.lookahead, args.answer
        )
        plan = make_plan(tracker, clip)
        print("compiling before the first frame, not counted", file=sys.stderr)
        warm_up_s = plan.warm_up()
        found = replay(plan, clip, chain, clock=WallClock())
    told = tell_warnings(caught)
    record = {
        **_about(args, name, tracker),
        "sequences": len(plan.parts),
        "warm_up_s": round(warm_up_s, 3),
        **found.summary(),
        "dropped_frames": found.dropped,
        "late_frames": found.late,
        "warnings": told,
    }
    print(table(record))
    if out:
        write_text(out, json.dumps(record, indent=1) + "\n")


def _about(args: argparse.Namespace, name: str, tracker: Any) -> dict[str, Any]:
    import jax

    from fluoro_jax.io.tracks import DISCLAIMER

    return {
        "statement": DISCLAIMER,
        "versions": {"fluoro_jax": __version__, "jax": jax.__version__},
        "processor": processor_name(),
        # Other work on the machine makes frames late; no such number on Windows.
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "device": ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices()),
        "clip": readable(str(args.clip)),
        "model": {"name": name, "sha256": tracker.card["weights"]["sha256"]},
        **tracker_options.about(tracker),
        "lookahead_frames": tracker.lookahead_frames,
        "acquisition_ms": args.acquisition_ms,
        "transfer_ms": args.transfer_ms,
        "speed": args.speed,
        "policy": "queue" if args.no_drop else "keep the newest",
    }


def table(record: dict[str, Any]) -> str:
    """Returns a record of `stream` as lines of text, times in ms."""
    number = lambda value: "-" if value is None else f"{value:.1f}"
    lines = [
        f"{record['model']['name']} on {record['processor']}, {record['device']}, "
        f"load {number(record['load_1min'])}",
        f"{record['frames']} frames at speed {record['speed']:g}: {record['seen']} "
        f"seen, {record['dropped']} dropped, {record['missed_deadlines']} missed "
        f"deadlines, {record['restarts']} restarts",
        f"{record['answers']} answers; {record['unanswered_at_end']} owed at the end",
        f"warm-up of {record['warm_up_s']:.1f} s before the first frame, not counted",
        f"stated: acquisition {record['acquisition_ms']:g} ms, transfer "
        f"{record['transfer_ms']:g} ms",
        f"{'[ms]':<24}{'p50':>10}{'p95':>10}{'p99':>10}{'max':>10}",
    ]
    for key, words in TIMES.items():
        cells = "".join(f"{number(value):>10}" for value in record[key].values())
        lines.append(f"{words:<24}{cells}")
    return "\n".join(lines)
