"""Line integrals as 16 bits: half the disk and memory traffic of float32.

stored = round(4096 (x + 0.5)), so x from -0.5 (noise above the open beam) to 15.5 (a
transmission of 2e-7, past any chest) is kept to within 1/8192 = 0.00012; anything
outside saturates. That is a tenth of the noise of one pixel that counted a million
quanta (SD of the line integral 0.001).
"""

from __future__ import annotations

import numpy as np

FRAME_STEPS = 4096.0  # a unit of line integral
FRAME_FLOOR = -0.5  # the line integral stored as 0
MAX_ERROR = 0.5 / FRAME_STEPS


def encode_frames(frames: np.ndarray) -> np.ndarray:
    """Line integrals [1] of any shape to `uint16`; outside [-0.5, 15.5] saturates."""
    steps = np.rint((np.asarray(frames, np.float64) - FRAME_FLOOR) * FRAME_STEPS)
    return np.clip(steps, 0, 65535).astype(np.uint16)


def decode_frames(stored: np.ndarray) -> np.ndarray:
    """`uint16` of any shape back to float32 line integrals [1]."""
    # Powers of two, so that decoding is exact in float32.
    return stored.astype(np.float32) / np.float32(FRAME_STEPS) + np.float32(FRAME_FLOOR)
