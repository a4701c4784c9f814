"""Ctrl-C is answered at once and handled, whatever the main thread does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.multiprocess
ROOT = Path(__file__).parents[2]
# One call of C that gives the GIL back and does not look at signals, as a compilation.
BUSY = """
import hashlib, sys
from fluoro_jax.interrupts import acknowledged
print("ready", flush=True)
with acknowledged():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})
"""
SWALLOWED = """
import os, signal
from fluoro_jax.interrupts import acknowledged, raise_if_pressed
with acknowledged():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10**6): pass
    except KeyboardInterrupt:
        pass  # as Python does with one in a destructor
    import time
    time.sleep(0.1)
    raise_if_pressed()
    print("went on")
"""


def start(code):
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line == "busy\n":
            return process
    raise AssertionError(process.communicate()[1])


def first_words(process, within_s=2.0):
    begun, text = time.monotonic(), b""
    while b"again to exit" not in text and time.monotonic() - begun < within_s:
        if select.select([process.stderr], [], [], 0.1)[0]:
            text += os.read(process.stderr.fileno(), 4096)
    return text.decode()


def test_a_press_during_a_call_of_c_is_answered_and_the_second_ends_it():
    process = start(BUSY.format(rounds=10**9))  # many minutes
    try:
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert "press Ctrl-C again" in first_words(process)
        assert process.poll() is None
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    finally:
        process.kill()
        process.communicate()


def test_one_press_ends_it_after_the_call():
    process = start(BUSY.format(rounds=2 * 10**6))
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "interrupted" and "Traceback" not in told


def test_a_press_that_python_drops_is_not_forgotten():
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert done.stderr.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize(
    "delay_s",
    [0.6, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.3, 1.2))],
)
def test_a_start_can_be_interrupted_at_any_time(delay_s, tmp_path):
    """Python itself comes first; then the imports of the package."""
    command = [sys.executable, "-m", "launch.train"]
    command += ["--config=configs/paper_group.py:smoke", f"--workdir={tmp_path}/run"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    if "init_import_site" not in told:  # so early that Python was not up itself
        assert process.returncode in (130, -signal.SIGINT), told
    assert not (tmp_path / "run").exists()


def test_an_error_ends_the_process_without_stopping_its_threads():
    # A thread that the interpreter stops may be inside XLA; its code then is lost.
    script = """
import atexit, sys, threading, time
from fluoro_jax.interrupts import exit_with
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
atexit.register(print, "the interpreter ended")
print("said", end="")
exit_with(int(sys.argv[1]))
"""
    for code, said in ((2, "said"), (0, "saidthe interpreter ended\n")):
        argv = [sys.executable, "-c", script, str(code)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (code, said)
