"""The memory that is left to this process, asked before a clip is decoded."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MOST_SHOWN = 160  # characters of an error; XLA's go on with all allocations


def free_bytes() -> int | None:
    """Returns the free memory of machine, container and ulimit; None if unknown.

    `training.memory` asks the same of a device; this layer knows no devices.
    """
    found = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        found.append(1024 * _numbers(Path("/proc/meminfo"))["MemAvailable:"])
    # Files that the container caches count as used but are given up when needed.
    with contextlib.suppress(OSError, KeyError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        found.append(limit - used + _numbers(CGROUP / "memory.stat")["inactive_file"])
    # Not on every platform.
    with contextlib.suppress(ImportError, OSError, KeyError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            used = 1024 * _numbers(Path("/proc/self/status"))["VmSize:"]
            found.append(limit - used)
    if not found:
        with contextlib.suppress(ValueError, OSError, AttributeError):
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(found), 0) if found else None


def not_allocated(error: BaseException) -> str:
    """Returns what could not be allocated, in words; "" for errors of another kind.

    >>> not_allocated(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 B"))
    'RESOURCE_EXHAUSTED: Out of memory allocating 8 B'
    >>> not_allocated(RuntimeError("INTERNAL: no such device"))
    ''
    """
    text = " ".join(str(error).split())[:MOST_SHOWN]
    if isinstance(error, MemoryError):
        return text or "MemoryError"
    # XLA has no class of its own for it.
    return text if "RESOURCE_EXHAUSTED" in text else ""


def _numbers(path: Path) -> dict[str, int]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
