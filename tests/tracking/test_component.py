"""The answer is one component of the mask: the one with the most probability."""

import numpy as np

from fluoro_jax.geometry import square_panel
from fluoro_jax.tracking.tracker import make_track, most_probable_component


def two_blobs():
    p = np.zeros((16, 16), np.float32)
    p[2:5, 2:5] = 0.9  # sum 8.1
    p[10:13, 9:11] = 0.95  # sum 5.7
    p[7, 7] = 0.4  # below the threshold: no component
    return p


def test_the_larger_sum_stays_and_what_is_below_the_threshold_too():
    kept = most_probable_component(two_blobs(), 0.5)
    assert kept[3, 3] == np.float32(0.9) and kept[11, 10] == 0.0
    assert kept[7, 7] == np.float32(0.4)


def test_corners_touch():
    p = np.eye(6, dtype=np.float32)
    np.testing.assert_array_equal(most_probable_component(p, 0.5), p)


def test_an_empty_mask_and_a_single_component_are_left_alone():
    nothing = np.full((4, 4), 0.1, np.float32)
    assert most_probable_component(nothing, 0.5) is nothing


def test_a_track_lies_on_the_component_not_between_the_two():
    whole = make_track(0, two_blobs(), square_panel(16))
    one = make_track(0, two_blobs(), square_panel(16), one_component=True)
    np.testing.assert_allclose(one.centroid_px, [3.0, 3.0])
    assert whole.centroid_px[0] > 5.0
    np.testing.assert_allclose(one.confidence, 0.9, rtol=1e-6)
