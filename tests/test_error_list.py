"""Which test provokes the message of each situation that a physicist meets.

A row names a test function, or a row of a table of bad inputs (`bad_inputs/bad_*.py`).
Each checks what the message found, what was needed and what to do; "warning" rows are
not errors: the clip is read, and the warning says what to check.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from fluoro_jax.cli import main, verbs

TESTS = Path(__file__).parent
DICOM = "bad_inputs/bad_dicom.py"
PROJECTION, SERIES = "io/test_dicom_projection.py", "io/test_dicom_series.py"
SITUATIONS = {
    "no detector pixel spacing": f"{DICOM}::no pixel",
    "no SID": f"{DICOM}::no sid",
    "no SAD": f"{DICOM}::no sad",
    "PixelSpacing alone, of unknown type": f"{DICOM}::pixel of unknown type",
    "not a projection SOP class": f"{DICOM}::ct",
    "one frame only": f"{DICOM}::one frame",
    "frame times missing": f"{DICOM}::no time",
    "frame times that do not increase": f"{DICOM}::backwards",
    "frame times uneven (warning)": f"{PROJECTION}::"
    "test_times_by_vector_then_step_then_rate",
    "frame size differs in a series": f"{DICOM}::sizes",
    "compressed syntax without a decoder": f"{DICOM}::no decoder",
    "inverted polarity suspected (warning)": f"{PROJECTION}::"
    "test_an_inverted_chest_is_suspected",
    "burned-in text (warning)": f"{PROJECTION}::test_burned_in_text_is_warned_of",
    "RTSTRUCT of another frame of reference": "io/test_rtstruct.py::"
    "test_another_frame_of_reference_is_refused",
    "ROI name not found": "io/test_rtstruct.py::test_the_nearest_name_is_suggested",
    "4DCT with a missing or doubled phase": f"{SERIES}::"
    "test_a_4dct_that_is_not_whole_is_refused",
    "4DCT whose phases are not named": "cli/test_fit.py::"
    "test_phases_that_the_files_do_not_name_are_stated",
    "CT not covering the beam": "data/test_patient_bodies.py::"
    "test_a_ct_that_does_not_cover_the_beam_is_refused",
    "CT not covering the ROI": "io/test_rtstruct.py::"
    "test_contours_beyond_or_across_slices_are_refused",
    "CT that cuts the lungs": "bad_inputs/bad_config.py::a CT of half a chest",
    "empty GTV after resampling": "sim/test_ct_gtv.py::"
    "test_no_tumour_and_no_lung_are_refused",
    "NaN in a file": "bad_inputs/bad_files.py::nan frame",
    "NaN in a clip": "bad_inputs/bad_trackers.py::nan",
    "NaN in a stream": "bad_inputs/bad_trackers.py::step nan",
    "checkpoint made for another config": "training/test_workdir.py::"
    "test_another_config_is_refused_and_changes_nothing",
    "no GPU": "test_platform.py::test_a_gpu_that_is_not_there_is_four_lines",
    "out of memory, before a run": "training/test_memory.py::"
    "test_the_largest_part_is_named_with_a_value_that_fits",
    "out of memory, in a run": "training/test_memory.py::"
    "test_memory_that_runs_out_names_flags_with_values_that_fit",
    "out of memory, any command": "training/test_memory.py::"
    "test_a_command_that_runs_out_of_memory_ends_in_four_lines",
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z_-]*[a-z]\b")
# Options of other programs that messages tell to use, and what only Python reads.
OTHERS = {"--raw", "--write-xfer-little", "--newdirection", "--regexp", "--idark"}
OTHERS |= {
    "--no-deps",
    "--helpfull",
    "--porcelain",
    "--target",
    "--xla_gpu_deterministic_ops",
}


def named(path):
    """Names of the test functions and of the rows of bad inputs in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if called and node.func.id == "Bad" and isinstance(node.args[0], ast.Constant):
            yield node.args[0].value


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_has_a_test_of_its_message(situation):
    path, _, name = SITUATIONS[situation].partition("::")
    assert name in set(named(TESTS / path))


def known_flags(parser):
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from known_flags(one)


def test_every_flag_that_a_message_names_exists():
    known = {"--config", "--workdir", "--data_dir", "--debug", *OTHERS}
    known |= {f"--{name}" for flags in verbs.EXTRA.values() for name in flags}
    known |= set(known_flags(main.parser()))
    unknown = []
    for path in sorted((TESTS.parent / "fluoro_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                flags = set(FLAG.findall(node.value)) - known
                unknown += [f"{path}:{node.lineno}: {flag}" for flag in flags]
    assert not unknown
