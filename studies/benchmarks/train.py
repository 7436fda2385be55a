"""Measures time to accuracy: seconds until the weights read 98 % of the official test: `make bench-train`.

The clock starts when the images are in memory and includes building the network and reading the test images after each
epoch. The test images are only watched: no weights are chosen by them.
"""

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from captcha_lib import Config, Session, fit, load_data, split_captchas
from captcha_lib.config import RUN_DIR, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.files import replacing, write_csv
from captcha_lib.runs.results import machine, write_json
from studies.plots import plot_time_to_accuracy

TARGET = 0.98
EPOCHS = 16  # two thirds of the default's; with 12, one of twenty runs stopped short of the target, at 131 of 134


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", help="generated, kaggle, or a folder or zip (CAPTCHA_DATA, else generated)")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=RUN_DIR, help="for bench_train.json and bench_train.csv")
    options = parser.parse_args()
    try:
        captchas = split_captchas(load_data(options.data), "official")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(captchas.summary(), flush=True)
    set_ups = [("cpu", threads) for threads in options.threads]
    set_ups += [("cuda", torch.get_num_threads())] if torch.cuda.is_available() else []
    epochs = pd.concat([time_seeds(captchas, device, threads, options) for device, threads in set_ups])
    figures = {"n": len(captchas.subset("test")), "target": TARGET, "epochs": options.epochs, "cuda": None}
    for (device, threads), table in epochs.groupby(["device", "threads"]):
        figures["cuda" if device == "cuda" else f"threads_{threads}"] = summarise(table)
    write_csv(options.out / "bench_train.csv", epochs)
    write_json(options.out / "bench_train.json", figures | machine())
    with replacing(options.out / "time_to_accuracy.png") as part:
        plot_time_to_accuracy(epochs, TARGET).savefig(part, dpi=120)
    return 0


def time_seeds(captchas: Captchas, device: str, threads: int, options: argparse.Namespace) -> pd.DataFrame:
    """Trains once a seed: one row an epoch with device, threads, seed, epoch, seconds, exact and n."""
    torch.set_num_threads(threads)
    fit_once(captchas, 0, 1, device)  # the first steps of a process pay for what torch sets up
    tables = []
    for seed in range(options.seeds):
        table = fit_once(captchas, seed, options.epochs, device)
        tables.append(table.assign(device=device, threads=threads, seed=seed))
        print(f"{device}, {threads} threads, seed {seed}: {describe(table)}", flush=True)
    return pd.concat(tables)[["device", "threads", "seed", "epoch", "seconds", "exact", "n"]]


def fit_once(captchas: Captchas, seed: int, epochs: int, device: str) -> pd.DataFrame:
    """One training with the test images in the place of validation: epoch, seconds since its start, exact, n."""
    train, test = captchas.subset("train"), captchas.subset("test")
    seconds: list[float] = []
    began = time.perf_counter()
    config = replace(Config(), seed=seed, epochs=epochs)
    session = Session(device=device, report=lambda line: seconds.append(time.perf_counter() - began))
    _, history = fit(train, test, config, session=session)
    history = history.rename(columns={"val_exact": "exact", "val_n": "n"})[["epoch", "exact", "n"]]
    return history.assign(seconds=seconds).round({"seconds": 2})


def reached(table: pd.DataFrame) -> pd.DataFrame:
    """The epochs of one seed from the first that reads enough of the test on."""
    enough = math.ceil(TARGET * table["n"].iloc[0])
    return table[(table["exact"] >= enough).cummax()]


def summarise(table: pd.DataFrame) -> dict:
    """The figures of one set-up; a seed that never got there counts as infinitely slow, written as None."""
    seeds = [seed for _, seed in table.groupby("seed")]
    first = [reached(seed).head(1) for seed in seeds]
    seconds = [float(row["seconds"].iloc[0]) if len(row) else math.inf for row in first]
    last = [seed.iloc[-1] for seed in seeds]
    return {
        "n": len(seeds),
        "seconds_median": _finite(float(pd.Series(seconds).median())),
        "seconds_max": _finite(max(seconds)),
        "seconds_min": _finite(min(seconds)),
        "seconds_by_seed": [_finite(spent) for spent in seconds],
        "epoch_by_seed": [int(row["epoch"].iloc[0]) if len(row) else None for row in first],
        "exact_mean": float(sum(row["exact"] / row["n"] for row in last) / len(last)),
        "exact_min": float(min(row["exact"] / row["n"] for row in last)),
        "seconds_all_epochs_median": float(pd.Series([row["seconds"] for row in last]).median()),
    }


def _finite(seconds: float) -> float | None:
    """JSON knows no infinity."""
    return seconds if math.isfinite(seconds) else None


def describe(table: pd.DataFrame) -> str:
    first, last = reached(table).head(1), table.iloc[-1]
    when = f"{first['seconds'].iloc[0]:.1f} s (epoch {first['epoch'].iloc[0]})" if len(first) else "never"
    return f"{TARGET:.0%} after {when}; in the end {last['exact']:.0f} of {last['n']:.0f}, {last['seconds']:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
