"""Valid clips of every format, and seeded damage done to their bytes.

Command: python tests/shared/mutate.py FORMAT FIRST COUNT
reads COUNT damaged clips, from seed FIRST on, under a limit of 2 GiB; prints faults.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

LIMIT_S, LIMIT_BYTES = 10.0, 2 * 2**30
SPECIAL = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def _dicom(kind):
    def make(folder):
        from dicoms import put

        return put(folder, kind)

    return make


def _singles(folder):
    from dicoms import put_singles

    return put_singles(folder / "clip")


def _rle(folder):
    from dicoms import projection, save
    from pydicom.uid import RLELossless

    ds = projection("RT Image")
    ds.compress(RLELossless)
    return save(ds, folder / "clip.dcm")


def _image(name):
    def make(folder):
        import clips

        return getattr(clips, f"put_{name}")(
            folder if name == "mha" else folder / "clip"
        )

    return make


def _npz(folder):
    import clips

    clips.put_mha(folder)
    np.savez_compressed(folder / "clip.npz", frames=clips.small_clip().frames)
    return folder / "clip.npz"


FORMATS = {
    "rt_image": _dicom("RT Image"),
    "xa": _dicom("XA"),
    "enhanced_xa": _dicom("Enhanced XA"),
    "rle": _rle,
    "singles": _singles,
    "mha": _image("mha"),
    "png": _image("png"),
    "trackrad": _image("trackrad"),
    "npz": _npz,
}


def damage(raw: bytes, rng: np.random.Generator) -> bytes:
    """Returns the bytes with one to four changes of a random kind."""
    data = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        # Half of the changes in the first kilobyte: headers decide most.
        end = min(len(data), 1024) if rng.random() < 0.5 else len(data)
        at = int(rng.integers(0, end))
        kind = rng.integers(0, 7)
        span = int(rng.integers(1, 64))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at : at + 4] = bytes(rng.choice(SPECIAL, 4).astype(np.uint8))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + span]
        elif kind == 4:
            data[at:at] = bytes(rng.integers(0, 256, span, dtype=np.uint8))
        elif kind == 5:
            data[at:at] = data[max(at - span, 0) : at] * int(rng.integers(1, 20))
        else:
            other = int(rng.integers(0, len(data)))
            data[at : at + span] = data[other : other + span]
    return bytes(data)


def attempt(kind: str, seed: int, folder: Path) -> tuple[str, float]:
    """Reads one damaged clip; returns (its end, s): "read", "refused" or a fault."""
    from fluoro_jax.errors import UserError
    from fluoro_jax.io.describe import describe
    from fluoro_jax.io.read_clip import read_clip_with_sources

    rng = np.random.default_rng([seed, sorted(FORMATS).index(kind)])
    path = FORMATS[kind](folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    victim = files[int(rng.integers(0, len(files)))]
    victim.write_bytes(damage(victim.read_bytes(), rng))
    before = sorted(folder.rglob("*"))
    begun, end = time.monotonic(), "read"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            describe(path)
            clip = read_clip_with_sources(path).clip
            if not np.isfinite(clip.frames).all():
                end = "frames that are not finite"
        except UserError as error:
            end = "refused" if len(str(error).splitlines()) == 4 else f"lines: {error}"
        except BaseException as error:
            end = f"{type(error).__name__}: {error}"
    if sorted(folder.rglob("*")) != before:
        end = "files left behind"
    return end, time.monotonic() - begun


def faults(kind: str, seeds: range) -> tuple[list[str], dict[str, int]]:
    """Returns what neither was read nor refused in time, and how often each end was."""
    wrong, counts = [], {"read": 0, "refused": 0}
    root = Path(tempfile.mkdtemp(prefix="mutate-"))
    try:
        for seed in seeds:
            folder = root / str(seed)
            folder.mkdir()
            end, took = attempt(kind, seed, folder)
            counts[end] = counts.get(end, 0) + 1
            if end not in ("read", "refused") or took > LIMIT_S:
                wrong.append(f"{kind} {seed}: {end} in {took:.1f} s")
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return wrong, counts


def main(argv: list[str]) -> int:
    """Runs under a limit on memory beyond what the libraries take when imported."""
    import resource

    import fluoro_jax.io.describe  # noqa: F401  (imports JAX, which maps gigabytes)

    kind, first, count = argv[0], int(argv[1]), int(argv[2])
    faults(kind, range(first, first + 1))  # whatever is imported on first use
    used = 1024 * int(
        next(
            line.split()[1]
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmSize:")
        )
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
    wrong, counts = faults(kind, range(first, first + count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{kind}: {counts}, peak {peak:.2f} GiB resident")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2])]
    sys.exit(main(sys.argv[1:]))
