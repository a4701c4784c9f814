"""One self-contained report.html: what was run, how good it is, and what to look at."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

import fluoro_jax
from fluoro_jax.evaluation import tables
from fluoro_jax.geometry import Geometry, axis_names
from fluoro_jax.io.files import write_text
from fluoro_jax.report.figures import Figure
from fluoro_jax.studies import SET_STUDIES

BLIND = ("static", "phase_prior")
HEADLINE = ("iou", "vertical_iso_mm")


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
    text = resources.files("fluoro_jax.report") / "study.html"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["value"] = tables.format_value
    if recorded is not None:
        recorded = dict(recorded, figures=[_embed(f) for f in recorded["figures"]])
    lines = verdict(table)
    page = environment.from_string(text.read_text(encoding="utf-8")).render(
        table=table,
        columns=table["columns"],
        verdict=lines,
        headline=headline(lines),
        figures=[_embed(figure) for figure in figures],
        geometry=geometry_rows(geometry),
        recorded=recorded,
        config=json.dumps(cfg.to_dict(), indent=1),
        training=training_words(cfg, table),
        environment=_environment(path.parent),
        version=fluoro_jax.__version__,
        stratum_rows=[r for r in tables.ROWS if r.key in tables.STRATUM_ROWS],
        labels={c["key"]: c["label"] for c in table["columns"]},
    )
    write_text(path, page)
    return path


def verdict(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """Whether the network beats each baseline: "better", "worse" or "undecided".

    Better means that the 95 % intervals do not touch.
    """
    lines = []
    for row in table["rows"]:
        if row["key"] not in HEADLINE:
            continue
        ours = row["values"]["ours"]
        for column in table["columns"]:
            key = column["key"]
            if key.startswith("ours"):
                continue
            result = compare(ours, row["values"][key], up=row["higher_is_better"])
            lines.append(
                {
                    "measure": row["label"],
                    "against": column["label"],
                    "blind": "yes" if key in BLIND else "no",
                    "ours": tables.format_value(ours, row["decimals"]),
                    "theirs": tables.format_value(row["values"][key], row["decimals"]),
                    "result": result,
                }
            )
    return lines


def headline(lines: Sequence[Mapping[str, str]]) -> str:
    """One sentence of the verdict: against the baselines that see nothing."""
    blind = [line for line in lines if line["blind"] == "yes"]
    if all(line["result"] == "better" for line in blind):
        return "Better than both blind baselines in IoU and in vertical error."
    short = [line for line in blind if line["result"] != "better"]
    words = "; ".join(f"{x['measure']} against {x['against']}" for x in short)
    return f"NOT shown to be better than the blind baselines: {words}."


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, up: bool) -> str:
    """One of "better", "worse", or "undecided" (the intervals touch or are missing)."""
    if ours["mean"] is None or theirs["mean"] is None:
        return "undecided"
    if ours["low"] > theirs["high"]:
        return "better" if up else "worse"
    if ours["high"] < theirs["low"]:
        return "worse" if up else "better"
    return "undecided"


def geometry_rows(geometry: Geometry) -> list[tuple[str, str, str]]:
    """(quantity, value, where it comes from) for every number behind the mm."""
    sad, sdd = float(geometry.sad_mm), float(geometry.sdd_mm)
    pitch = [float(p) for p in geometry.pixel_mm]
    offset = [float(o) for o in geometry.offset_mm]
    names = axis_names(float(geometry.gantry_deg))
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
    """One sentence: what the network was trained on."""
    source = {
        "dataset": f"the {cfg.study.num_train} stored training cases",
        "simulator": f"fresh tumours of {cfg.data.smallest_mm:g} to "
        f"{cfg.data.largest_mm:g} mm on simulated bodies of the training population",
    }[cfg.data.source]
    if cfg.study.name in SET_STUDIES and cfg.data.source == "simulator":
        source = "fresh films of the study's people, amplitudes near the trained ones"
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
    kind = "gif" if figure.path.suffix == ".gif" else "png"
    data = base64.b64encode(figure.path.read_bytes()).decode()
    return {
        "title": figure.title,
        "caption": figure.caption,
        "data": f"data:image/{kind};base64,{data}",
        "name": figure.path.name,
    }


def _environment(workdir: Path) -> str:
    """env.json as training wrote it, or a word that it is not there."""
    path = workdir / "env.json"
    return path.read_text(encoding="utf-8") if path.exists() else "no env.json"
