"""One component a frame for a whole window: those along the most probable path.

Components that had to touch in time would break a small tumour's path in two wherever
it moves by more than its own width between two frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

# Ours. A tumour of 30 mm in 2.5 s, the largest and fastest of a trained breath, moves
# by at most 38 mm/s.
FASTEST_MM_S = 40.0
MOST = 16  # components of a frame that may be on the path, the most probable ones


@dataclass(frozen=True)
class Parts:
    """The components of one frame's mask, n of them.

    Attributes:
        labels: `[H, W]`, 0 outside the mask.
        label: `[n]` number of each in `labels`.
        mass: `[n]` sum of its probabilities.
        place_mm: `[n, 2]` its middle (down, right), in the isocentre plane.
    """

    labels: np.ndarray
    label: np.ndarray
    mass: np.ndarray
    place_mm: np.ndarray


def most_probable_path(
    probability: np.ndarray,
    threshold: float,
    *,
    pixel_mm: np.ndarray,
    frame_s: float,
) -> np.ndarray:
    """Returns the maps with all components of a frame's mask but one set to 0.

    Those that stay lie on the path with the largest sum of probabilities, on which a
    component is never further from the one before than `FASTEST_MM_S` takes it. A frame
    without a component within reach is left out of the path, and its mask is empty.

    Args:
        probability: `[T, H, W]` in [0, 1].
        threshold: probability from which a pixel belongs to a component; corners touch.
        pixel_mm: `[2]` (row, column) pitch in the isocentre plane.
        frame_s: time between two frames.
    """
    frames = [_parts(frame, threshold, pixel_mm) for frame in probability]
    chosen = _best_path([(f.mass, f.place_mm) for f in frames], frame_s)
    answer = probability.copy()
    for frame, parts in enumerate(frames):
        own = parts.label[chosen[frame]] if frame in chosen else -1
        answer[frame][(parts.labels > 0) & (parts.labels != own)] = 0.0
    return answer


def _parts(frame: np.ndarray, threshold: float, pixel_mm: np.ndarray) -> Parts:
    mask = frame >= threshold
    found: Any = ndimage.label(mask, np.ones((3, 3)))
    labels, count = found
    sums = np.bincount(labels[mask], frame[mask], minlength=count + 1)[1:]
    label = 1 + np.argsort(-sums, kind="stable")[:MOST]
    # Of the mask, not weighted: as a track's centroid.
    middles = ndimage.center_of_mass(mask, labels, label) if label.size else []
    place_mm = np.reshape(middles, (-1, 2)) * pixel_mm
    return Parts(labels, label, sums[label - 1], place_mm)


def _best_path(
    frames: list[tuple[np.ndarray, np.ndarray]], frame_s: float
) -> dict[int, int]:
    """Component by frame of the path of most mass; frames that it leaves out are none.

    Args:
        frames: (mass `[n]`, place_mm `[n, 2]`) of each frame's components.
        frame_s: time between two frames.
    """
    # Largest mass of a path that ends here, and where it was before.
    totals: list[np.ndarray] = []
    before: list[list[tuple[int, int] | None]] = []
    for now, (mass, place_mm) in enumerate(frames):
        total = mass.astype(float)
        came: list[tuple[int, int] | None] = [None] * len(mass)
        for i in range(len(mass)):
            for then in range(now):
                off_mm = np.linalg.norm(frames[then][1] - place_mm[i], axis=-1)
                reach_mm = FASTEST_MM_S * frame_s * (now - then)
                sums = np.where(off_mm <= reach_mm, totals[then] + mass[i], 0.0)
                if sums.size and sums.max() > total[i]:
                    total[i], came[i] = sums.max(), (then, int(sums.argmax()))
        totals.append(total)
        before.append(came)
    ends = [(t.max(), (n, int(t.argmax()))) for n, t in enumerate(totals) if t.size]
    at = max(ends)[1] if ends else None
    chosen = {}
    while at is not None:
        chosen[at[0]] = at[1]
        at = before[at[0]][at[1]]
    return chosen
