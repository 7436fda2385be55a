"""What a reader teaches itself of sets whose labels it is not given: `python -m studies self-taught FOLDER ...`.

Each folder is a set of labelled images. Their labels give the alphabet and the lengths, and score; they teach nothing.
The reader learns from the first `UNLABELLED` pictures, and is scored on others: on those of the folder `fresh` beside
it, or on the rest, if there are enough, or else on the same pictures. With `labels` a person is imitated, who types the
texts of the pictures that the reader is least sure of after it taught itself, and it learns again; these pictures are
not scored, and this is done with the first seed alone.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from captcha_lib.adapting import Adapted, adapt
from captcha_lib.data.load import load_data
from captcha_lib.decode import Length
from captcha_lib.reading.torch_reader import TorchReader, load_start
from captcha_lib.training import weights_digest
from studies.jobs import Job, run_jobs

UNLABELLED, LEAST_TEST = 300, 100  # pictures
COLUMNS = ["set", "labels", "seed", "exact_before", "exact", "exact_expected", "n", "seconds"]


class Set(NamedTuple):
    """Pictures to learn from, pictures to score, both (N, 1, H, W) uint8, and what is given."""

    images: torch.Tensor
    texts: list[str]
    test: torch.Tensor
    test_texts: list[str]
    alphabet: str
    length: Length

    def without(self, asked: list[int]) -> "Set":
        """The same set; what a person was asked for is not scored."""
        if self.test is not self.images:
            return self
        left = [i for i in range(len(self.texts)) if i not in asked]
        return self._replace(test=self.test[left], test_texts=[self.texts[i] for i in left])


def teach_sets(
    folders: dict[str, Path],
    out: Path,
    seeds: int = 3,
    labels: int = 0,
    weights: str | Path = "general",
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """One row a set and seed, and for seed 0 a second one with labels: `COLUMNS`, of which three are counts of n.

    Case is told apart where the alphabet of the set has both.
    """
    work = {}
    for name, folder in folders.items():
        for seed in range(seeds):
            given = 0 if seed else labels
            identity = {"set": name, "seed": seed, "labels": given}
            work[f"{name}-{seed}"] = Job(teach_set, (name, folder, seed, given, weights), identity)
    found = run_jobs(out, work, {"start": weights_digest(load_start(weights))}, jobs, report)
    return pd.DataFrame([row for figures in found.values() for row in figures["rows"]], columns=COLUMNS)


def teach_set(name: str, folder: Path, seed: int, labels: int, weights: str | Path) -> dict:
    """Adapts a reader to one set, and again with some labels: rows of it."""
    start, began = load_start(weights), time.perf_counter()
    data = load_set(folder, start)
    adapted = adapt(data.images, start, data.alphabet, data.length, seed=seed)

    def row(labels: int, before: TorchReader, after: Adapted, scored: Set) -> dict:
        counts, n = [exact(reader, scored) for reader in (before, after.reader)], len(scored.test_texts)
        seconds = round(time.perf_counter() - began, 1)
        values = (name, labels, seed, *counts, round(after.expected * n, 1), n, seconds)
        return dict(zip(COLUMNS, values, strict=True))

    rows = [row(0, start, adapted, data)]
    if labels:
        sure = [reading.confidence for reading in adapted.read(data.images)]
        asked = np.argsort(sure, kind="stable")[:labels].tolist()
        known = {i: data.texts[i] for i in asked}
        taught = adapt(data.images, adapted, data.alphabet, data.length, known, seed)
        rows.append(row(labels, adapted.reader, taught, data.without(asked)))
    return {"rows": rows, "said": ", ".join(f"{one['exact_before']} -> {one['exact']} of {one['n']}" for one in rows)}


def load_set(folder: Path, reader: TorchReader) -> Set:
    """The pictures of a set at the size that the reader takes; see the module."""
    captchas = load_data(str(folder), size=reader.image_size, skip_bad=True)
    characters = "".join(c for c in captchas.alphabet.characters if c in reader.alphabet.characters)
    lengths = sorted(map(len, captchas.labels))
    length = lengths[0] if lengths[0] == lengths[-1] else (lengths[0], lengths[-1])
    mine, fresh = captchas.rows(slice(UNLABELLED)), fresh_folder(folder)
    others = (
        load_data(str(fresh), size=reader.image_size, skip_bad=True)
        if fresh
        else captchas.rows(slice(UNLABELLED, None))
    )
    images, texts = mine.images, mine.labels
    test = (others.images, others.labels) if len(others) >= LEAST_TEST else (images, texts)
    return Set(images, texts, *test, characters, length)


def fresh_folder(folder: Path) -> Path | None:
    """The folder with other images of the kind, if there is one beside a set."""
    fresh = folder.parent / "fresh"
    return fresh if fresh.is_dir() else None


def exact(reader: TorchReader, data: Set) -> int:
    """How many of the test pictures are read exactly, alphabet and length given."""
    readings = reader.decode(reader.logits(data.test), data.length, data.alphabet)
    return sum(one.text == text for one, text in zip(readings, data.test_texts, strict=True))
