"""One component a frame: those on the path with the most probability."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.tracking.path import FASTEST_MM_S, MOST, most_probable_path

PIXEL_MM = np.array([1.25, 1.25])
SIDE = 48
SEEN, REACH_PX = 0.9, int(FASTEST_MM_S * 0.5 / 1.25)  # 16


def clip_of(*blobs, frames=4):
    """`blobs`: (row of each frame or None, column, half width, probability)."""
    clip = np.full((frames, SIDE, SIDE), 0.1, np.float32)
    for rows, col, half, p in blobs:
        for frame, row in zip(clip, rows, strict=True):
            if row is not None:
                frame[row - half : row + half + 1, col - half : col + half + 1] = p
    return clip


def path_of(clip, threshold=0.5, frame_s=0.5):
    return most_probable_path(clip, threshold, pixel_mm=PIXEL_MM, frame_s=frame_s)


def seen_at(answer, rows, col, threshold=0.5):
    return [
        row is not None and a[row, col] >= threshold
        for a, row in zip(answer, rows, strict=True)
    ]


def test_a_small_tumour_that_jumps_by_more_than_its_width_stays_one():
    """The other is larger in each frame than half of the path, and than no whole."""
    jumps, still = (
        [5, 5 + REACH_PX, 5 + 2 * REACH_PX, 5 + REACH_PX],
        [None, 30, 30, None],
    )
    answer = path_of(clip_of((jumps, 8, 1, SEEN), (still, 40, 1, 0.95)))
    assert all(seen_at(answer, jumps, 8))
    assert not any(seen_at(answer, still, 40))
    # What is no part of the mask is left as it was.
    assert answer[0, 20, 20] == np.float32(0.1)


@pytest.mark.parametrize(
    ("apart", "together"), [(REACH_PX, True), (REACH_PX + 1, False)]
)
def test_nothing_moves_faster_than_the_fastest_tumour(apart, together):
    rows = [4, 4 + apart, 4 + apart, 4 + apart]
    clip = clip_of((rows, 8, 1, SEEN))
    # Less than in frame 1, which the path would otherwise leave out as well.
    clip[0] = np.minimum(clip[0], 0.6)
    assert seen_at(path_of(clip), rows, 8) == [together, True, True, True]


def test_a_frame_without_it_is_left_out_and_the_path_goes_on():
    rows = [5, None, 5 + 2 * REACH_PX, 5 + 2 * REACH_PX]
    other = [None, 44, None, None]  # further than one frame takes it
    answer = path_of(clip_of((rows, 8, 1, SEEN), (other, 44, 1, SEEN)))
    assert seen_at(answer, rows, 8) == [True, False, True, True]
    assert not (answer[1] >= 0.5).any()


def test_in_a_frame_where_another_is_stronger_too():
    weak = clip_of(([20] * 4, 8, 2, SEEN), ([20] * 4, 40, 1, 0.95))
    weak[1, 18:23, 6:11] = 0.5
    weak[1, 18:23, 38:43] = 0.95
    answer = path_of(weak, threshold=0.4)
    assert seen_at(answer, [20] * 4, 8, 0.4) == [True] * 4
    assert not any(seen_at(answer, [20] * 4, 40, 0.4))


def test_one_frame_and_an_empty_mask():
    one = clip_of(([20], 8, 1, SEEN), ([20], 40, 2, SEEN), frames=1)
    answer = path_of(one)
    assert answer[0, 20, 40] >= 0.5 > answer[0, 20, 8]
    nothing = clip_of(frames=2)
    np.testing.assert_array_equal(path_of(nothing), nothing)


def test_corners_touch():
    clip = np.tile(np.eye(6, dtype=np.float32), (2, 1, 1))
    np.testing.assert_array_equal(path_of(clip), clip)


def test_of_more_components_than_are_kept_the_strongest_wins():
    rows = range(2, 2 + 2 * MOST, 2)
    clip = clip_of(
        *[([row] * 2, 8, 0, 0.6) for row in rows], ([40] * 2, 40, 0, SEEN), frames=2
    )
    answer = path_of(clip)
    assert (answer >= 0.5).sum() == 2 and (answer[:, 40, 40] >= 0.5).all()
    # Noise of an untrained network, thousands of components, is answered at once.
    noise = np.random.default_rng(0).uniform(size=(4, SIDE, SIDE)).astype(np.float32)
    assert (path_of(noise, 0.8) >= 0.8).any(axis=(1, 2)).all()
