"""The card of trained weights: what they are, what was measured, and their limits.

A card is a dictionary that lies beside the weights as JSON; a page is made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fluoro_jax.choices import choices_caption
from fluoro_jax.config_rules import parse_angles
from fluoro_jax.evaluation.summary import (
    empty_predictions,
    format_value,
    reference_given,
)
from fluoro_jax.io.tracks import DISCLAIMER
from fluoro_jax.studies import STUDIES
from fluoro_jax.zoo.cards import stale

LICENCE = "Apache-2.0"
EXPOSURE = "exposure"
DRAWN = {  # the parts of `data.appearance.randomise` in words
    "clutter": "ellipses that are no tumours",
    "texture": "textures",
    "warp": "a smooth deformation",
    "mirror": "left and right exchanged or not",
    EXPOSURE: "noise, scatter, blur and a gain of the contrast",
}
PAGE = """# Trained weights

{disclaimer}

Each is two files inside the package: parameters (safetensors) and a card. They are
read offline and checked at every load: sha256, and every shape against the config.
Three lines track a clip:

```python
from fluoro_jax import zoo
from fluoro_jax.tracking.tracker import track_clip

tracks = track_clip(zoo.tracker("{example}"), clip)  # one Track a frame
```

`clip` is a `fluoro_jax.clip.Clip`: frames, times and view, as `simulate` or
`fluoro_jax.io.trackrad` make it; frames of another size or scale are refused.
`zoo.tracker(..., lookahead_frames=0)` is causal. `zoo.tracker("causal-cpu",
answer="followed")` follows one component by its motion and says with what probability
it is less than 2 mm off: fitted to simulated clips (docs/compare.md, "Confidence").
`zoo.names()` lists what is there, `zoo.load(name).card` is the whole card.

This page is written from the cards by `python docs/make_weights.py`. Numbers are means
over test cases [95 % interval over cases].
"""


def make_card(
    name: str,
    cfg: Any,
    *,
    weights: Mapping[str, Any],
    table: Mapping[str, Any],
    run: Any,
) -> dict[str, Any]:
    """Returns what a user needs to judge the weights, ready for JSON.

    Args:
        name: of the weights.
        cfg: the run's config.
        weights: what zoo.save says of the file: sha256, bytes, dtypes, parameters.
        table: the run's tables/results.json.
        run: `cases` (the first test cases and their IoU) and `training` (step, command,
            commit, machine, wall time), as the run's folder tells them.
    """
    # Copied, not computed: a card never says a number that its run's table did not.
    copied = ("n_cases", "n_frames", "threshold", "bootstrap", "columns", "notes")
    row_keys = ("key", "label", "decimals", "detail", "values")
    metrics = {key: table[key] for key in copied}
    metrics["rows"] = [{key: row[key] for key in row_keys} for row in table["rows"]]
    metrics["strata"] = table.get("strata", [])
    return {
        "name": name,
        "warning": DISCLAIMER,
        "licence": LICENCE,
        "study": cfg.study.name,
        "seed": cfg.seed,
        "data_seed": cfg.study.seed,
        "weights": dict(weights),
        "metrics": metrics,
        "cases": run["cases"],
        "training": run["training"],
        "limits": limits(cfg),
        "fingerprint": table.get("fingerprint"),
        "choices": table.get("choices", ""),
        "config": cfg.to_dict(),
    }


def limits(cfg: Any) -> list[str]:
    """Returns the conditions under which a card's numbers hold, as sentences.

    Args:
        cfg: the run's config; lengths in mm, times in s, angles in degrees.
    """
    study, data = cfg.study, cfg.data
    one_patient = data.get("bodies") == "patient"
    sentences = [
        "Trained and tested on clips simulated from one patient's CT, never on X-ray "
        "images; any other patient or tumour is outside of what was trained."
        if one_patient
        else "Trained and tested on clips of a simulated thorax only, never on images "
        "of patients; expect larger errors there.",
        *_frames(study, data),
        f"Frames are {study.frame_s:g} s apart; the network sees {study.num_frames} "
        "at a time.",
        f"One training run (seed {cfg.seed}): intervals are over test cases and "
        "hold no spread over seeds.",
    ]
    if study.num_frames == 1:
        sentences.append(
            "Test clips are single frames: the columns that are given frame 0 are the "
            "truth itself and compare nothing."
        )
    if cfg.init.parent:
        sentences.append(f"Fine-tuned from the run {cfg.init.parent}.")
    # In studies of sets the patients of the test are those of training.
    if STUDIES[study.name].of_sets:
        sentences.append(
            f"Trained on the patients and tumours of the {study.name} study, which are "
            "tested too; any other patient is outside of it."
            + f" Tumours lay up to {data.displaced_mm:g} mm along the body from their "
            "place." * bool(data.displaced_mm)
        )
    # Stored cases have the study's own sizes, which its name tells.
    elif data.source == "simulator" and not one_patient:
        sentences.append(
            f"Tumours of {data.smallest_mm:g} to {data.largest_mm:g} mm were trained"
            + f", {data.midline_share:.0%} of them nearest the midline"
            * bool(data.midline_share)
            + "."
        )
    # `zoo.tracker` takes any lookahead, so the card says whose numbers hold.
    if cfg.gen.bidirectional:
        sentences.append(
            "The network reads its window both ways: with lookahead it is not causal, "
            "and a real-time use has the numbers of the column without lookahead."
        )
    return sentences


def _frames(study: Any, data: Any) -> list[str]:
    """Returns what frames were trained, and what else every training clip was given."""
    # The panel's height over its rows; pixels are square.
    pitch_mm = study.detector_mm / study.rows
    panel = "the panel follows each tumour" if study.collimate else "a centred panel"
    several = parse_angles(data.get("angles_deg", ""))
    angles = " or ".join(f"{angle:g}" for angle in several or (study.gantry_deg,))
    noise = f"{study.photons:g} quanta a pixel" if study.photons else "noiseless"
    drawn = [word for word in data.get("randomise", "").split("+") if word]
    unseen = "spectrum" if EXPOSURE in drawn else "spectrum, scatter, grey levels"
    sentences = [
        f"Frames are {study.rows} x {study.cols} line integrals ({noise}), detector "
        f"pitch {pitch_mm:g} mm, gantry at {angles} degrees, {panel}. Anything else "
        f"(another view, pitch, {unseen}) is outside of what was trained."
    ]
    if drawn:
        parts = "; ".join(DRAWN[name] for name in drawn)
        sentences.append(f"Every training clip, and no tested one, was given: {parts}.")
    return sentences


def card_markdown(card: Mapping[str, Any]) -> str:
    """Returns a card as a section of Markdown."""
    weights, training, metrics = card["weights"], card["training"], card["metrics"]
    facts = {
        "file": f"`{weights['file']}`, {weights['bytes'] / 1e6:.2f} MB, "
        f"{weights['parameters']:,} parameters in {weights['dtype']}",
        "sha256": f"`{weights['sha256']}`",
        "numbers computed in": weights["metrics_dtype"],
        "study": f"{card['study']}, data seed {card['data_seed']}, run seed "
        f"{card['seed']}, config `{card['config']['name']}`",
        "test": f"{metrics['n_cases']} cases, {metrics['n_frames']} frames. "
        + choices_caption(card.get("choices", "")),
        "trained by": f"`{training['command']}` (step {training['step']})",
        "commit": f"`{training['commit']}`",
        "machine": training["machine"],
        "training time": _duration(training["wall_s"]),
        "licence": card["licence"],
    }
    lines = [f"## {card['name']}", "", card["warning"], ""]
    if words := stale(card):
        lines += [f"**Stale.** {words}", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += ["", *_numbers(metrics), "", *_strata(metrics["strata"]), "Limits:", ""]
    lines += [f"- {sentence}" for sentence in card["limits"]]
    return "\n".join([*lines, ""])


def page(cards: Iterable[Mapping[str, Any]]) -> str:
    """docs/weights.md: how to use the weights, then every card."""
    cards = list(cards)
    example = cards[0]["name"] if cards else "NAME"
    head = PAGE.format(disclaimer=DISCLAIMER, example=example)
    nothing = ["No weights are in this version of the package.\n"]
    return "\n".join([head, *([card_markdown(card) for card in cards] or nothing)])


def _numbers(metrics: Mapping[str, Any]) -> list[str]:
    columns = metrics["columns"]
    text = lambda key: [str(column[key]) for column in columns]
    lines = [
        _line("", text("label")),
        _line("---", ["---"] * len(columns)),
        _line("reference given", [reference_given(column) for column in columns]),
        _line("causal", ["yes" if c["causal"] else "no" for c in columns]),
        _line("lookahead [frames]", text("lookahead_frames")),
    ]
    for row in metrics["rows"]:
        # As the report, which folds the detailed rows away.
        if not row["detail"]:
            values = [row["values"][column["key"]] for column in columns]
            cells = [format_value(value, row["decimals"]) for value in values]
            lines.append(_line(row["label"], cells))
    counts = [str(empty_predictions(column)) for column in columns]
    return [*lines, _line("empty predictions [frames]", counts)]


def _strata(strata: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"- {row['label']}, n = {row['n']}: {format_value(row['values']['iou'], 3)}"
        for row in strata
    ]
    return ["IoU by kind of case:", "", *rows, ""] if rows else []


def _duration(seconds: float | None) -> str:
    return "not known" if seconds is None else f"{seconds / 60:.1f} min"


def _line(label: str, cells: list[str]) -> str:
    return f"| {label} | " + " | ".join(cells) + " |"
