"""Checks the values of a config against each other."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from fluoro_jax.config_rules import PAST_STACKS
from fluoro_jax.errors import UserError

Config: TypeAlias = Any  # a ConfigDict; checkers cannot know its attributes

PIXEL_MM = (0.05, 40.0)  # from mammography's pixels to a test's 16 x 16 panel
SMALLEST = 2  # pixels a side that the lowest level must keep


def check_together(cfg: Config) -> None:
    """Raises `UserError` where two values, each possible alone, exclude each other."""
    _check_pixel(cfg)
    _check_sizes(cfg)
    _check_stem(cfg)
    _check_frozen(cfg)
    _check_groups(cfg)
    _check_causal(cfg)
    _check_half_cells(cfg)
    _check_outline(cfg)
    _check_precision(cfg)
    _check_diameters(cfg)
    _check_places(cfg)
    _check_appearance(cfg)
    _check_bodies(cfg)
    _check_collimation(cfg)


def remembers_ahead(cfg: Config) -> bool:
    """Returns whether a ConvLSTM runs backward in time, too."""
    return cfg.gen.lstm != "none" and cfg.gen.bidirectional


def reads_ahead(cfg: Config) -> bool:
    """Returns whether the network's answer for a frame depends on later frames."""
    return remembers_ahead(cfg) or cfg.data.stack not in (*PAST_STACKS, "single")


def _check_pixel(cfg: Config) -> None:
    """Refuses pixels that no panel has; a config's panel is `rows` square pixels."""
    study = cfg.study
    least, most = PIXEL_MM
    pixel = study.detector_mm / study.rows
    if not least <= pixel <= most:
        raise UserError(
            f"study.detector_mm = {study.detector_mm:g} with study.rows = "
            f"{study.rows}: pixels of {pixel:.3g} mm",
            needed=f"pixels of {least:g} to {most:g} mm",
            why="the panel's height is divided into that many square pixels",
            fix=f"--config.study.detector_mm={study.rows * min(5.0, most):g}, or other "
            "study.rows",
        )


def _check_sizes(cfg: Config) -> None:
    """Every level halves the frame, exactly, and leaves `SMALLEST` pixels a side."""
    levels = {
        "gen.levels": (cfg.gen.levels, cfg.gen.patch),
        "gen.refine_levels": (cfg.gen.refine_levels, cfg.gen.patch),
        "critic.levels": (cfg.critic.levels, 1),
    }
    for side in ("rows", "cols"):
        size = cfg.study[side]
        for key, (value, patch) in levels.items():
            most = 0
            cells, rest = divmod(size, patch)
            while cells % 2 ** (most + 1) == 0 and cells // 2 ** (most + 1) >= SMALLEST:
                most += 1
            if value <= most and not rest:
                continue
            step = patch * 2**value
            even = max(max(1, round(size / step)) * step, SMALLEST * step)
            one = f"--config.{key}={most}, or " if most else ""
            cells = f" (cells of {patch} pixels)" * (patch > 1)
            raise UserError(
                f"study.{side} = {size} with {key} = {value}{cells}",
                needed=f"{side} divisible by {patch * 2**value}, and at least "
                f"{SMALLEST * step}",
                why=f"each level halves the frame; {SMALLEST} pixels must be left",
                fix=f"{one}--config.study.rows={even} --config.study.cols={even}",
            )


def _check_stem(cfg: Config) -> None:
    if cfg.gen.patch > 1 and not cfg.gen.stem:
        raise UserError(
            f"gen.stem = 0 with gen.patch = {cfg.gen.patch}",
            needed="gen.stem at least 1",
            why="the networks read a cell through a dense layer of so many channels",
            fix="--config.gen.stem=32, or --config.gen.patch=1",
        )
    if cfg.gen.patch == 1 and cfg.gen.stem:
        raise UserError(
            f"gen.stem = {cfg.gen.stem} with gen.patch = 1",
            needed="gen.stem = 0",
            why="pixels are read as they are: it would do nothing",
            fix="--config.gen.stem=0, or --config.gen.patch=4",
        )


def _check_frozen(cfg: Config) -> None:
    if cfg.init.frozen != "nothing" and not cfg.init.parent:
        raise UserError(
            f'init.frozen = "{cfg.init.frozen}" without init.parent',
            needed="the run that the frozen layers are of",
            why="layers of a fresh network would stay as they were drawn",
            fix="--config.init.parent=NAME, or --config.init.frozen=nothing",
        )


def _check_groups(cfg: Config) -> None:
    """Every level's channels, min(base 2^i, cap), are whole groups."""
    for net in ("gen", "critic"):
        size = cfg[net].group_size
        for key in ("base", "cap"):
            value = cfg[net][key]
            if value % size:
                raise UserError(
                    f"{net}.{key} = {value} with {net}.group_size = {size}",
                    needed=f"{net}.{key} divisible by {net}.group_size",
                    why="the norm takes its channels in groups of equal size",
                    fix=f"--config.{net}.group_size={math.gcd(value, size)}, or "
                    f"--config.{net}.{key}={max(size, value // size * size)}",
                )
        if cfg[net].cap < cfg[net].base:
            raise UserError(
                f"{net}.cap = {cfg[net].cap} with {net}.base = {cfg[net].base}",
                needed=f"{net}.cap at least {net}.base",
                why="level i has min(base 2^i, cap) channels",
                fix=f"--config.{net}.cap={cfg[net].base}",
            )


def _check_causal(cfg: Config) -> None:
    if cfg.data.stack in PAST_STACKS and remembers_ahead(cfg):
        raise UserError(
            f"data.stack = {cfg.data.stack!r} with gen.bidirectional = True",
            needed="a generator that runs forward only, or another stack",
            why="the backward pass reads later frames, so nothing would be causal",
            fix="--config.gen.bidirectional=False, or --config.data.stack=edge",
        )


def _check_half_cells(cfg: Config) -> None:
    if not cfg.evaluation.half_cells:
        return
    found = "evaluation.half_cells = True with "
    off = "--config.evaluation.half_cells=False"
    if cfg.gen.patch % 2:
        raise UserError(
            f"{found}gen.patch = {cfg.gen.patch}",
            needed="cells of an even number of pixels a side",
            why="each frame is also seen moved by half a cell",
            fix=f"{off}, or --config.gen.patch=4 --config.gen.stem=32",
        )
    if cfg.data.stack in PAST_STACKS:
        raise UserError(
            f'{found}data.stack = "{cfg.data.stack}"',
            needed="a stack of whole windows, or evaluation.half_cells = False",
            why="a stream keeps the state of one network, not of four",
            fix=off,
        )


def _check_outline(cfg: Config) -> None:
    if cfg.evaluation.outline == "frame":
        return
    found = f'evaluation.outline = "{cfg.evaluation.outline}" with '
    off = "--config.evaluation.outline=frame"
    if cfg.evaluation.answer != "component":
        raise UserError(
            f'{found}evaluation.answer = "{cfg.evaluation.answer}"',
            needed='evaluation.answer = "component"',
            why="the outlines of one component a frame are averaged",
            fix=f"{off}, or --config.evaluation.answer=component",
        )
    if cfg.evaluation.threshold > 0.5:
        raise UserError(
            f"{found}evaluation.threshold = {cfg.evaluation.threshold}",
            needed="a threshold of at most 0.5",
            why="inside is where the mean is at least 0.5, and would be cut again",
            fix=f"{off}, or --config.evaluation.threshold=0.5",
        )
    if not reads_ahead(cfg):
        raise UserError(
            f'{found}data.stack = "{cfg.data.stack}", and nothing reads ahead',
            needed='a network of whole windows, or evaluation.outline = "frame"',
            why="one that answers frame by frame has no whole clip to average",
            fix=off,
        )


def _check_precision(cfg: Config) -> None:
    if (
        cfg.matmul_precision == "tf32"
        and cfg.gen.dtype == cfg.critic.dtype != "float32"
    ):
        raise UserError(
            f"matmul_precision = 'tf32' with gen.dtype = critic.dtype = "
            f"{cfg.gen.dtype!r}",
            needed="matmul_precision = 'highest', or a network in float32",
            why="tf32 shortens float32 numbers, and neither network would have any",
            fix="--config.matmul_precision=highest, or --config.gen.dtype=float32 "
            "--config.critic.dtype=float32",
        )


def _check_diameters(cfg: Config) -> None:
    smallest, largest = cfg.data.smallest_mm, cfg.data.largest_mm
    if smallest > largest:
        raise UserError(
            f"data.smallest_mm = {smallest} with data.largest_mm = {largest}",
            needed="data.largest_mm at least data.smallest_mm",
            why="simulated tumours have diameters between the two",
            fix=f"--config.data.largest_mm={smallest}",
        )


def _check_places(cfg: Config) -> None:
    from fluoro_jax.studies import STUDIES  # late: it starts JAX

    data, study = cfg.data, STUDIES.get(cfg.study.name)
    # Fresh tumours in phantoms: neither stored ones nor spheres in CTs.
    fresh = data.source == "simulator" and data.bodies == "phantom"
    for key, of_sets, needed, why in (
        (
            *("midline_share", False, "fresh tumours in phantoms"),
            "positions of tumours are drawn anew only there",
        ),
        (
            *("displaced_mm", True, "fresh clips of a study of sets"),
            "elsewhere tumours have no place of their own, or are stored",
        ),
    ):
        # A wrong name is refused elsewhere.
        fits = fresh and (study is None or study.of_sets == of_sets)
        if data[key] and not fits:
            raise UserError(
                f'data.{key} = {data[key]:g} with study.name = "{cfg.study.name}", '
                f'data.source = "{data.source}" and data.bodies = "{data.bodies}"',
                needed=f"{needed}, or data.{key} = 0",
                why=why,
                fix=f"--config.data.{key}=0",
            )


def _check_appearance(cfg: Config) -> None:
    if cfg.data.randomise and cfg.data.source == "dataset":
        raise UserError(
            f'data.randomise = "{cfg.data.randomise}" with data.source = "dataset"',
            needed='data.source = "simulator", or data.randomise = ""',
            why="stored cases are trained on as they are",
            fix="--config.data.source=simulator",
        )


def _check_bodies(cfg: Config) -> None:
    from fluoro_jax.studies import STUDIES  # late: it starts JAX

    bodies, folder = cfg.data.bodies, cfg.data.ct_dir
    found = f'data.bodies = "{bodies}"'
    if cfg.data.angles_deg and bodies != "patient":
        raise UserError(
            f'data.angles_deg = "{cfg.data.angles_deg}" with {found}',
            needed='data.bodies = "patient", or data.angles_deg = ""',
            why="other bodies are seen at study.gantry_deg",
            fix="--config.data.angles_deg= and --config.study.gantry_deg=ANGLE",
        )
    if bodies == "phantom":
        if folder:
            raise UserError(
                f'data.ct_dir = "{folder}" with {found}',
                needed='data.bodies = "ct" or "mixed", or data.ct_dir = ""',
                why="phantoms need no CT, so the folder would not be read",
                fix="--config.data.bodies=mixed",
            )
        return
    if cfg.data.source == "dataset":
        raise UserError(
            f'{found} with data.source = "dataset"',
            needed='data.source = "simulator"',
            why="stored cases are phantoms; CTs are simulated while training",
            fix="--config.data.source=simulator, or --config.data.bodies=phantom",
        )
    if not folder:
        raise UserError(
            f'{found} with data.ct_dir = ""',
            needed="a folder of chest CTs",
            why="patients of the training pool are made from them",
            fix="--config.data.ct_dir=FOLDER, or --config.data.bodies=phantom",
        )
    study = STUDIES.get(cfg.study.name)
    if study and study.of_sets:
        raise UserError(
            f'{found} with study.name = "{cfg.study.name}"',
            needed="a study of many patients with one tumour each, such as clinic",
            why="a study of sets trains on the amplitudes of its own patients",
            fix="--config.study.name=clinic, or --config.data.bodies=phantom",
        )
    if bodies == "mixed" and cfg.data.pool_bodies < 2:
        raise UserError(
            f"{found} with data.pool_bodies = {cfg.data.pool_bodies}",
            needed="data.pool_bodies at least 2",
            why="every other slot of the pool holds a CT",
            fix="--config.data.pool_bodies=16, or --config.data.bodies=ct",
        )


def _check_collimation(cfg: Config) -> None:
    from fluoro_jax.studies import STUDIES  # late: it starts JAX

    study = STUDIES.get(cfg.study.name)
    fresh = cfg.data.source == "simulator" and not (study and study.of_sets)
    if cfg.study.collimate and fresh:
        raise UserError(
            f"study.collimate = True with fresh tumours of the study {cfg.study.name}",
            needed="stored cases, or a study of sets",
            why="the panel would follow a tumour that is then put elsewhere",
            fix="--config.study.collimate=False, or --config.data.source=dataset",
        )
