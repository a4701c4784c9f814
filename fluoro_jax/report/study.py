"""The self-contained report.html of a study: what was run, results, figures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

import fluoro_jax
from fluoro_jax.evaluation import summary, tables
from fluoro_jax.evaluation.statistics import FEW
from fluoro_jax.evaluation.summary import BLIND, causality
from fluoro_jax.geometry import Geometry, axis_names
from fluoro_jax.io.files import write_text
from fluoro_jax.report.figures import Figure
from fluoro_jax.studies import SET_STUDIES

HEADLINE = ("iou", "vertical_iso_mm", "horizontal_iso_mm")
STILL = "no verdict"  # on an axis without motion


def write_report(
    path: Path,
    table: Mapping[str, Any],
    figures: Sequence[Figure],
    *,
    cfg: Any,
    geometry: Geometry,
    recorded: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the report; everything it shows is inside the one file.

    Args:
        path: of report.html.
        table: as from `tables.build_table`, with checkpoint, strata and scale.
        figures: in the order to be shown.
        cfg: the run's config.
        geometry: the view.
        recorded: the clip of recorded breathing, or None: `words`, `rows` as from
            `Recorded.rows`, `figures`.

    Returns:
        `path`.
    """
    if recorded is not None:
        # The images go into the page itself: a report is one file that can be mailed.
        recorded = dict(recorded, figures=[_embed(f) for f in recorded["figures"]])
    lines = verdict(table)
    page = _template().render(
        table=table,
        columns=table["columns"],
        verdict=lines,
        headline=headline(lines),
        leads=dict(zip(summary.LEAD_LABELS, _leads(table), strict=True)),
        few=FEW,
        figures=[_embed(figure) for figure in figures],
        geometry=geometry_rows(geometry),
        recorded=recorded,
        config=json.dumps(cfg.to_dict(), indent=1),
        training=training_words(cfg, table),
        environment=_environment(path.parent),
        version=fluoro_jax.__version__,
        stratum_rows=[r for r in tables.ROWS if r.key in summary.COMPARED],
        labels={c["key"]: c["label"] for c in table["columns"]},
        seen={c["key"]: causality(c) for c in table["columns"]},
    )
    write_text(path, page)
    return path


def _template() -> jinja2.Template:
    text = resources.files("fluoro_jax.report") / "study.html"
    # StrictUndefined: a misspelt name raises instead of leaving a gap. autoescape:
    # names and config values are a user's text.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["value"] = summary.format_value
    environment.filters["causality"] = causality
    environment.filters["empty"] = summary.empty_predictions
    environment.filters["reference"] = summary.reference_given
    return environment.from_string(text.read_text(encoding="utf-8"))


def verdict(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns whether the network beats each baseline, a line a measure and baseline.

    Args:
        table: as from `tables.build_table`, with `scale`.

    Returns:
        Lines with `result`: "better" or "worse" (the 95 % intervals do not touch),
        "undecided", or "no verdict" on an axis along which the truth does not move;
        `why` says so; `blind` is "yes" for a baseline that uses no image but the
        given frame 0, if any.
    """
    lines = []
    for row in table["rows"]:
        if row["key"] not in HEADLINE:
            continue
        ours = row["values"]["ours"]
        # Where the truth does not move, every tracker that stands still is right.
        still = summary.no_motion(table, row["key"])
        for column in table["columns"]:
            key = column["key"]
            # The network with the past alone is no baseline of itself.
            if key.startswith("ours"):
                continue
            theirs = row["values"][key]
            result = compare(ours, theirs, up=row["higher_is_better"])
            # Older tables have no n.
            few = min(ours.get("n", FEW), theirs.get("n", FEW)) < FEW
            lines.append(
                {
                    "measure": row["label"],
                    "against": column["label"],
                    "given": summary.reference_given(column),
                    "causality": causality(column),
                    "blind": "yes" if key in BLIND else "no",
                    "ours": summary.format_value(ours, row["decimals"]),
                    "theirs": summary.format_value(theirs, row["decimals"]),
                    "result": STILL if still else result,
                    "why": still or (f"fewer than {FEW} cases" if few else ""),
                }
            )
    return lines


def headline(lines: Sequence[Mapping[str, str]]) -> str:
    """Returns one sentence of the verdict, against the baselines that use no image."""
    judged = [x for x in lines if x["blind"] == "yes" and x["result"] != STILL]
    # By measure: each baseline repeats the reason.
    still = {x["measure"]: x["why"] for x in lines if x["result"] == STILL}
    left_out = "".join(f" No verdict on {m}: {why}." for m, why in still.items())
    short = [line for line in judged if line["result"] != "better"]
    if judged and not short:
        measures = " and ".join(dict.fromkeys(line["measure"] for line in judged))
        return (
            "Better than every baseline that uses no image (static and phase prior, "
            f"without and with frame 0) in {measures}." + left_out
        )
    words = "; ".join(f"{x['measure']} against {x['against']}" for x in short)
    if not judged:
        words = "no measure could be compared"
    return (
        f"NOT shown to be better than the baselines that use no image: {words}."
        + left_out
    )


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, up: bool) -> str:
    """Returns "better", "worse" or "undecided".

    Undecided: the intervals touch or are missing, or there are under `FEW` cases.
    """
    if ours["mean"] is None or theirs["mean"] is None:
        return "undecided"
    if min(ours.get("n", FEW), theirs.get("n", FEW)) < FEW:
        return "undecided"
    # Intervals that do not touch: stricter than a test at 5 %, and it needs no pairing.
    # Paired differences stand in the table.
    if ours["low"] > theirs["high"]:
        return "better" if up else "worse"
    if ours["high"] < theirs["low"]:
        return "worse" if up else "better"
    return "undecided"


def _leads(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """The cells of each of `LEAD_LABELS` by column."""
    keys = [column["key"] for column in table["columns"]]
    cells = [summary.lead_cells(summary.lead_of(table, key)) for key in keys]
    return [dict(zip(keys, row, strict=True)) for row in zip(*cells, strict=True)]


def geometry_rows(geometry: Geometry) -> list[tuple[str, str, str]]:
    """Returns (quantity, value, source) for every number behind the millimetres."""
    sad, sdd = float(geometry.sad_mm), float(geometry.sdd_mm)
    pitch = [float(p) for p in geometry.pixel_mm]
    offset = [float(o) for o in geometry.offset_mm]
    names = axis_names(float(geometry.gantry_deg))
    # At the isocentre: the panel's size over the magnification.
    size = [n * p * sad / sdd for n, p in zip(_frame(geometry), pitch, strict=True)]
    config = "config: study"
    return [
        ("source to isocentre (SAD)", f"{sad:g} mm", "the studies' view"),
        ("source to detector (SDD)", f"{sdd:g} mm", "the studies' view"),
        ("magnification at the isocentre", f"{sdd / sad:g}", "SDD / SAD"),
        ("gantry angle (IEC 61217)", f"{float(geometry.gantry_deg):g} deg", config),
        ("frame (rows x columns)", "{} x {}".format(*_frame(geometry)), config),
        (
            "pixel at the detector (row, column)",
            f"{pitch[0]:g}, {pitch[1]:g} mm",
            "config: study.detector_mm / rows",
        ),
        (
            "pixel at the isocentre (row, column)",
            f"{pitch[0] * sad / sdd:.3g}, {pitch[1] * sad / sdd:.3g} mm",
            "pixel at the detector x SAD / SDD",
        ),
        (
            "panel offset (row, column)",
            f"{offset[0]:g}, {offset[1]:g} mm",
            "the studies' view",
        ),
        (
            "field at the isocentre",
            f"{size[0]:.0f} x {size[1]:.0f} mm",
            "pixels x pitch",
        ),
        ("vertical, horizontal axis", f"{names[0]}, {names[1]}", "gantry angle"),
    ]


def training_words(cfg: Any, table: Mapping[str, Any]) -> str:
    """Returns one sentence: what the network was trained on."""
    # Both texts are made, and one is taken: config keys of either exist in every run.
    source = {
        "dataset": f"the {cfg.study.num_train} stored training cases",
        "simulator": f"fresh tumours of {cfg.data.smallest_mm:g} to "
        f"{cfg.data.largest_mm:g} mm in simulated patients of the training population",
    }[cfg.data.source]
    if cfg.data.midline_share:
        source += f", {cfg.data.midline_share:.0%} of them nearest the midline"
    if cfg.study.name in SET_STUDIES and cfg.data.source == "simulator":
        source = "fresh clips of the study's patients, amplitudes near the trained ones"
        if cfg.data.displaced_mm:
            away = f"{cfg.data.displaced_mm:g} mm along the body"
            source += f", tumours up to {away} from their place"
    if cfg.init.parent:
        source += f", from the networks of {cfg.init.parent}"
    step, several = table["checkpoint"]["step"], cfg.train.accumulate
    accumulated = f" accumulated {several} times" * (several > 1)
    return (
        f"{step} steps of {cfg.train.gen_updates} generator and "
        f"{cfg.train.critic_updates} critic updates, batch {cfg.data.batch_size}"
        f"{accumulated}, on {source}; averaged (EMA) weights"
    )


def _frame(geometry: Geometry) -> tuple[int, int]:
    return geometry.rows, geometry.cols


def _embed(figure: Figure) -> dict[str, str]:
    # From the file, so that the report shows what lies in the folder.
    data = base64.b64encode(figure.path.read_bytes()).decode()
    return {
        "title": figure.title,
        "caption": figure.caption,
        "data": f"data:image/png;base64,{data}",
        "name": figure.path.name,
    }


def _environment(workdir: Path) -> str:
    """env.json as training wrote it, or a word that it is not there."""
    path = workdir / "env.json"
    # A part that evaluates another's network has no training, and so no environment.
    return path.read_text(encoding="utf-8") if path.exists() else "no env.json"
