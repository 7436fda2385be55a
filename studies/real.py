"""How the defaults of `train` learn real sets, from few labels and from all: `python -m studies real FOLDER ...`.

Each folder is a set of labelled images. What is learnt is scored on others: on those of the folder `fresh` beside it,
or on those of the set that were not taken. Where all labels are taken and there is no such folder, the set is
cross-validated: each fifth is read by a network that learnt from the others. Where ddddocr is installed, it reads the
same images, untrained: the better of its two models for each set, both cases of a letter taken as one.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

from captcha_lib import train
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import load_data
from captcha_lib.metrics import count_exact
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.training import silent
from studies.benchmarks.first_sight import GIVEN, right_folded, theirs
from studies.benchmarks.readers import PEERS_PYTHON
from studies.jobs import Job, run_jobs
from studies.self_taught import LEAST_TEST, fresh_folder

LABELS, ALL, FOLDS = (30, 100, 300), 0, 5
PEER, PEER_MODELS = ("ddddocr_plain", "ddddocr_given"), ("ddddocr", "ddddocr beta")
COLUMNS = ["set", "labels", "seed", "exact", "n", "seconds", *PEER]


class Part(NamedTuple):
    """What of a set is learnt: so many labels, or `ALL`; and of these all but one fold, where it is cross-validated."""

    labels: int
    seed: int
    fold: int | None = None

    def __str__(self) -> str:
        fold = "" if self.fold is None else f"-fold-{self.fold}"
        return f"{self.labels or 'all'}-{self.seed}{fold}"


def learn_sets(
    folders: dict[str, Path],
    out: Path,
    labels: tuple[int, ...] = (*LABELS, ALL),
    seeds: int = 3,
    jobs: int = 2,
    report: Callable[[str], None] = print,
    peers: Path = PEERS_PYTHON,
) -> pd.DataFrame:
    """One row a training, or a set's cross-validation: `COLUMNS`; counts of n, and the seconds of a training.

    A number of labels that leaves fewer than `LEAST_TEST` images to read is left out. `peers` is the Python that has
    ddddocr; without it its columns are empty.
    """
    parts = [(name, part) for name, folder in folders.items() for part in parts_of(folder, labels, seeds)]
    work = {
        f"{name}-{part}": Job(learn_part, (folders[name], part), {"set": name, "part": list(part)})
        for name, part in parts
    }
    found = run_jobs(out, work, {}, jobs, report)
    right = read_by_peer(folders, out / "ddddocr", peers, report) if peers.exists() else {}
    table = pd.DataFrame(
        [
            {"set": name, "asked": part.labels, "seed": part.seed, **figures, **_peer_counts(right.get(name), part)}
            for (name, part), figures in zip(parts, found.values(), strict=True)
        ]
    )
    folds = table.groupby(["set", "asked", "seed"], sort=False)
    counts = {name: (name, lambda some: some.sum(min_count=1)) for name in ("exact", "n", *PEER)}
    summed = folds.agg(labels=("labels", "min"), seconds=("seconds", "mean"), **counts)
    return summed.reset_index().round({"seconds": 1}).astype(dict.fromkeys(PEER, "Int64"))[COLUMNS]


def read_by_peer(
    folders: dict[str, Path], out: Path, peers: Path, report: Callable[[str], None] = print
) -> dict[str, dict]:
    """Which images ddddocr reads exactly of each set, of the folder `fresh` where there is one."""
    work = {name: Job(read_set_by_peer, (folder, peers), {"set": name}) for name, folder in folders.items()}
    return run_jobs(out, work, {}, 1, report)


def read_set_by_peer(folder: Path, peers: Path) -> dict:
    """Of one set; and whether these are fresh images."""
    captchas = load_data(str(fresh_folder(folder) or folder), skip_bad=True)
    found: dict = {"fresh": fresh_folder(folder) is not None}
    for column, given in zip(PEER, GIVEN, strict=True):
        read = [theirs(captchas, model, given, peers) for model in PEER_MODELS]
        found[column] = max((right_folded(texts, captchas.labels) for texts in read), key=sum)
    return found


def _peer_counts(right: dict | None, part: Part) -> dict:
    """How many of the images that a part reads ddddocr reads; not known where it was not asked."""
    if right is None:
        return dict.fromkeys(PEER)
    n = len(right[PEER[0]])
    rows = np.arange(n) if right["fresh"] else rows_of(n, part)[1]
    return {name: int(np.array(right[name])[rows].sum()) for name in PEER}


def parts_of(folder: Path, labels: tuple[int, ...], seeds: int) -> list[Part]:
    """The trainings of a set."""
    n, fresh = len(load_data(str(folder), skip_bad=True)), fresh_folder(folder) is not None
    found = []
    for count in labels:
        folds: list[int | None] = [*range(FOLDS)] if count == ALL and not fresh else [None]
        if count == ALL or count < n - (0 if fresh else LEAST_TEST):
            found += [Part(count, seed, fold) for seed in range(seeds) for fold in folds]
    return found


def learn_part(folder: Path, part: Part) -> dict:
    """Trains with the defaults, and reads what was not learnt: labels, exact, n, seconds."""
    captchas = load_data(str(folder), skip_bad=True)
    learnt, others = rows_of(len(captchas), part)
    began = time.perf_counter()
    with TemporaryDirectory() as out:
        reader = train(captchas.rows(learnt), out, seed=part.seed, report=silent).reader
    seconds = round(time.perf_counter() - began, 1)
    fresh = fresh_folder(folder)
    test = load_data(str(fresh), skip_bad=True) if fresh else captchas.rows(others)
    return {"labels": len(learnt), "exact": exact(reader, test), "n": len(test), "seconds": seconds}


def rows_of(n: int, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """The images of n that are learnt, and those that may be read; a smaller number of labels is part of a larger."""
    order = np.random.default_rng(part.seed).permutation(n)
    if part.fold is not None:
        tested = np.isin(np.arange(n), order[part.fold :: FOLDS])
        return np.flatnonzero(~tested), np.flatnonzero(tested)
    count = part.labels or n
    return np.sort(order[:count]), np.sort(order[count:])


def exact(reader: TorchReader, captchas: Captchas) -> int:
    """How many images are read exactly."""
    images = captchas.seen_through(reader.conversion, reader.image_size).images
    return count_exact([reading.text for reading in reader.read(images)], captchas.labels)
