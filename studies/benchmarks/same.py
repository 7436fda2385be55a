"""Trains the same seeds with other numbers of threads, and without bfloat16: `make bench-same`.

The same seed on the same machine with the same threads gives the same weights, bit for bit. Sums are taken in another
order by other threads, and rounded otherwise in another precision; here is what that changes.
"""

import argparse
import hashlib
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from captcha_lib import load_data, split_captchas
from captcha_lib.config import RUN_DIR
from captcha_lib.data.captchas import Captchas
from captcha_lib.files import write_csv
from captcha_lib.metrics import count_exact
from captcha_lib.recipe import config_for
from captcha_lib.runs.results import machine, write_json
from captcha_lib.training import fit

THREADS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", help="as for `train`; the official split (CAPTCHA_DATA, else generated)")
    parser.add_argument("--seeds", type=int, default=5, help="of each setting (%(default)s)")
    parser.add_argument("--out", type=Path, default=RUN_DIR, help="for same.csv and same.json")
    options = parser.parse_args()
    captchas = split_captchas(load_data(options.data), "official")
    rows = []
    for threads, bfloat16, seed in product(THREADS, (True, False), range(options.seeds)):
        rows.append(train(captchas, threads, bfloat16, seed))
        print(rows[-1], flush=True)
    write_csv(options.out / "same.csv", pd.DataFrame(rows))
    write_json(options.out / "same.json", {"data": captchas.source} | machine())


def train(captchas: Captchas, threads: int, bfloat16: bool, seed: int) -> dict:
    """One training: threads, precision, seed, exact, n, seconds, and the first digits of its weights' checksum."""
    torch.set_num_threads(threads)
    train_images, val, test = (captchas.subset(name) for name in ("train", "val", "test"))
    config = replace(config_for(len(train_images)), seed=seed, bfloat16=bfloat16)
    reader, history = fit(train_images, val, config)
    readings = reader.read(test.images)
    weights = b"".join(tensor.numpy().tobytes() for tensor in reader.model.state_dict().values())
    return {
        "threads": threads,
        "precision": machine("cpu", bfloat16)["precision"],
        "seed": seed,
        "exact": count_exact((reading.text for reading in readings), test.labels),
        "n": len(test),
        "seconds": round(float(history["seconds"].iloc[-1]), 1),
        "weights": hashlib.sha256(weights).hexdigest()[:8],
    }


if __name__ == "__main__":
    main()
