"""The paper's own numbers, to stand beside ours.

Peng T, Jiang Z, Chang Y, Ren L, "Real-time Markerless Tracking of Lung Tumors based on
2-D Fluoroscopy Imaging using Convolutional LSTM", IEEE TRPMS 2022 ("journal"), and
Peng's thesis, Duke 2020 ("thesis"). Means without intervals over cases of another
phantom. The plane in which its centimetres are measured is not stated.
"""

from __future__ import annotations

from typing import Any

from fluoro_jax.evaluation.tables import Published

# The sub-group study has no mean over all sets: the paper tables two of them.
MEANS = {  # IoU, Dice, vertical and horizontal error in mm
    "group": dict(iou=0.92, dice=0.96, vertical_iso_mm=1.6, horizontal_iso_mm=0.7),
    "patient": dict(iou=0.981, dice=0.989, vertical_iso_mm=0.3, horizontal_iso_mm=0.1),
}
TABLE_1 = {  # the paper's easy and hard set, trained from scratch and fine-tuned
    ("scratch", "easy"): dict(iou=0.96, dice=0.98, vertical=0.7, horizontal=0.3),
    ("scratch", "hard"): dict(iou=0.93, dice=0.96, vertical=0.8, horizontal=0.2),
    ("finetuned", "easy"): dict(iou=0.78, dice=0.88, vertical=5.0, horizontal=3.0),
    ("finetuned", "hard"): dict(iou=0.85, dice=0.92, vertical=5.0, horizontal=1.0),
}
TABLE_2 = (  # cases 41 to 60: IoU, Dice, vertical, horizontal mm, as printed in cm
    *((0.99, 0.98, 0.4, 0.1),) * 2,
    *((0.98, 0.99, 0.3, 0.1),) * 2,
    *((0.98, 0.99, 0.2, 0.1),) * 5,
    *((0.98, 0.99, 0.3, 0.1),) * 4,
    *((0.98, 0.99, 0.4, 0.1),) * 2,
    (0.98, 0.99, 0.4, 0.07),
    (0.98, 0.99, 0.3, 0.08),
    (0.98, 0.99, 0.2, 0.06),
    *((0.98, 0.99, 0.3, 0.07),) * 2,
)
FIGURE_5 = {  # three shown cases of the group study
    "heart overlap": dict(iou=0.92, dice=0.96, vertical=1.7, horizontal=1.1),
    "small, over ribs": dict(iou=0.91, dice=0.95, vertical=1.5, horizontal=0.6),
    "large": dict(iou=0.95, dice=0.97, vertical=0.9, horizontal=0.5),
}
COLUMNS = {  # what a run's own table says, by row
    "group": {
        "iou": "0.92 (journal 0.93 ± 0.04)",
        "dice": "0.96 (journal 0.96 ± 0.02)",
        "area_pct": "journal 4.34 ± 4.04",
        "vertical_iso_mm": "1.6",
        "horizontal_iso_mm": "0.7",
    },
    "subgroup": {
        "iou": "0.96 / 0.93",
        "dice": "0.98 / 0.96",
        "vertical_iso_mm": "0.7 / 0.8",
        "horizontal_iso_mm": "0.3 / 0.2",
    },
    "finetuned": {
        "iou": "0.78 / 0.85",
        "dice": "0.88 / 0.92",
        "vertical_iso_mm": "5 / 5",
        "horizontal_iso_mm": "3 / 1",
    },
    "patient": {
        "iou": "0.981",
        "dice": "0.989",
        "vertical_iso_mm": "0.3",
        "horizontal_iso_mm": "0.1",
    },
}
_SEEN = dict(given="none", causal="no", lookahead="9")
GIVEN = {  # of its network, and cases
    "group": dict(_SEEN, cases="30"),
    "subgroup": dict(_SEEN, cases="10 / 10"),
    "finetuned": dict(_SEEN, cases="10 / 10"),
    "patient": dict(_SEEN, cases="20"),
}
WHAT = {
    "group": "group study, 30 test cases",
    "subgroup": "sub-group study from scratch, its easy / hard set",
    "finetuned": "sub-group study fine-tuned, bottom frozen, its easy / hard set",
    "patient": "patient study, 20 test cases (its text says 0.07 mm horizontally)",
}


# The paper froze the bottom; our other choices stand beside no number of it.
def study_of(name: str, *, parent: str, frozen: str) -> str:
    """Returns which of the paper's results a run stands beside; "" for none.

    Args:
        name: of its study.
        parent: the run that its networks start from, or "".
        frozen: the layers that fine-tuning leaves as they are.
    """
    if name == "subgroup" and parent:
        return "finetuned" if frozen == "bottom" else ""
    return name if name in COLUMNS else ""


def reference(cfg: Any) -> Published:
    """Returns the paper's results beside which a run of `cfg` is printed."""
    start = cfg.init
    study = study_of(cfg.study.name, parent=start.parent, frozen=start.frozen)
    if not study:
        return Published(source="The paper gives no number for this study.")
    source = (
        f"Paper: Peng et al., thesis (Duke 2020) and IEEE TRPMS 2022, {WHAT[study]}, "
        "of another phantom; means without intervals, ± is a standard deviation; "
        "bidirectional, so it sees the whole cycle; plane of its mm not stated."
    )
    return Published(key=study, values=COLUMNS[study], source=source, **GIVEN[study])
