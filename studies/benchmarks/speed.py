"""The clock and the memory of the benchmark of readers: calls in this process, and whole commands."""

import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from studies.evidence import ROOT

PEAK_UNIT = 2**20 if platform.system() == "Darwin" else 2**10  # a MB in what getrusage counts memory in
# Runs captcha_lib as a command, and then prints the peak of its memory.
_THEN_PEAK = """
import atexit, runpy
from studies.benchmarks.speed import peak_mb
atexit.register(lambda: print(peak_mb()))
runpy.run_module("captcha_lib", run_name="__main__", alter_sys=True)
"""


def timed_all(read: Callable, things: list) -> tuple[list, list[float]]:
    """What `read` makes of each thing, and the seconds that each took."""
    answers, seconds = [], []
    for thing in things:
        began = time.perf_counter()
        answers.append(read(thing))
        seconds.append(time.perf_counter() - began)
    return answers, seconds


def peak_mb() -> float:
    """The most memory that this process, or a child of it, has held. (getrusage alone counts its parent's, too.)"""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / PEAK_UNIT
    status = Path("/proc/self/status")
    if not status.exists():
        return max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / PEAK_UNIT)
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return max(children, int(line.split()[1]) / 1024)


def time_predict(files: list[Path], weights: str | Path, count: int) -> dict[str, float]:
    """The command `predict`, as a user types it: one image in a new process, and a folder of many to a CSV.

    Args:
        files: the images.
        weights: see `captcha_lib.read`.
        count: of the images in the folder, which repeats `files`.

    Returns:
        predict_cold_s and predict_cold_mb of one image, and predict_10k_s of the folder.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        for i in range(count):
            shutil.copyfile(files[i % len(files)], folder / f"{i}{files[i % len(files)].suffix}")
        alone = ["predict", str(files[0]), "--weights", str(weights)]
        many = ["predict", str(folder), "--csv", "--out", str(Path(temporary) / "texts.csv"), "--weights", str(weights)]
        return {
            "predict_cold_s": _time(["-m", "captcha_lib", *alone]),
            "predict_cold_mb": _peak(["-c", _THEN_PEAK, *alone]),
            "predict_10k_s": _time(["-m", "captcha_lib", *many]),
        }


def _time(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _peak(command: list[str]) -> float:
    """The peak of a command's memory in MB, told by itself: the system counts its parent's, too."""
    there = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=there, check=True)
    return float(done.stdout.splitlines()[-1])
