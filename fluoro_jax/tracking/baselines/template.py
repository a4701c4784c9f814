"""Template matching by normalised cross-correlation, as fluoroscopy is tracked in use.

r = sum (T - mean T)(I - mean I) / (|T - mean T| |I - mean I|) over a rectangle around
the tumour, both band-passed by a difference of Gaussians. The outline is carried along
without changing its shape.

Source:
    The form of marker-less kV tracking in use (difference of Gaussians 0.6 and 1.2 mm,
    one template a breathing phase: PMC9797162). Search, margin and band are tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.extras import check_form
from fluoro_jax.tracking.baselines.matching import (
    Match,
    Patch,
    band_pass,
    cut_patch,
    match_patch,
    moved_track,
    need_reference,
    patch_at,
    to_px,
)
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame

MODES = ("fixed", "updated", "phases")
SEARCH_MORE_MM = 3.0  # beyond the largest displacement of the training clips
# What `tune` tries; a coarser grid came before (docs/rivals.md).
SETTINGS: tuple[Mapping[str, Any], ...] = tuple(
    {"band_mm": band_mm, "margin_mm": margin_mm, "around": around}
    for band_mm in (None, (0.6, 1.2), (1.0, 4.0), (1.5, 10.0), (2.5, 10.0))
    for margin_mm in (2.0, 6.0)
    for around in ("first", "last")
)
UPDATED_SETTINGS: tuple[Mapping[str, Any], ...] = tuple(
    {"mode": "updated", "update_rate": rate, "band_mm": band_mm}
    for rate in (0.05, 0.2)
    for band_mm in (None, (0.6, 1.2), (1.0, 4.0))
)
UPDATED: Mapping[str, Any] = UPDATED_SETTINGS[1]  # the best: 0.05, 0.6 to 1.2 mm


@dataclass(frozen=True)
class Template:
    """One picture of the tumour.

    Attributes:
        patch: the pattern that is searched for, band-passed.
        mask: `[H, W]` the tumour in the frame that it is cut from.
        away_px: `[2]` its centroid minus that of the first template.
    """

    patch: Patch
    mask: np.ndarray
    away_px: np.ndarray


@dataclass(frozen=True)
class TemplateState:
    """Templates, the tumour's displacement in the newest frame, and the next index.

    Attributes:
        check: what the check of the next frame needs.
        templates: one, or one a phase.
        shift_px: `[2]` displacement from the first template's place; None before the
            first frame.
        frame: index of the next frame.
    """

    check: FrameCheck
    templates: tuple[Template, ...]
    shift_px: np.ndarray | None = None
    frame: int = 0


@dataclass(frozen=True)
class TemplateTracker:
    """Finds the pattern of frame 0, or of a planning phase, in every frame.

    Attributes:
        mode: "fixed" keeps the template; "updated" blends every match into it;
            "phases" keeps the best match of `films`, and needs no reference.
        search_mm: (vertical, horizontal) mm in the isocentre plane that the tumour may
            be away from where it is searched for.
        around: "first" searches around the place that a template was cut from, "last"
            around the last answer.
        margin_mm: around the tumour's bounding box, part of the template.
        band_mm: standard deviations of the difference of Gaussians, mm in the
            isocentre plane; None takes frames as they are.
        update_rate: share of every match that an updated template takes.
        films: radiographs of the planning phases with the tumour's mask in each,
            `[H, W]` both, in the pixels of the clip.

    Raises:
        UserError: for another mode or way to search, or phases without `films`.
    """

    mode: str = "fixed"
    search_mm: tuple[float, float] = (20.0, 8.0)
    around: str = "last"
    margin_mm: float = 2.0
    band_mm: tuple[float, float] | None = None
    update_rate: float = 0.1
    films: tuple[Reference, ...] = ()
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_form("mode", self.mode, MODES)
        check_form("around", self.around, ("first", "last"))
        if (self.mode == "phases") != bool(self.films):
            raise UserError(
                f'mode = "{self.mode}" with {len(self.films)} radiographs of phases',
                needed="radiographs in the mode phases, and in no other",
                why="templates come from frame 0 or from the phases",
                fix="pass films=..., or another mode",
            )

    @classmethod
    def fit(cls, arrays: Mapping[str, Any] | None, **settings: Any) -> TemplateTracker:
        """Returns a tracker that searches as far as the training tumours moved.

        From frame 0 if it searches around the first place, else from frame to frame.

        Args:
            arrays: centre_mm `[N, T, 3]` (left, superior, anterior) mm; None keeps the
                default search.
            settings: attributes of the tracker.
        """
        if arrays is None:
            return cls(**settings)
        path_mm = np.asarray(arrays["centre_mm"], float)
        last = settings.get("around", cls.around) == "last"
        away_mm = np.abs(np.diff(path_mm, axis=1) if last else path_mm - path_mm[:, :1])
        # Whatever the gantry angle, no more than this is seen across the rotation axis.
        across_mm = np.hypot(away_mm[..., 0], away_mm[..., 2])
        down, right = (m.max() + SEARCH_MORE_MM for m in (away_mm[..., 1], across_mm))
        return cls(search_mm=(float(down), float(right)), **settings)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> TemplateState:
        """See `Tracker.init`; `periodic` and `domain` change nothing here.

        Raises:
            UserError: no reference, except in the mode "phases"; a view that is not
                that of `films`.
        """
        check = begin(geometry, reference, domain=domain)
        films = self.films or (need_reference(reference),)
        for film in self.films:
            # As if it were the reference: the same shape and a tumour in it.
            begin(geometry, film, domain=domain)
        first = centroid_px(np.asarray(films[0][1]))
        margin_px = to_px(geometry, self.margin_mm)
        templates = []
        for frame, mask in films:
            filtered = band_pass(frame, geometry, self.band_mm)
            mask = np.asarray(mask, np.float32)
            patch = cut_patch(filtered, mask, margin_px)
            templates.append(Template(patch, mask, centroid_px(mask) - first))
        return TemplateState(check, tuple(templates))

    def step(
        self, state: TemplateState, frame: np.ndarray, time_s: float
    ) -> tuple[TemplateState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        filtered = band_pass(frame, check.geometry, self.band_mm)
        best, match = self._best(state, filtered)
        template = state.templates[best]
        track = moved_track(
            state.frame,
            template.mask,
            match.shift_px,
            check.geometry,
            confidence=match.confidence,
        )
        templates = state.templates
        if self.mode == "updated":
            templates = (self._updated(template, filtered, match),)
        moved = match.shift_px + template.away_px
        return TemplateState(check, templates, moved, state.frame + 1), track

    def flush(self, state: TemplateState) -> list[Track]:
        """Nothing is owed."""
        return []

    def _best(self, state: TemplateState, filtered: np.ndarray) -> tuple[int, Match]:
        """Returns the template that matches best, by its index, and its match."""
        search_px = to_px(state.check.geometry, self.search_mm)
        last = state.shift_px if self.around == "last" else None
        matches = []
        for template in state.templates:
            around_px = np.zeros(2) if last is None else last - template.away_px
            matches.append(match_patch(filtered, template.patch, around_px, search_px))
        best = int(np.argmax([match.score for match in matches]))
        return best, matches[best]

    def _updated(self, template: Template, filtered: np.ndarray, match: Match) -> Any:
        if match.score <= 0.0:  # nothing was seen
            return template
        seen = patch_at(filtered, template.patch, match.shift_px)
        values = template.patch.values
        values = values + np.float32(self.update_rate) * (seen - values)
        return replace(template, patch=replace(template.patch, values=values))
