"""Records of the comparison: what one tracker answered on the cases of one scenario.

A record is one JSON file in `<workdir>/records`, written again after every case. It is
gone on with if the clips, the scenario, the training cases, the CT and the code that
make it are those of now. Cases are functions of their index, so a record serves calls
that ask for fewer or more of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluoro_jax import fingerprint
from fluoro_jax.data.dataset import RENDERERS
from fluoro_jax.experiments.compare.entries import Entry
from fluoro_jax.experiments.compare.scenarios import SCENARIOS, SEEDS, TRACES
from fluoro_jax.io.files import digest_of, expand_path, write_text

FORMAT = 2  # of the records
SOURCES = (  # decide, beside `RENDERERS` and a tracker's own code, what a record says
    *("clip.py", "metrics.py", "experiments/ct_clips.py"),
    *(f"tracking/{name}.py" for name in ("checks", "follow", "learned")),
    *(f"tracking/{name}.py" for name in ("resample", "tracker")),
    *(f"experiments/compare/{name}.py" for name in ("cases", "clips", "follow_clip")),
    *(f"io/{name}.py" for name in ("ct", "ct_series", "mha", "registration")),
    "io/straighten.py",
)
UNANSWERED = ("refused", "failed")  # lists of a record: {"case": index, "why": text}


class Records:
    """The records of a comparison's workdir.

    Args:
        settings: the config, checked.
        workdir: of the comparison.
        ct: file or folder of a chest CT, or "".
    """

    def __init__(self, settings: Any, workdir: Path, ct: str) -> None:
        self.settings, self.workdir, self.ct = settings, workdir, ct
        self._ct_digest = ""

    def open(self, entry: Entry, part: str) -> dict[str, Any]:
        """Returns the record that stands in the workdir if it is current, or a new one.

        Failures are left out, so that their cases are tried again.
        """
        identity = self._identity(entry, part)
        try:
            text = self._path(entry.name, part).read_text(encoding="utf-8")
            record = json.loads(text)
            if record["identity"] == identity:
                return record | {"failed": []}
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none, or one that a full disk cut: made anew
        return {
            "format": FORMAT,
            "tracker": entry.name,
            "scenario": part,
            "identity": identity,
            "knowledge": entry.knowledge,
            "trials": entry.trials,
            "causal": None,
            "lookahead_frames": None,
            "refused": [],
            "failed": [],
            "cases": [],
        }

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes a record, the old one or the new one whole."""
        path = self._path(record["tracker"], record["scenario"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(record, allow_nan=False) + "\n")

    def _identity(self, entry: Entry, part: str) -> str:
        """Returns a sha256 of all that decides a record, but for the count of cases."""
        scenario = SCENARIOS[part]
        clips = self.settings.clips.to_dict()
        del clips["cases"], clips["keep"]
        shared = SCENARIOS[scenario.cases_of] if scenario.cases_of else None
        words = {
            "format": FORMAT,
            "clips": clips,
            "seed": SEEDS[self.settings.clips.seeds],
            "training": self.settings.training.to_dict() if entry.learns else None,
            "scenario": dataclasses.asdict(scenario),
            "cases_of": dataclasses.asdict(shared) if shared else None,
            "traces": TRACES,
            "tracker": [entry.name, entry.knowledge, entry.trials, entry.code],
            "code": fingerprint.code(*RENDERERS, *SOURCES),
            "ct": self._ct() if scenario.from_ct else "",
        }
        text = json.dumps(words, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _ct(self) -> str:
        """Returns a sha256 of the CT's content, read once; "" without a CT."""
        if self.ct and not self._ct_digest:
            self._ct_digest = digest_of(expand_path(self.ct))
        return self._ct_digest

    def _path(self, tracker: str, part: str) -> Path:
        # A name may be a path: the digest keeps two of them apart.
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in tracker)
        short = hashlib.sha256(tracker.encode()).hexdigest()[:6]
        return self.workdir / "records" / part / f"{plain[-60:]}.{short}.json"


def missing_cases(record: Mapping[str, Any], cases: int) -> list[int]:
    """Returns the indices below `cases` that a record neither answers nor refuses."""
    held = {one["case"] for key in ("cases", *UNANSWERED) for one in record[key]}
    return [index for index in range(cases) if index not in held]


def first_cases(record: Mapping[str, Any], cases: int) -> dict[str, Any]:
    """Returns a record with its cases of an index below `cases`, in order."""
    keep = lambda many: sorted(
        (one for one in many if one["case"] < cases), key=lambda one: one["case"]
    )
    return {**record, **{key: keep(record[key]) for key in ("cases", *UNANSWERED)}}


def reasons(unanswered: Sequence[Mapping[str, Any]]) -> str:
    """Returns why cases were not answered, each reason once with its count."""
    counts = Counter(one["why"] for one in unanswered)
    return "; ".join(f"{why} ({n})" for why, n in counts.items())
