"""The real `launch.train`, killed again and again, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
KILLS, STEPS = 10, 100
COMMAND = (
    *(sys.executable, "-m", "launch.train", "--config=configs/paper_group.py:smoke"),
    f"--config.train.num_steps={STEPS}",
    "--config.train.eval_every=20",
    "--config.gen_opt.learning_rate=1e-4",  # or the mask is empty from step 24 on
)


class Run:
    """A workdir under `folder`; compiled programs and cases are shared by all."""

    def __init__(self, folder, name):
        self.folder, self.workdir = folder, folder / name
        self.log = folder / f"{name}.txt"

    def start(self):
        env = dict(os.environ, JAX_COMPILATION_CACHE_DIR=str(self.folder / "xla"))
        env["JAX_NUM_CPU_DEVICES"] = "1"
        folders = (f"--workdir={self.workdir}", f"--data_dir={self.folder / 'data'}")
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*COMMAND, *folders], cwd=ROOT, env=env, stdout=log, stderr=log
            )

    def step(self):
        """The newest step that it wrote a number of; 0 before the first."""
        path = self.workdir / "metrics.jsonl"
        rows = path.read_text().splitlines() if path.exists() else []
        steps = [json.loads(row)["step"] for row in rows if row.endswith("}")]
        return max(steps, default=0)

    def digest(self):
        """Goes on to the end; the digest that is printed last."""
        code = self.start().wait(timeout=600)
        text = self.log.read_text()
        assert code == 0, text
        return re.findall(r"final checkpoint digest sha256 (\w{64})", text)[-1]

    def kill(self, steps, delay_s):
        """Starts it, kills it with -9 so many steps and then so long on."""
        process = self.start()
        target, deadline = self.step() + steps, time.monotonic() + 300
        while steps and self.step() < target:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay_s)
        assert process.poll() is None, self.log.read_text()
        process.kill()
        process.wait()


def test_killed_ten_times_at_random_it_ends_the_same(tmp_path):
    undisturbed = Run(tmp_path, "whole").digest()
    draw, killed = random.Random(0), Run(tmp_path, "killed")
    for number in range(KILLS):
        if number % 4 == 1:  # while it starts
            killed.kill(0, draw.uniform(0.0, 8.0))
        else:  # while it trains, and saves every other step
            killed.kill(draw.randint(1, 9), draw.uniform(0.0, 0.4))
    assert killed.step() > STEPS // 4
    print(f"killed {KILLS} times, the last time after step {killed.step()}")
    assert killed.digest() == undisturbed
