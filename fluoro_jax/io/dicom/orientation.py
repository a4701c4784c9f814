"""The angle of a view and how its stored image is turned, in patient axes.

RT Image rows run along +Xr and columns along -Yr, seen from the source (PS3.3
C.8.8.2.7). XA and XRF say by PatientOrientation how an image is mirrored; without it a
C-arm's image is taken as facing the patient, which is seen from the detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.dicom.patient import POSITIONS, as_head_first_supine, mirrored
from fluoro_jax.io.dicom.tags import Tags, Value, name_of
from fluoro_jax.io.overrides import Overrides

if TYPE_CHECKING:
    from fluoro_jax.io.dicom.geometry import View

STEADY_DEG = 0.5  # ours: by which the angle may change within a clip
PLUMB = 1e-3  # ours: of a direction cosine


@dataclass(frozen=True)
class Turn:
    """Flips that make a stored image one seen from the source with superior up.

    Attributes:
        rows: the stored rows run upwards.
        cols: the stored columns run to the left.
        stored: (+1 or -1) direction of the stored rows and columns in the receptor's
            axes (+Xr, -Yr); RT Image alone.
    """

    rows: bool = False
    cols: bool = False
    stored: tuple[float, float] = (1.0, 1.0)

    def pair(self, down_right: tuple[float, float]) -> tuple[float, float]:
        """Turns an offset (down, right) of the image's centre."""
        # RT Image offsets are in the receptor's axes: only the patient's turn counts.
        row_sign, col_sign = self.stored
        down, right = down_right
        rows = self.rows != (col_sign < 0.0)
        cols = self.cols != (row_sign < 0.0)
        # Plus zero: -0.0 would be printed.
        return (-down if rows else down) + 0.0, (-right if cols else right) + 0.0

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """Turns one frame `[H, W]`."""
        pixels = pixels[::-1] if self.rows else pixels
        return pixels[:, ::-1] if self.cols else pixels


def angle_of(tags: Tags, stated: Overrides, view: View, *, rt: bool) -> None:
    """Adds the angle, the turn and the patient's position to a view.

    Raises:
        UserError: a turning gantry, or an image that is rotated in its plane.
    """
    keys = ("GantryAngle", "PositionerPrimaryAngle", "PositionerSecondaryAngle")
    for key in keys:
        if not tags.steady(key, STEADY_DEG):
            refuse(
                f"{tags.path}: {name_of(key)} changes between frames",
                f"one angle, within {STEADY_DEG:g} degrees",
                "a clip has one view",
                "export the frames of one angle",
            )
    for key in keys[1:]:
        _refuse_increments(tags, stated, f"{key}Increment")
    for key, part in (("PositionerMotion", "C-arm"), ("TableMotion", "table")):
        if not rt and tags.word(key) == "DYNAMIC":
            view.notes.append(f"{key} is DYNAMIC: check that the {part} stood")
    gantry, c_arm = tags.number(keys[0]), None
    if stated.gantry_deg is not None:
        gantry = Value(stated.gantry_deg, stated.source("gantry_deg"))
    elif gantry is None:
        c_arm = tags.number(keys[1])
    if gantry is not None:
        _from_gantry(tags, stated, view, gantry, rt=rt)
    elif c_arm is not None:
        _from_c_arm(tags, view, c_arm)
    else:
        view.missing["gantry_deg"] = UserError(
            f"{tags.path}: no angle of the view",
            needed=f"looked for {name_of(keys[0])}, {name_of(keys[1])}: none present",
            why="millimetres along the patient's axes depend on it",
            fix="--gantry-deg 0  (IEC angle of the source; 0 is anterior)",
        )
    _tilted(tags, stated, view, keys[2])


def _refuse_increments(tags: Tags, stated: Overrides, key: str) -> None:
    """Refuses a C-arm that turns within a file, or stands off the angle that is used.

    One value is the mean step between frames, several are offsets of each frame from
    the angle (PS3.3 C.8.7.5.1.3).
    """
    found = tags.numbers(key, None)
    if found is None:
        return
    offsets = list(found.value)
    if len(offsets) == 1:
        count = tags.number("NumberOfFrames")
        offsets = [0.0, offsets[0] * ((count.value if count else 1.0) - 1.0)]
    elif stated.gantry_deg is None:
        offsets.append(0.0)  # at the angle that is used
    spread = float(np.ptp(offsets))
    if spread > STEADY_DEG:
        refuse(
            f"{tags.path}: {found.source}: angles {spread:.4g} degrees apart",
            f"one angle, within {STEADY_DEG:g} degrees",
            "a clip has one view",
            "export the frames of one angle",
        )


def _from_gantry(
    tags: Tags, stated: Overrides, view: View, gantry: Value, *, rt: bool
) -> None:
    degrees, source = float(gantry.value), gantry.source
    flagged = stated.gantry_deg is not None
    if stated.kv_offset_deg is not None and not flagged:
        degrees += stated.kv_offset_deg
        source += f" + flag --kv-offset-deg {stated.kv_offset_deg:g}"
    # Energies of imaging tubes end at 150 kV; a treatment beam has thousands.
    elif rt and not flagged and (kvp := tags.number("KVP")) and 0 < kvp.value < 200:
        view.notes.append(
            f"a kV image: {gantry.source} may be that of the treatment head; give "
            "--kv-offset-deg (0 if it is that of the imaging tube)"
        )
    position = tags.word("PatientPosition")
    view.about["patient_position"] = position or "not stated"
    if not position:
        view.notes.append(f"no {name_of('PatientPosition')}: head first supine assumed")
        position = "HFS"
    if position not in POSITIONS:
        refuse(
            f"{tags.path}: {name_of('PatientPosition')} is none of the eight",
            "one of " + ", ".join(POSITIONS),
            "the patient's axes depend on it",
            "correct the file",
        )
    equal, half_turn = as_head_first_supine(degrees, position)
    if position != "HFS":
        source += f", {degrees:g} with {position}, as if head first supine"
    else:
        equal = degrees
    view.values["gantry_deg"] = Value(equal, source)
    rows, cols, stored = _rt_turn(tags) if rt else (*_xa_turn(tags, view, equal), None)
    if rt or not tags.words("PatientOrientation"):
        rows, cols = rows != half_turn, cols != half_turn
    view.turn = Turn(rows, cols, stored or (1.0, 1.0))
    # The only sign of a mirrored RT Image: its rules need no letters, but it may have
    # them.
    said = mirrored(tags.words("PatientOrientation"), equal) if rt else None
    if said is not None and said != (rows, cols):
        view.notes.append(
            f"{name_of('PatientOrientation')} contradicts the angle and the patient's "
            "position, which are used; check left and right, and head and feet"
        )


def _from_c_arm(tags: Tags, view: View, primary: Value) -> None:
    """C-arm angles are the detector's and relative to the patient; the source opposes.

    0 has the detector in front of the patient, +90 (LAO) at the patient's left.
    """
    degrees = (180.0 + float(primary.value)) % 360.0
    view.about["patient_position"] = tags.word("PatientPosition") or "not stated"
    view.values["gantry_deg"] = Value(
        degrees, f"180 + {primary.source} (C-arm: of the detector, RAO to LAO)"
    )
    if tags.words("PatientOrientation"):
        view.turn = Turn(*_xa_turn(tags, view, degrees))
        return
    view.notes.append(
        f"no {name_of('PatientOrientation')}: taken as displayed facing the patient, "
        "superior up, and mirrored to be seen from the source; check left and right"
    )
    view.turn = Turn(False, True)


def _tilted(tags: Tags, stated: Overrides, view: View, secondary: str) -> None:
    """Refuses a view out of the axial plane unless an angle is stated."""
    for key in (secondary, "PatientSupportAngle"):
        value = tags.number(key)
        off = 0.0 if value is None else (value.value + 180.0) % 360.0 - 180.0
        if abs(off) <= STEADY_DEG:
            continue
        if stated.gantry_deg is not None:
            view.notes.append(
                f"{name_of(key)} is {off:g} degrees and is ignored, as --gantry-deg is "
                "given; lateral millimetres are along no axis of the patient"
            )
            continue
        view.values.pop("gantry_deg", None)
        view.missing["gantry_deg"] = UserError(
            f"{tags.path}: {name_of(key)} is {off:g} degrees",
            needed=f"a view in the axial plane, within {STEADY_DEG:g} degrees",
            why="the geometry has one gantry angle about the patient's long axis",
            fix="--gantry-deg 0  (to ignore the tilt; millimetres are then in-plane)",
        )


def _rt_turn(tags: Tags) -> tuple[bool, bool, tuple[float, float]]:
    angle = tags.number("XRayImageReceptorAngle")
    turned = angle is not None and abs((angle.value + 180) % 360 - 180) > STEADY_DEG
    axes = (
        tags.numbers("RTImageOrientation", 6)
        if tags.text("RTImageOrientation")
        else None
    )
    values = np.array(axes.value if axes else (1.0, 0, 0, 0, -1.0, 0))
    row, col = values[:3], values[3:]
    straight = abs(abs(row[0]) - 1.0) < PLUMB and abs(abs(col[1]) - 1.0) < PLUMB
    if turned or not straight:
        refuse(
            f"{tags.path}: the image is rotated in its plane or oblique "
            f"({name_of('XRayImageReceptorAngle')}, {name_of('RTImageOrientation')})",
            "rows along +-Xr and columns along +-Yr, receptor angle 0",
            "the geometry has a panel whose rows are horizontal",
            "export the image unrotated, at right angles to the beam",
        )
    return bool(col[1] > 0), bool(row[0] < 0), (float(row[0]), float(-col[1]))


def _xa_turn(tags: Tags, view: View, gantry_deg: float) -> tuple[bool, bool]:
    words = tags.words("PatientOrientation")
    if not words:
        view.notes.append(
            f"no {name_of('PatientOrientation')}: taken as seen from the source, "
            "the top towards the gantry; check left and right"
        )
        return False, False
    flips = mirrored(words, gantry_deg)
    if flips is None:
        refuse(
            f"{tags.path}: {name_of('PatientOrientation')} is not along this view's "
            "axes",
            "rows and columns along superior-inferior and the view's lateral axis",
            "the image is rotated, or the angle is another",
            "export the image unrotated, or correct --gantry-deg",
        )
    return flips
