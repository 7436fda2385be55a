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

PEAK_UNIT = 2**20 if platform.system() == "Darwin" else 2**10  # a MB in what getrusage counts memory in


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
        cold_s, cold_mb = _run([str(files[0])], weights)
        folder_s, _ = _run([str(folder), "--csv", "--out", str(Path(temporary) / "texts.csv")], weights)
    return {"predict_cold_s": cold_s, "predict_cold_mb": cold_mb, "predict_10k_s": folder_s}


def _run(words: list[str], weights: str | Path) -> tuple[float, float]:
    """Runs `predict`; seconds and the peak of its memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "captcha_lib", "predict", *words, "--weights", str(weights)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it once more
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")
    return seconds, usage.ru_maxrss / PEAK_UNIT
