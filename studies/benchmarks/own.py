"""Learns sets that the project was not made for, and reads images of their kind: `make bench-own`.

The sets are drawn by the package `captcha`: nine tenths of the labels are for training, a tenth is for validation,
and the test is 2,000 fresh ones. `--data` adds sets of your own, of which a fifth is held out for the test. ddddocr,
given the alphabet and the length of each text, reads the same tests.
"""

import argparse
import json
import string
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import RUN_DIR
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import load_data
from captcha_lib.files import write_csv
from captcha_lib.metrics import count_exact
from captcha_lib.recipe import recipe_for
from captcha_lib.run import run
from captcha_lib.runs.results import machine, write_json
from studies.benchmarks.readers import PEERS_PYTHON
from studies.captchas import concatenate
from studies.evidence import ROOT
from studies.samples import write_samples

FRESH = 2000
UNMISTAKABLE = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Sample:
    """A set of the package `captcha`: how many labelled captchas, of which characters, how long."""

    count: int
    characters: str
    length: tuple[int, int]


SAMPLES = {
    "4 digits": Sample(1000, string.digits, (4, 4)),
    "4 to 6 upper-case letters and digits": Sample(500, UNMISTAKABLE, (4, 6)),
    "4 to 6 mixed-case letters": Sample(5000, string.ascii_letters, (4, 6)),
    "4 to 6 mixed-case letters and digits": Sample(5000, string.ascii_letters + string.digits, (4, 6)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3, help="of the split and the training (%(default)s)")
    parser.add_argument("--sets", nargs="*", default=list(SAMPLES), choices=SAMPLES, help="which (all)")
    parser.add_argument("--data", nargs="*", default=[], help="folders of labelled images, too")
    parser.add_argument("--images", type=int, default=500, help="taken from each of these (%(default)s)")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, help="with ddddocr in it")
    parser.add_argument("--out", type=Path, default=RUN_DIR / "bench-own", help="for own.csv and own.json")
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        labelled, fresh = (load_data(str(_drawn(name, part, options.out))) for part in ("labelled", "fresh"))
        both = concatenate(labelled, fresh)
        for seed in range(options.seeds):
            subsets = draw_subsets(len(labelled), seed, held=0.0) + ["test"] * len(fresh)
            rows.append(learn(name, both, subsets, seed, options))
    for data in options.data:
        captchas = load_data(data)
        some = captchas.rows(np.sort(np.random.default_rng(0).permutation(len(captchas))[: options.images]))
        for seed in range(options.seeds):
            rows.append(learn(captchas.source, some, draw_subsets(len(some), seed, held=0.2), seed, options))
    table = pd.DataFrame(rows)
    write_csv(options.out / "own.csv", table)
    write_json(options.out / "own.json", machine())
    print(table.to_string(index=False))
    return 0


def learn(name: str, captchas: Captchas, subsets: list[str], seed: int, options: argparse.Namespace) -> dict:
    """One training as `train` does it; a row with its figures."""
    split = captchas.replace(manifest=captchas.manifest.assign(subset=subsets))
    result = run(split, recipe_for(split, seed), options.out / f"{name.replace(' ', '-')}-seed-{seed}")
    test = split.subset("test")
    row = {
        "set": name,
        "train": len(split.subset("train")),
        "val": len(split.subset("val")),
        "seed": seed,
        "exact": result.score["exact"],
        "n": len(test),
        "ddddocr": read_by_ddddocr(test, captchas.alphabet, options.peers),
        "seconds": round(float(result.history["seconds"].iloc[-1]), 1),
    }
    print(row, flush=True)
    return row


def draw_subsets(n: int, seed: int, held: float) -> list[str]:
    """Draws a tenth of n images for validation, a share for the test, and the rest for training."""
    val, test = n // 10, round(held * n)
    subsets = ["train"] * (n - val - test) + ["val"] * val + ["test"] * test
    return np.random.default_rng(seed).permutation(subsets).tolist()


def read_by_ddddocr(test: Captchas, alphabet: Alphabet, peers: Path) -> int | None:
    """How many texts ddddocr reads, given the alphabet and each text's length; None where it is not installed."""
    if not peers.exists():
        return None
    lengths = [len(label) for label in test.labels]
    asked = {
        "reader": "ddddocr",
        "characters": alphabet.characters,
        "files": [str(path) for path in test.paths],
        "lengths": lengths,
    }
    return count_exact(ask_peer(asked, peers), test.labels)


def ask_peer(asked: dict, peers: Path) -> list[str]:
    """The texts that a peer reads, see `peer`; `peers` is the Python that has it."""
    command = [str(peers), "-m", "studies.benchmarks.peer"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def _drawn(name: str, part: str, out: Path) -> Path:
    """The folder of a set, or of as many fresh captchas as are read of its kind."""
    sample, folder = SAMPLES[name], out / part / name.replace(" ", "-")
    if not folder.exists():
        count, seed = (sample.count, 0) if part == "labelled" else (FRESH, 1)
        write_samples(folder, count, sample.characters, sample.length, seed)
    return folder


if __name__ == "__main__":
    sys.exit(main())
