"""Four virtual devices, strict broadcasting, and compilation kept cheap.

Compiling is nearly all of what the tests cost, and their arrays are small, so XLA is
told not to optimise: a program compiles four to six times as fast and runs up to
five times as slowly, which at these sizes is milliseconds. What was compiled is kept
in `.pytest_cache/xla`, for the other worker and for the next run; an own
`JAX_COMPILATION_CACHE_DIR` or an own value of one of these XLA flags is kept.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import sys
import threading
import time
from importlib import util
from pathlib import Path

QUICK_TO_COMPILE = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "xla"
STALE_S = 7 * 24 * 3600.0


def known_flags(names):
    """Returns those that this jaxlib has: XLA aborts on an unknown one."""
    folder = Path(util.find_spec("jaxlib").origin).parent
    library = max(folder.glob("*.so"), key=lambda path: path.stat().st_size)
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        return [name for name in names if text.find(name.encode()) >= 0]


def set_environment():
    """Before JAX is imported; the processes that tests start inherit it."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    given = os.environ.get("XLA_FLAGS", "")
    # An accelerator's programs are compiled as usual. A worker inherits the flags.
    alone = os.environ["JAX_PLATFORMS"] == "cpu"
    if alone and "PYTEST_XDIST_WORKER" not in os.environ:
        wanted = [name for name in QUICK_TO_COMPILE if name not in given]
        flags = [f"--{name}={QUICK_TO_COMPILE[name]}" for name in known_flags(wanted)]
        os.environ["XLA_FLAGS"] = " ".join([*flags, given]).strip()


def receive_interrupts():
    """A process started in a shell's background ignores SIGINT, and so do its children.

    With a handler of its own here, the processes that tests start get the usual one.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check_annotations():
    """Checks annotated arrays at every call, in the modules that name shapes."""
    package = Path(__file__).parents[1] / "fluoro_jax"
    named = [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in sorted(package.rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    jaxtyping.install_import_hook(named, "beartype.beartype")


set_environment()
receive_interrupts()

import jax  # noqa: E402  (reads the environment)
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

check_annotations()
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionstart(session):
    """Drops compiled programs that no run has read for a week."""
    if hasattr(session.config, "workerinput") or not CACHE.is_dir():
        return
    for path in CACHE.iterdir():
        if time.time() - path.stat().st_atime > STALE_S:
            path.unlink(missing_ok=True)


# Seconds in these modules, most first: a worker that begins the longest one last keeps
# the other waiting.
LONG = ("test_zoo", "test_simulate", "test_benchmark", "test_fluoroscope", "test_loop")


def pytest_collection_modifyitems(items):
    """Long modules first; all others keep their order."""
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


class Everything:
    def __contains__(self, _):
        return True


def pytest_collection_finish(session):
    """Tracing makes millions of objects that live on: looking for cycles among them
    after every 700 takes a fifth of its time.

    Where every core has a worker of its own, compiling the frames of a body beside its
    still part gains nothing, and traces that part twice: none is, but where a test asks
    for it (`test_fluoroscope.py`)."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    if background := sys.modules.get("fluoro_jax.sim.background"):
        background._compiled = Everything()


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A study in miniature, evaluated (`fakes.fake_results`)."""
    from fakes import fake_results

    return fake_results(tmp_path_factory.mktemp("run"))
