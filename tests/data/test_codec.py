"""Sixteen-bit storage of line integrals."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fluoro_jax.data.codec import MAX_ERROR, decode_frames, encode_frames


@given(st.floats(-0.5, 15.499))
def test_round_trip_within_the_stated_error(value):
    stored = encode_frames(np.array([value]))
    assert stored.dtype == np.uint16
    assert abs(decode_frames(stored)[0] - value) <= MAX_ERROR + 1e-6


def test_zero_is_exact_and_the_ends_saturate():
    out = decode_frames(encode_frames(np.array([0.0, -9.0, 99.0], np.float32)))
    np.testing.assert_array_equal(out[:2], [0.0, -0.5])
    assert 15.49 < out[2] < 15.5


def test_storing_twice_changes_nothing_more():
    once = decode_frames(encode_frames(np.linspace(-0.5, 15.0, 999)))
    np.testing.assert_array_equal(decode_frames(encode_frames(once)), once)
