"""The `fluoro` command: verbs by argparse, JAX imported only by those that need it."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fluoro_jax import __version__
from fluoro_jax.cli import (
    demo,
    evaluate_track,
    export,
    fit,
    inspect,
    models,
    report,
    stream,
    track,
)
from fluoro_jax.cli.simulate import options
from fluoro_jax.cli.surroundings import unbroken
from fluoro_jax.errors import UserError
from fluoro_jax.interrupts import acknowledged, exit_with

RUNS = {
    "train": "train the networks of a config",
    "evaluate": "score the newest checkpoint of a run",
    "reproduce": "train if needed, evaluate, and write table, figures and report",
    "publish": "turn an evaluated run into weights with a card, loaded by name",
}
# What reads a verb's options, and what then does the work; neither imports JAX.
VERBS: dict[str, tuple[Any, Callable[[argparse.Namespace], None]]] = {
    "demo": (demo, demo.demo),
    "inspect": (inspect, inspect.inspect),
    "fit": (fit, lambda args: fit.fit(fit.options_from(args))),
    "track": (track, lambda args: track.track(track.options_from(args))),
    "stream": (stream, stream.stream),
    "evaluate-track": (evaluate_track, evaluate_track.evaluate_track),
    "report": (report, report.report),
    "models": (models, models.models),
    "export": (export, export.export),
}
REQUIRED = "jax jaxlib flax optax orbax-checkpoint ml-collections clu numpy scipy"
OPTIONAL = (
    "tensorflow-datasets array-record matplotlib jinja2 tensorboard pydicom SimpleITK"
    " pylibjpeg flatbuffers onnx onnxruntime jax2onnx"
)


def script() -> NoReturn:
    """The command `fluoro`: runs one verb and ends the process."""
    exit_with(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code (2: a mistake on the command line)."""
    with acknowledged():
        return unbroken(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in RUNS:  # their flags are absl's, so that keys may follow
        from fluoro_jax.cli.commands import run

        return run(argv[0], argv[1:])
    args, rest = parser().parse_known_args(argv)
    if args.verb == "simulate":
        return _simulate(args, rest)
    # `simulate` alone takes keys of a config after its own options.
    if rest:
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    if args.verb in VERBS:
        from fluoro_jax.cli.commands import guarded

        _, work = VERBS[args.verb]
        return guarded(lambda: work(args), debug=args.debug, option=_written_to(args))
    if args.verb == "doctor":
        from fluoro_jax.cli.commands import guarded

        return guarded(lambda: print(doctor()), debug=False)
    parser().print_help()
    return 0


class FourLines(argparse.ArgumentParser):
    """A parser whose errors have the four lines of a `UserError`."""

    def error(self, message: str) -> NoReturn:
        """Four lines on stderr, exit code 2."""
        # argparse prints usage and one line; a mistake here has the four lines of every
        # other.
        told = UserError(
            message,
            needed=f"what `{self.prog} --help` lists",
            why="the command line cannot be read",
            fix="correct it; options come after the verb",
        )
        self.exit(2, f"{told}\n")


def _simulate(args: argparse.Namespace, rest: list[str]) -> int:
    from fluoro_jax.cli.commands import guarded

    def work() -> None:
        # Options are checked before JAX is imported: a mistake is answered at once.
        asked = options.options_from(args, rest)
        from fluoro_jax.cli.simulate.run import simulate

        simulate(asked)

    return guarded(work, debug=args.debug, option=_written_to(args))


def _written_to(args: argparse.Namespace) -> str:
    """Returns the option that says where a verb writes."""
    # --json of some verbs is a switch: they print.
    file = not isinstance(getattr(args, "json", False), bool)
    if hasattr(args, "out"):
        return "--out"
    return "--json" if file else "DIR"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all verbs."""
    top = FourLines(
        prog="fluoro",
        description="Find and follow a lung tumour in X-ray fluoroscopy. "
        "Research software, not a medical device.",
    )
    top.add_argument("--version", action="version", version=f"fluoro {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    verbs.add_parser("doctor", help="show versions, devices and memory, for an issue")
    writes = "write labelled clips of simulated patients"
    options.add_arguments(
        verbs.add_parser(
            "simulate",
            help=writes,
            description=f"{writes.capitalize()}: for each a TrackRAD folder with its "
            "geometry, its ground truth and an animation; and a contact sheet of all.",
            epilog="With cycle breathing the frames of a clip are exactly one breath. "
            "The same command again goes on where an earlier one ended.",
        )
    )
    for verb, (module, _) in VERBS.items():
        does, epilog = module.DOES, module.EPILOG
        described = f"{does.capitalize()}."
        module.add_arguments(
            verbs.add_parser(verb, help=does, description=described, epilog=epilog)
        )
    # For --help alone: these verbs are dispatched before argparse sees them.
    for verb, words in RUNS.items():
        verbs.add_parser(verb, help=f"{words} (--config=FILE.py --workdir=DIR)")
    return top


def doctor() -> str:
    """Versions, devices, memory and packages, ready to paste in an issue."""
    rows = [
        ("fluoro_jax", __version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("cpus", str(os.cpu_count())),
        ("memory", _memory()),
        ("devices", _devices()),
    ]
    rows += [(name, _version(name)) for name in REQUIRED.split()]
    rows += [(f"{name} (optional)", _version(name)) for name in OPTIONAL.split()]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)


def _memory() -> str:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # `sysconf` and its names are missing on some platforms.
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _devices() -> str:
    try:
        import jax

        found = jax.devices()
    except Exception as error:  # whatever is wrong with JAX is what to show
        return f"none ({type(error).__name__}: {str(error).splitlines()[:1]})"
    return ", ".join(f"{d.platform} {d.device_kind}" for d in found)


def _version(name: str) -> str:
    import importlib.metadata  # 0.04 s, a third of the time of --help

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    script()
