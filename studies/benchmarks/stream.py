"""Measures the stream of generated captchas: speed, waiting, memory, and the same training in two processes.

`make bench-stream` trains on a short and a long stream in one process, and with several seeds in one and in two
processes. Each training is a command of its own, as a user would type it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from captcha_lib import generate_captchas
from captcha_lib.config import RUN_DIR
from captcha_lib.files import write_csv
from captcha_lib.generator.style import DEJAVU, KAPTCHA, Style
from captcha_lib.runs.results import machine, write_json
from studies.benchmarks.speed import PEAK_UNIT
from studies.fonts import free_fonts, varied_style

DRAWN = 3000  # captchas drawn to measure the generator


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, 1_000_000], help="lengths of the stream")
    parser.add_argument("--seeds", type=int, default=5, help="of the trainings in one and in two processes")
    parser.add_argument("--shared", type=int, nargs="+", default=[10_000, 40_000], help="captchas of each of these")
    parser.add_argument("--out", type=Path, default=RUN_DIR / "bench-stream", help="for stream.json, processes.csv")
    options = parser.parse_args()
    speeds = {name: draw_speed(style) for name, style in styles().items()}
    print(f"captchas drawn a second: {speeds}", flush=True)
    streams = {str(n): train(options.out / f"stream-{n}", 1, n, 0) for n in options.n}
    table = pd.concat([compare(n, options.seeds, options.out) for n in options.shared])
    write_csv(options.out / "processes.csv", table)
    print(table.assign(rate=table["exact"] / table["n"]).groupby(["captchas", "processes"])["rate"].describe().round(4))
    figures = {"drawn_per_second": speeds, "streams": streams}
    write_json(options.out / "stream.json", figures | machine() | {"threads": 1})
    return 0


def compare(n: int, seeds: int, out: Path) -> pd.DataFrame:
    """Trains on the same streams in one process and in two: a row each with captchas, processes, seed and scores."""
    rows = [
        {"captchas": n, "processes": processes, "seed": seed}
        | train(out / f"{n}-processes-{processes}-seed-{seed}", processes, n, seed)
        for seed in range(seeds)
        for processes in (1, 2)
    ]
    return pd.DataFrame(rows)


def styles() -> dict[str, Style]:
    return {"kaptcha": KAPTCHA, "varied": varied_style((DEJAVU, *free_fonts()))}


def draw_speed(style: Style) -> int:
    """Captchas drawn in a second of one core's time: the median of five."""
    generate_captchas(DRAWN, 0, style)  # fills the caches of glyphs
    seconds = []
    for seed in range(1, 6):
        began = time.process_time()
        generate_captchas(DRAWN, seed, style)
        seconds.append(time.process_time() - began)
    return round(DRAWN / sorted(seconds)[2])


def train(out: Path, processes: int, n: int, seed: int) -> dict:
    """One training on a stream, by command: exact, n, seconds, images_per_second, waited, peak_mb (of any process)."""
    words = ["stream", "--data", "generated", "--n", str(n), "--seed", str(seed), "--threads", "1", "--out", str(out)]
    starter = [sys.executable, "-m"] if processes == 1 else [*torchrun(processes), "-m", "--"]
    began = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*starter, "studies", *words], check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    figures = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    row = {
        "exact": figures["test"]["exact"],
        "n": figures["test"]["n"],
        "seconds": round(seconds, 1),
        "images_per_second": round(n / figures["train_seconds"]),
        "waited": figures["waited"],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / PEAK_UNIT),
    }
    print(f"{n:,} captchas, {processes} processes, seed {seed}: {row}", flush=True)
    return row


def torchrun(processes: int) -> list[str]:
    return [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", str(processes)]


if __name__ == "__main__":
    sys.exit(main())
