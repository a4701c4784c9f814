"""Lists the DICOM series in a folder, with the breathing phase of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fluoro_jax.errors import UserError, nearest, refuse
from fluoro_jax.io.dicom.phase_names import (
    as_percent,
    kind_of,
    named_phase,
    position_of,
)
from fluoro_jax.io.dicom.reading import (
    guarded,
    may_be_dicom,
    read_dataset,
    text_of,
)

UNREADABLE = "unreadable"
LEAST_PHASES = 3


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, from headers alone.

    A series that holds several breathing phases is listed once for each.

    Attributes:
        uid: SeriesInstanceUID.
        kind: "ct", "average", "mip", "localizer", "unreadable", or the Modality
            ("RTSTRUCT", ...).
        description: SeriesDescription.
        files: its files, sorted by name.
        percent: breathing phase, if any is named.
        percent_source: tag or override that names it; empty if none.
        frame_uid: FrameOfReferenceUID.
    """

    uid: str
    kind: str
    description: str
    files: tuple[Path, ...]
    percent: float | None = None
    percent_source: str = ""
    frame_uid: str = ""

    @property
    def words(self) -> str:
        """The series in words, for messages."""
        name = f" '{self.description}'" if self.description else ""
        return f"{self.kind}{name}, {len(self.files)} files, UID {self.uid or 'none'}"

    def answers_to(self, key: str) -> bool:
        """Returns whether a user's key means this series."""
        names = {self.uid, self.description}
        if len(self.files) == 1:
            names |= {self.files[0].name, self.files[0].stem}
        return bool(key) and key in names


@dataclass(frozen=True)
class _Header:
    path: Path
    uid: str
    kind: str
    description: str
    frame_uid: str
    mark: tuple[float, str] | None  # phase as named, or temporal position


def list_series(
    folder: Path, *, phases: Mapping[str, float] | None = None
) -> tuple[SeriesInfo, ...]:
    """Lists the DICOM series in a folder and its subfolders.

    Args:
        folder: may hold other files too; they are skipped. Or one file.
        phases: override; per cent of the breath by SeriesInstanceUID,
            SeriesDescription, or name of the series' only file.

    Raises:
        UserError: no such folder, no DICOM file in it, no pydicom, or an override that
            means no series.
    """
    groups: dict[tuple, list[_Header]] = defaultdict(list)
    for path in _dicom_files(Path(folder)):
        header = _read_header(path)
        # By its phase too: some scanners write all phases as one series.
        groups[(header.uid, header.kind, header.mark)].append(header)
    listed = [
        SeriesInfo(
            uid=uid,
            kind=kind,
            description=found[0].description,
            files=tuple(sorted(h.path for h in found)),
            frame_uid=found[0].frame_uid,
        )
        for (uid, kind, _), found in groups.items()
    ]
    marks = {
        index: mark
        for index, (_, kind, mark) in enumerate(groups)
        if mark is not None and kind == "ct"
    }
    listed = _with_percents(listed, marks)
    if phases:
        listed = _overridden(folder, listed, phases)
    key = lambda s: (s.kind, -1.0 if s.percent is None else s.percent, s.description)
    return tuple(sorted(listed, key=lambda s: (*key(s), s.uid, s.files)))


def _dicom_files(folder: Path) -> list[Path]:
    if not folder.exists():
        refuse(
            f"no file or folder {folder}",
            "a folder with DICOM files",
            why="there is nothing to read",
            fix="check the path",
        )
    every = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    # DICOMDIR is an index of the files, not an image.
    paths = [p for p in every if p.is_file() and p.name.upper() != "DICOMDIR"]
    found = [path for path in paths if may_be_dicom(path)]
    if not found:
        refuse(
            f"no DICOM series in {folder} ({len(paths)} other files)",
            "DICOM files in it or in its subfolders",
            why="there is nothing to read",
            fix="give the folder that holds the .dcm files themselves",
        )
    return found


def _read_header(path: Path) -> _Header:
    try:
        with guarded(path):
            dataset = read_dataset(path)
            uid = text_of(dataset, "SeriesInstanceUID")
            return _Header(
                path,
                uid,
                # Every image has one: a header without it is cut off.
                kind_of(dataset) if uid else UNREADABLE,
                text_of(dataset, "SeriesDescription"),
                text_of(dataset, "FrameOfReferenceUID"),
                named_phase(dataset) or position_of(dataset),
            )
    except UserError as error:
        if "[dicom]" in error.needed:
            raise
        # Listed, so that a series it may belong to is not taken as whole.
        return _Header(path, "", UNREADABLE, "", "", None)


def _with_percents(
    listed: Sequence[SeriesInfo], marks: Mapping[int, tuple[float, str]]
) -> list[SeriesInfo]:
    """Returns the series with their phases in per cent of the cycle."""
    found = list(listed)
    for source in {tag for _, tag in marks.values()}:
        named = {str(i): value for i, (value, tag) in marks.items() if tag == source}
        # "NN%" is a percentage; a number after "phase" and a position may count.
        percents = as_percent(named, indexed="%" not in source)
        if "Temporal" in source and len(set(named.values())) < LEAST_PHASES:
            continue  # a static CT may carry position 1 of 1
        for i, percent in percents.items():
            found[int(i)] = replace(
                found[int(i)], percent=percent, percent_source=source
            )
    return found


def _overridden(
    folder: Path, listed: Sequence[SeriesInfo], phases: Mapping[str, float]
) -> list[SeriesInfo]:
    found = [replace(one, percent=None, percent_source="") for one in listed]
    for key, percent in phases.items():
        hits = [i for i, one in enumerate(found) if one.answers_to(key)]
        if len(hits) != 1:
            known = [n for s in listed for n in (s.description, s.files[0].name) if n]
            close = nearest(key, known)
            refuse(
                f"phase {percent:g} % of '{key}': {len(hits)} such series in {folder}",
                "SeriesInstanceUID, SeriesDescription or file name of one series",
                why="every phase is one volume",
                fix=f"did you mean '{close}'?" if close else "list them with inspect",
            )
        if not 0.0 <= percent < 100.0:
            refuse(
                f"phase {percent:g} % of '{key}'",
                "0 to under 100 per cent of the breathing cycle",
                why="100 % is 0 % of the next cycle",
                fix="write 0 for 100",
            )
        kind = "ct"  # the user says so, whatever its name says
        found[hits[0]] = replace(
            found[hits[0]], kind=kind, percent=float(percent), percent_source="override"
        )
    return found
