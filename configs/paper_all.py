"""Every table of the paper, and what we add, as one plan of parts.

Command:  python -m launch.reproduce --config=configs/paper_all.py:cpu --workdir=DIR
          ... --only=best_group,held_out,ablation   for some parts or kinds of them

Hardware: `cpu` two cores; `gpu` one GPU of 80 GB; `smoke` for tests; none (`full`) is
          the size of `gpu` in float32 and small batches, on any device.
Time:     `cpu`: each part's estimate is printed before it runs; with the records of
          docs/results the core is printed in seconds. `gpu` not measured yet.
Expected: docs/results/paper_all_cpu/results.md.

Parts marked `core` run by default; the others, among them the studies held out from
every choice, are asked for by name with --only. A part is a run, or another run (`of`)
looked at on a study that it was not trained for. Finished parts are reused, from the
workdir or from docs/results. If their config, code or data changed since, they are
printed as stale and run again only when asked for by name.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import (
    ablation,
    best_group,
    best_patient,
    best_subgroup,
    clinic,
    derived,
    frames,
    paper_group,
    paper_patient,
    paper_subgroup,
)
from configs.base import check_preset
from fluoro_jax.config import Config

PRESETS = ("smoke", "cpu", "full", "gpu")
TWO_SEEDS = ("base", "no_convlstm", "no_refinement", "no_adversarial")
# Stated before anything was run: "reproduced" is a mean this near to the paper's.
TOLERANCE = dict(iou=0.02, dice=0.01, vertical_iso_mm=0.5, horizontal_iso_mm=0.3)


def get_config(preset: str = "full") -> ConfigDict:
    """The plan at scale `preset`: name, tolerance, parts in the order they run."""
    preset = preset or "full"
    check_preset(preset, PRESETS)
    parts = _core(preset) | _riding(preset) | _afresh(preset)
    parts |= (
        _further(preset) | _transfer(preset) | _held_out(preset) | _ablation(preset)
    )
    if preset != "cpu":
        for part in parts.values():
            # Estimated, and published, of two cores only.
            part.update(minutes=0.0, weights="")
    return ConfigDict(
        dict(
            name=f"paper_all_{preset}",
            tolerance=TOLERANCE,
            order=tuple(parts),  # a ConfigDict sorts its keys
            parts=parts,
        )
    )


def _part(title: str, run: Config, minutes: float, **more: Any) -> dict[str, Any]:
    """A part; its fields are those of `plan.Part`, `more` whatever is not the default.

    `paper` names the numbers of the paper that it stands beside, if any; `section`,
    `role` and `recipe` say which table it is a row of, and as what (`roles.py`).
    """
    part = dict(title=title, minutes=minutes, core=False, of="", table_only=False)
    part |= dict(weights="", paper="", section="group", role="", recipe="ours")
    return {**part, **more, "run": run}


def _core(preset: str) -> dict[str, Any]:
    subgroup = best_subgroup.get_config(preset)
    tuned = dict(section="subgroup", role="finetuned")
    parts = _groups(preset) | {
        "best_patient": _part(
            "patient, our recipe",
            *(best_patient.get_config(preset), 9.0),
            paper="patient",
            section="patient",
        ),
        "best_subgroup": _part(
            "sub-group from scratch, our recipe",
            subgroup,
            25.0,
            paper="subgroup",
            section="subgroup",
            role="scratch",
        ),
        "subgroup_frozen": _part(
            "sub-group, group model fine-tuned with its bottom frozen",
            derived.tuned(subgroup, "bottom"),
            25.0,
            paper="finetuned",
            **tuned,
        ),
        # The paper always froze some layers, so it has no numbers beside this one.
        "subgroup_finetuned": _part(
            "sub-group, group model fine-tuned whole",
            derived.tuned(subgroup, "nothing"),
            25.0,
            **tuned,
        ),
    }
    parts |= _published(preset)
    return {name: {**part, "core": True} for name, part in parts.items()}


def _groups(preset: str) -> dict[str, Any]:
    """The group by our recipe, afresh and from single frames."""
    group = best_group.get_config(preset)
    return {
        "best_group": _part("group, our recipe", group, 50.0, paper="group"),
        "frames": _part(
            "single frames of many riding tumours, our recipe",
            *(frames.get_config(preset), 65.0),
            section="riding",
        ),
        "frames_midline": _part(
            "as many again, 3 of 10 near the midline, started from `frames`",
            derived.near_midline(derived.more_frames(preset)),
            65.0,
            section="riding",
        ),
        "group_frames": _part(
            "group, our recipe, started from `frames_midline`",
            derived.clips(group, preset, 3000, 3e-3, "frames_midline"),
            25.0,
            paper="group",
            weights="group",
        ),
    }


def _published(preset: str) -> dict[str, Any]:
    return {
        "paper_group": _part(
            "group, as published",
            *(paper_group.get_config(preset), 12.0),
            paper="group",
            recipe="published",
        ),
        "paper_patient": _part(
            "patient, as published",
            *(paper_patient.get_config(preset), 10.0),
            paper="patient",
            section="patient",
            recipe="published",
        ),
    }


def _riding(preset: str) -> dict[str, Any]:
    """Ours: tumours that ride on the lung, started from single frames of such."""
    ours = clinic.get_config(preset)
    trained_on = derived.log_clips(ours, preset, 1000, 2e-3, "clinic")
    return {
        "frames_more": _part(
            "as many again, places as in `frames`, started from `frames`",
            *(derived.more_frames(preset), 65.0),
            section="riding",
        ),
        "clinic_short": _part(
            "riding tumours, our recipe, started from `frames_midline`",
            *(derived.clips(ours, preset, 1500, 2e-3, "frames_midline"), 20.0),
            section="riding",
        ),
        "frames_log": _part(
            "single frames, log IoU as a loss beside, started from `clinic_short`",
            *(derived.log_frames(preset), 50.0),
            section="riding",
        ),
        "clinic": _part(
            "riding tumours, our recipe, log IoU beside, started from `frames_log`",
            *(derived.log_clips(ours, preset, 1500, 2e-3, "frames_log"), 20.0),
            section="riding",
            weights="clinic",
        ),
        "clinic_clutter": _part(
            "riding tumours, our recipe, ellipses over them, started from `clinic`",
            *(derived.with_clutter(trained_on), 12.0),
            section="riding",
            weights="clinic-clutter",
        ),
    }


def _afresh(preset: str) -> dict[str, Any]:
    """Ours: log IoU from the first step, then clips, after fewer single frames."""
    group, riding = best_group.get_config(preset), clinic.get_config(preset)
    return {
        "frames_afresh": _part(
            "single frames afresh, near the midline too, log IoU as a loss beside",
            *(derived.frames_afresh(preset), 98.0),
            section="riding",
        ),
        "group_log": _part(
            "group, our recipe, log IoU beside, started from `frames_afresh`",
            *(derived.log_clips(group, preset, 3000, 3e-3, "frames_afresh"), 33.0),
            paper="group",
        ),
        "frames_longer": _part(
            "three quarters as many again, started from `frames_afresh`",
            *(derived.more_afresh(preset), 75.0),
            section="riding",
        ),
        "group_longer": _part(
            "group, our recipe, log IoU beside, started from `frames_longer`",
            *(derived.log_clips(group, preset, 3000, 3e-3, "frames_longer"), 33.0),
            paper="group",
        ),
        "clinic_longer": _part(
            "riding tumours, our recipe, log IoU beside, started from `frames_longer`",
            *(derived.log_clips(riding, preset, 1500, 2e-3, "frames_longer"), 18.0),
            section="riding",
        ),
    }


def _further(preset: str) -> dict[str, Any]:
    group = best_group.get_config(preset)
    return {
        "group_20_40": _part(
            "group, our recipe on the paper's 20-40 mm alone",
            derived.of_diameters(group, (20.0, 40.0)),
            50.0,
            paper="group",
        ),
    } | _subgroups(preset)


def _subgroups(preset: str) -> dict[str, Any]:
    """The sub-group trained in further ways: the paper's, ours, with other layers."""
    subgroup = best_subgroup.get_config(preset)
    tuned = "sub-group, group model fine-tuned"
    finetuned = dict(section="subgroup", role="finetuned")
    return {
        "paper_subgroup": _part(
            "sub-group from scratch, as published",
            paper_subgroup.get_config(preset),
            9.0,
            paper="subgroup",
            section="subgroup",
            role="scratch",
            recipe="published",
        ),
        "subgroup_slow": _part(
            "sub-group from scratch, at the fine-tuned networks' rate",
            *(derived.slow(subgroup), 25.0),
            section="subgroup",
            role="scratch",
        ),
        "subgroup_shuffled": _part(
            "sub-group, shuffled amplitudes",
            derived.on_study(subgroup, "subgroup_shuffled"),
            25.0,
            section="transfer",
        ),
        "subgroup_displaced": _part(
            f"{tuned} whole, tumours beside their places too",
            derived.displaced(derived.tuned(subgroup, "nothing")),
            25.0,
            **finetuned,
        ),
        "subgroup_ends_frozen": _part(
            f"{tuned}, first and last layers frozen",
            derived.tuned(subgroup, "ends"),
            25.0,
            **finetuned,
        ),
        "subgroup_all_but_last": _part(
            f"{tuned}, all but the last layers frozen",
            derived.tuned(subgroup, "all_but_last"),
            25.0,
            **finetuned,
        ),
    }


def _transfer(preset: str) -> dict[str, Any]:
    """Tested on another kind of case than trained, and the paper's other sites."""
    group, patient = best_group.get_config(preset), best_patient.get_config(preset)
    return {
        "patient_left": _part(
            "patient, tumour in the left upper lung",
            derived.on_study(patient, "patient_left"),
            9.0,
            section="transfer",
        ),
        "patient_other": _part(
            "patient's model on another patient (figure 8)",
            derived.evaluated_on(patient, "patient_other"),
            1.0,
            of="best_patient",
            section="transfer",
        ),
        "large_to_small": _part(
            "trained on large tumours, tested on small ones",
            derived.sizes(group, "large_to_small", (30.0, 40.0)),
            16.0,
            section="transfer",
        ),
        "small_to_large": _part(
            "trained on small tumours, tested on large ones",
            derived.sizes(group, "small_to_large", (15.0, 25.0)),
            16.0,
            section="transfer",
        ),
        "no_overlap": _part(
            "trained without, tested with the heart over the tumour",
            derived.stored(group, "no_overlap"),
            16.0,
            section="transfer",
        ),
    }


def _held_out(preset: str) -> dict[str, Any]:
    """Ours, never used to choose anything: our models on cases of other studies."""
    words = {
        "small": "tumours of 8 to 15 mm",
        "irregular": "irregular breathing",
        "gantry": "other gantry angles (15 to 60 degrees)",
        "population": "bodies beyond the trained population",
        "exposed": "spectrum, scatter, blur and quanta of a panel",
    }
    group = derived.clip_answers(best_group.get_config(preset))
    runs = {study: derived.evaluated_on(group, study) for study in words}
    # New cases of their own studies. Seeds were drawn from the system's entropy on
    # 2026-11-28, before any case was seen and after `evaluation.outline` and
    # `offset_share` were chosen on validation: earlier answers had been scored on the
    # test cases of both, and on the new cases of three seeds before these. That of
    # the riding ones was drawn again, after `loss.log_iou` had been chosen.
    ours = derived.clip_answers(clinic.get_config(preset))
    riding = derived.evaluated_on(ours, "clinic")
    riding.study.seed = 3412589836
    riding.choices = "none"
    runs["new"] = derived.evaluated_on(group, "group")
    runs["new"].study.seed = 1533762967
    words["new"] = "new cases of its own study"
    for run in runs.values():
        run.choices = "none"
    runs["noise"] = derived.evaluated_on(group, "group")
    runs["noise"].study.photons = 1e4
    words["noise"] = "noise of 10,000 quanta a pixel"
    parts = {}
    for study, run in runs.items():
        parts[f"held_out_{study}"] = _part(
            f"group model on {words[study]}",
            run,
            3.0,
            of="group_frames",
            section="held_out",
        )
    parts["held_out_riding"] = _part(
        "riding tumours' model on new cases of its own study",
        *(riding, 3.0),
        of="clinic",
        section="held_out",
    )
    parts["subgroup_displaced_new"] = _part(  # its patients are trained on anew
        "sub-group, as `subgroup_displaced`, in other patients",
        *(derived.displaced_new(best_subgroup.get_config(preset)), 25.0),
        section="held_out",
    )
    return parts


def _ablation(preset: str) -> dict[str, Any]:
    """Returns the ablations; two seeds for the rows that the paper stresses."""
    size = preset if preset in ablation.PRESETS else "ablation"
    parts = {}
    for row in ("base", *ablation.VARIANTS):
        for seed in range(2 if row in TWO_SEEDS else 1):
            run = ablation.get_config(size if row == "base" else f"{size}/{row}")
            run.seed = seed
            title = f"ablation: {row.replace('_', ' ')}, seed {seed}"
            parts[f"ablation_{row}_{seed}"] = _part(
                *(title, run, 1.5), table_only=True, section="ablation", role=row
            )
    return parts
