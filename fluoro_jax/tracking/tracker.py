"""The protocol of every tracker: `init`, `step` frame by frame, `flush`.

A tracker receives one frame at a time. One that needs later frames states how many
(`lookahead_frames`) and answers that much later, so the interface itself guarantees
causality.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from scipy import ndimage

from fluoro_jax.clip import Clip, Track
from fluoro_jax.geometry import Geometry, position_iso_mm
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.checks import Reference, check_clip

State = Any
# Optional members that a tracker around another passes on, where that one has them.
OPTIONAL = ("learned", "window_frames", "fills_gaps", "cfg", "card", "warm_up")


@runtime_checkable
class Tracker(Protocol):
    """A network, a baseline, or a user's own tracker.

    Optional members, read where they exist:

    - `fit(arrays, threshold=)`, a class method of baselines: fits the tracker to the
      training arrays of `data.dataset.load_split` (mask `[N, T, H, W]`, centroid_px
      `[N, T, 2]`, time_s `[N, T]`); `threshold` is the probability from which a pixel
      is tumour.
    - `learned`, a `learned.TrainingDomain`: the clips it was trained on. Clips of
      another view, domain or frame spacing are then refused; without it any clip is
      accepted. `fluoro track` and `follow.make_plan` need it, to resample.
    - `fills_gaps`: True if it makes up for dropped frames itself; a clip near the
      spacing that it learned is then not split, whatever is missing in it.
    - `told_before(state, told_s)`: the state of `init` if the first frame is `told_s`
      seconds after that of the reference; without it that time is ignored.
    - `window_frames`: frames that it reads at once. Only a clip of exactly so many is
      announced as periodic in `init`; without it every periodic clip is.
    """

    @property
    def causal(self) -> bool:
        """Returns True if the answer for frame t uses no frame after t."""
        ...

    @property
    def lookahead_frames(self) -> int:
        """Returns the number of frames after t that it waits for."""
        ...

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> State:
        """Returns the state before the first frame.

        Args:
            geometry: the view of every frame.
            reference: None, or frame 0 and its true mask.
            periodic: the clip is exactly one breathing period.
            domain: what the frames hold, see `Clip`.

        Raises:
            UserError: a view, reference or domain that the tracker cannot use.
        """
        ...

    def step(
        self, state: State, frame: np.ndarray, time_s: float
    ) -> tuple[State, Track | None]:
        """Takes frame t, `[H, W]`; answers for frame t - lookahead_frames, or None.

        Raises:
            UserError: a frame of another shape, with values that are not finite, or at
                a time that does not follow. The state passed in stays valid.
        """
        ...

    def flush(self, state: State) -> list[Track]:
        """After the last frame: the answers still owed, in frame order."""
        ...


def track_clip(
    tracker: Tracker, clip: Clip, reference: Reference | None = None
) -> list[Track]:
    """Tracks a clip, one frame after another.

    >>> import numpy as np
    >>> from fluoro_jax.clip import Clip
    >>> from fluoro_jax.geometry import square_panel
    >>> from fluoro_jax.tracking.baselines.static import StaticTracker
    >>> shape = np.zeros((8, 8))
    >>> shape[2:5, 3:6] = 1.0
    >>> tracker = StaticTracker(shape, place_px=np.array([3.0, 4.0]))
    >>> clip = Clip(np.zeros((2, 8, 8)), np.array([0.0, 0.5]), square_panel(8))
    >>> [(t.frame, t.status, t.centroid_px.tolist()) for t in track_clip(tracker, clip)]
    [(0, 'ok', [3.0, 4.0]), (1, 'ok', [3.0, 4.0])]

    Args:
        tracker: any `Tracker`; one with `window_frames` is told that the clip is
            periodic only if the period is exactly its window.
        clip: frames `[T, H, W]`; truth in it is not shown to the tracker.
        reference: None, or frame 0 and its true mask.

    Returns:
        One `Track` a frame, in frame order.

    Raises:
        UserError: a clip or reference that the tracker cannot use (see
            `checks.check_clip`); nothing is tracked then.
    """
    frames, times = np.asarray(clip.frames), np.asarray(clip.time_s)
    # The whole clip first: nothing is tracked of a clip whose later frames are refused.
    check_for(tracker, clip, reference)
    # A tracker without a window has no length that the period must match.
    window = getattr(tracker, "window_frames", len(frames))
    periodic = clip.periodic and len(frames) == window
    state = tracker.init(
        clip.geometry, reference, periodic=periodic, domain=clip.domain
    )
    tracks = []
    for frame, time_s in zip(frames, times, strict=True):
        state, track = tracker.step(state, frame, float(time_s))
        if track is not None:
            tracks.append(track)
    tracks.extend(tracker.flush(state))
    # The protocol's promise to users' own trackers too: one answer a frame, in order.
    assert [t.frame for t in tracks] == list(range(len(frames)))
    return tracks


def check_for(tracker: Tracker, clip: Clip, reference: Reference | None = None) -> None:
    """Refuses a clip that this tracker cannot use; see `checks.check_clip`.

    Args:
        tracker: its optional members `learned` and `fills_gaps` are read.
        clip: frames `[T, H, W]`; its truth is not read.
        reference: None, or frame 0 and its true mask.

    Raises:
        UserError: with the first problem found.
    """
    learned = getattr(tracker, "learned", None)
    fills_gaps = bool(getattr(tracker, "fills_gaps", False))
    check_clip(clip, learned, reference, fills_gaps=fills_gaps)


def make_track(
    frame: int,
    probability: np.ndarray,
    geometry: Geometry,
    *,
    threshold: float = 0.5,
    one_component: bool = False,
) -> Track:
    """Returns the `Track` of a probability map, cut at p >= `threshold`.

    The centroid is that of the cut mask; the confidence is the mean probability inside
    it, and 0 for an empty prediction. Below the middle of the values it can take,
    (1 + threshold) / 2, the status is "low_confidence".

    Args:
        frame: index of the frame.
        probability: `[H, W]` in [0, 1].
        geometry: the view; gives the centroid in mm in the isocentre plane.
        threshold: probability from which a pixel is tumour.
        one_component: answer with the most probable component of the mask alone; the
            probability of the others is set to 0.
    """
    probability = np.asarray(probability, np.float32)
    if one_component:
        probability = most_probable_component(probability, threshold)
    mask = probability >= threshold
    if not mask.any():
        # NaN, not 0: an empty prediction has no centroid, and 0 is a pixel.
        nowhere = np.full(2, np.nan)
        return Track(frame, nowhere, nowhere, probability, 0.0, "missed")
    middle = centroid_px(mask)
    place = np.asarray(_position_iso_mm(geometry, middle))
    confidence = float(probability[mask].mean())
    # Inside the mask p lies in [threshold, 1].
    status = "ok" if confidence >= (1.0 + threshold) / 2 else "low_confidence"
    return Track(frame, middle, place, probability, confidence, status)


# One program: operation by operation it takes 3 ms, a fifth of a frame's network.
_position_iso_mm = jax.jit(position_iso_mm)


def most_probable_component(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the map with all components of its mask but one set to 0.

    The one that stays has the largest sum of probabilities. Pixels touch at sides and
    corners.

    Args:
        probability: `[H, W]` in [0, 1].
        threshold: probability from which a pixel belongs to a component.
    """
    mask = probability >= threshold
    # Of the box around the mask alone: over the whole frame it takes a millisecond.
    box = _box_of(mask)
    mask = mask[box]
    # Corners too: a thin mask that runs diagonally is one component.
    found: Any = ndimage.label(mask, np.ones((3, 3)))
    labels, count = found
    if count < 2:
        return probability
    # The sum, not the largest p: a few bright pixels elsewhere do not win over the
    # tumour.
    sums = np.bincount(labels[mask], probability[box][mask])
    answer = probability.copy()
    answer[box][mask & (labels != int(np.argmax(sums)))] = 0.0
    return answer


def _box_of(mask: np.ndarray) -> tuple[slice, ...]:
    """Returns the least box that holds the mask; an empty one for an empty mask."""
    axes = range(mask.ndim)
    lines = [mask.any(axis=tuple(a for a in axes if a != axis)) for axis in axes]
    places = [np.flatnonzero(line) for line in lines]
    return tuple(slice(at[0], at[-1] + 1) if at.size else slice(0) for at in places)
