"""From a machine's axes to the patient's: positions on the table, and mirrored images.

IEC 61217 fixed axes (Xf right of the machine seen from its front, Yf towards it, Zf up)
are those of the room; `Geometry` counts in patient axes (DICOM LPS), as if the patient
lay head first supine. A view of a patient who lies otherwise is the view of another
angle, with the image turned by 180 degrees where the feet come first.
"""

from __future__ import annotations

import math

import numpy as np

# Patient axes (LPS) of the room's Xf and Zf; Yf is superior for HF, inferior for FF.
# The patient's side that is up gives Zf; Xf = Yf x Zf.
LEFT, POSTERIOR, SUPERIOR = np.eye(3)
UP = {"S": -POSTERIOR, "P": POSTERIOR, "DL": -LEFT, "DR": LEFT}
HEAD = {"HF": SUPERIOR, "FF": -SUPERIOR}
POSITIONS = tuple(head + up for head in HEAD for up in UP)
LETTERS = {
    "L": LEFT,
    "R": -LEFT,
    "P": POSTERIOR,
    "A": -POSTERIOR,
    "H": SUPERIOR,
    "F": -SUPERIOR,
}
# Cosine under which an axis is not along the image's (ours): 45 degrees.
ALONG = 0.5**0.5 - 1e-6


def as_head_first_supine(gantry_deg: float, position: str) -> tuple[float, bool]:
    """Converts a gantry angle to the angle of the same view in patient axes.

    >>> as_head_first_supine(90.0, "HFS"), as_head_first_supine(90.0, "FFS")
    ((90.0, False), (270.0, True))
    >>> as_head_first_supine(0.0, "HFP"), as_head_first_supine(30.0, "FFP")
    ((180.0, False), (150.0, True))

    Args:
        gantry_deg: IEC angle; 0 has the source above, 90 at Xf.
        position: one of `POSITIONS`.

    Returns:
        (angle as if head first supine in [0, 360), whether the image is turned by 180
        degrees).
    """
    up, head = UP[position[2:]], HEAD[position[:2]]
    across = np.cross(head, up)
    angle = math.radians(gantry_deg)
    source = math.sin(angle) * across + math.cos(angle) * up
    # `Geometry`: the source is at (sin g, -cos g, 0) in LPS.
    equal = math.degrees(math.atan2(source[0], -source[1])) % 360.0
    # Rounded off what degrees and radians leave; 360 is 0.
    return round(equal, 6) % 360.0, position.startswith("FF")


def image_axes(gantry_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns unit vectors (right, down) of a view seen from the source, LPS, `[3]`."""
    angle = math.radians(gantry_deg)
    return np.array([math.cos(angle), math.sin(angle), 0.0]), -SUPERIOR


def letters(direction: np.ndarray) -> str:
    """Returns the patient's letters of a direction, the largest part first.

    >>> letters(np.array([0.87, 0.5, 0.0])), letters(np.array([0.0, 0.0, -1.0]))
    ('LP', 'F')
    """
    parts = sorted(zip(np.abs(direction), range(3), strict=True), reverse=True)
    pairs = (("R", "L"), ("A", "P"), ("F", "H"))
    # Parts of under 10 degrees (ours) are left out.
    return "".join(pairs[i][int(direction[i] > 0)] for size, i in parts if size > 0.17)


def mirrored(words: list[str], gantry_deg: float) -> tuple[bool, bool] | None:
    """Returns whether rows and columns run against a view seen from the source.

    >>> mirrored(["L", "F"], 0.0), mirrored(["L", "F"], 180.0)
    ((False, False), (False, True))
    >>> mirrored(["F", "L"], 0.0)  # turned by 90 degrees: None

    Args:
        words: PatientOrientation (0020,0020): where a row's columns run to, and where
            the rows run to.
        gantry_deg: angle in patient axes.

    Returns:
        (rows are flipped, columns are flipped); None where the words are no two
        directions along this view's axes.
    """
    if len(words) != 2 or not all(w and set(w) <= set(LETTERS) for w in words):
        return None
    along = []
    for word, axis in zip(words, image_axes(gantry_deg), strict=True):
        # The first letter weighs most: "LA" is more left than anterior.
        total = sum(LETTERS[one] * 0.7**place for place, one in enumerate(word))
        cosine = float(total @ axis) / max(float(np.linalg.norm(total)), 1e-9)
        if abs(cosine) < ALONG - 0.1:
            return None
        along.append(cosine)
    return along[1] < 0.0, along[0] < 0.0
