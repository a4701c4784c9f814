"""Damaged files of every format end in a clip or in a `UserError`, within bounds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutate import FORMATS, faults

SCRIPT = Path(__file__).parents[1] / "shared" / "mutate.py"
QUICK, MANY = 12, 1000


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_damaged_clip_is_read_or_refused(kind):
    wrong, counts = faults(kind, range(QUICK))
    assert not wrong
    assert counts["refused"] >= 2


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_thousand_damaged_clips_in_two_gigabytes(kind):
    command = [sys.executable, str(SCRIPT), kind, "0", str(MANY)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ), timeout=3000
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
