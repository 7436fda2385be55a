"""Reading captchas without one label of theirs: learn from generated ones, then from the unlabelled pictures.

*Pure* networks see generated captchas alone. *Adapted* ones teach themselves the pictures that are to be read, as
`captcha_lib.adapt` does. No function here takes a true label.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from captcha_lib import adapting
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.generator.style import DEJAVU, DEJAVU_MONO, Style
from captcha_lib.metrics import count_exact
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.runs import results
from captcha_lib.training import fit
from studies.confidence import clustered_interval
from studies.fonts import free_fonts, varied_style
from studies.jobs import Job, run_jobs
from studies.stream import Stream

_PURE = replace(Config(), augment_strength=0.5, ema_decay=0.99)


@dataclass(frozen=True)
class Recipe:
    """How networks learn without labels.

    Chosen without a label, too: by how sure networks were of the Kaggle pictures, and how many they read as five
    characters.
    """

    pure: Config = _PURE
    # Generated captchas an epoch: 192,000 in all, six minutes on one core.
    per_epoch: int = 8000


RECIPE = Recipe()


def styled(style: Style, captchas: Captchas) -> Style:
    """A style with the characters, the lengths and the size of labelled captchas."""
    characters, lengths = captchas.alphabet.characters, [len(label) for label in captchas.labels]
    if set(characters) == set(style.characters):
        characters = style.characters  # in which some may be more frequent
    height, width = captchas.size
    length = min(lengths), max(lengths)
    return replace(style, characters=characters, length=length, height=height, width=width)


def style_for(captchas: Captchas, characters: str | None = None, length: tuple[int, int] | None = None) -> Style:
    """What the training pictures look like: all fonts there are, but never the one that the data set is known to have.

    Args:
        captchas: what is to be read; the generated ones are set in DejaVu Sans Bold. Of their labels the characters and
            the lengths are taken, which a reader without labels is told.
        characters: those that occur, instead.
        length: the shortest and the longest text, instead.
    """
    fonts = free_fonts() if captchas.source == "generated" else (DEJAVU, DEJAVU_MONO, *free_fonts())
    style = styled(varied_style(fonts), captchas)
    return replace(style, characters=characters or style.characters, length=length or style.length)


def learn(style: Style, seed: int, recipe: Recipe, scrambled: bool = False) -> TorchReader:
    """Trains on generated captchas alone; the weights are those of the last epoch.

    Args:
        style: what they look like.
        seed: of the captchas, the weights and the warps.
        recipe: how many captchas, and the hyperparameters.
        scrambled: gives every picture another one's text: a control, which must not be able to read.
    """
    stream = Stream(recipe.per_epoch, style, seed, workers=0, scrambled=scrambled)
    return fit(stream, None, replace(recipe.pure, seed=seed))[0]


def adapt(reader: TorchReader, images: torch.Tensor, style: Style, seed: int) -> TorchReader:
    """Lets a network that `learn` returned teach itself pictures (N, 1, H, W), which have the texts of a style."""
    least, most = style.length
    length = least if least == most else style.length
    return adapting.adapt(images, reader, style.characters, length, seed=seed).reader


def read_without_labels(
    captchas: Captchas,
    style: Style,
    out: Path,
    seeds: int = 5,
    recipe: Recipe = RECIPE,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Trains pure and adapted networks with several seeds, and a control; all of them read all pictures.

    The processes that train get the pictures alone. Their readings are compared with the labels when all are done.

    Args:
        captchas: what is to be read.
        style: see `style_for`.
        out: the folder of the jobs, which holds `seed-0-pure.pth` and so on; finished jobs are taken from there.
        seeds: how many: 0, 1, 2, ...
        recipe: how they learn.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        one row a picture, seed and kind ("pure", "adapted"; "control" with seed 0): file, label, text, best_path, kind,
        seed, seconds (of training, for the kind). Raises InputError for fewer pictures than adapting takes.
    """
    adapting.check_number(len(captchas))  # before hours of training
    images = captchas.images
    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()[:8]
    identity = {"recipe": asdict(recipe), "style": style.identity(), "images": digest}
    work = {f"seed-{seed}": Job(_train_and_read, (images, style, seed, recipe, out)) for seed in range(seeds)}
    work["control"] = Job(_train_and_read_scrambled, (images, style, recipe))
    found = run_jobs(out, work, identity, jobs, report)
    readings = [reading for figures in found.values() for reading in figures["readings"]]
    return pd.concat(
        [captchas.manifest[["file", "label"]].assign(**reading) for reading in readings], ignore_index=True
    )


def weights_file(seed: int, kind: str) -> str:
    """What `read_without_labels` calls the weights of a seed and a kind."""
    return f"seed-{seed}-{kind}.pth"


def summarise(readings: pd.DataFrame) -> dict:
    """The figures of `read_without_labels`, for each kind: n, seeds, exact match as fractions of 1 with its 95 %
    interval over images and seeds, and counts by seed, decoded to the known length and by the best path.
    """
    return {kind: _figures(table) for kind, table in readings.groupby("kind", sort=False)}


def zero_figures(captchas: Captchas, style: Style, recipe: Recipe, figures: dict) -> dict:
    """What zero_labels.json holds: the figures of `summarise`, and what they depended on."""
    depended_on = {"recipe": asdict(recipe), "style": style.identity(), "threads_per_job": 1}
    return {"data": captchas.source} | figures | depended_on | results.machine()


def _figures(table: pd.DataFrame) -> dict:
    by_seed = [readings for _, readings in table.groupby("seed")]
    right = np.stack([(readings["text"] == readings["label"]).to_numpy() for readings in by_seed])  # (S, N)
    seeds, n = right.shape
    low, high = clustered_interval(right)
    return {
        "n": n,
        "seeds": seeds,
        "exact_mean": float(right.mean()),
        "exact_std": float(right.mean(1).std(ddof=1)) if seeds > 1 else None,
        "exact_low": low,
        "exact_high": high,
        "exact_by_seed": right.sum(1).tolist(),
        "exact_by_seed_best_path": [count_exact(one["best_path"], one["label"]) for one in by_seed],
        "train_seconds_median": float(np.median([readings["seconds"].iloc[0] for readings in by_seed])),
    }


def _train_and_read(images: torch.Tensor, style: Style, seed: int, recipe: Recipe, out: Path) -> dict:
    """A job: both kinds of one seed. It knows no label."""
    began = time.perf_counter()
    pure = learn(style, seed, recipe)
    between = time.perf_counter()
    adapted = adapt(pure, images, style, seed)
    seconds = {"pure": between - began, "adapted": time.perf_counter() - began}
    readers = {"pure": pure, "adapted": adapted}
    for kind, reader in readers.items():
        reader.save(out / weights_file(seed, kind))
    readings = [_read(reader, images, kind, seed, seconds[kind]) for kind, reader in readers.items()]
    return {"readings": readings, "seconds": round(seconds["adapted"], 1)}


def _train_and_read_scrambled(images: torch.Tensor, style: Style, recipe: Recipe) -> dict:
    began = time.perf_counter()
    reader = learn(style, 0, recipe, scrambled=True)
    seconds = time.perf_counter() - began
    return {"readings": [_read(reader, images, "control", 0, seconds)], "seconds": round(seconds, 1)}


def _read(reader: TorchReader, images: torch.Tensor, kind: str, seed: int, seconds: float) -> dict:
    logits = reader.logits(images)
    texts = {"text": reader.spell(logits), "best_path": reader.spell(logits, length=0)}
    return texts | {"kind": kind, "seed": seed, "seconds": round(seconds, 1)}
