"""Reading captchas without one label of theirs: learn from generated ones, then from the unlabelled pictures.

*Pure* networks see generated captchas alone. *Adapted* ones go on with the pictures that are to be read, each under the
text that the network itself reads there, where it is sure (self-training: Scudder, IEEE Transactions on Information
Theory 1965; Lee, "Pseudo-Label", ICML workshop 2013). No function here takes a true label.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from captcha_lib import metrics
from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.batches import Stream
from captcha_lib.data.captchas import Captchas, concatenate, generated_captchas, in_memory
from captcha_lib.generator.style import DEJAVU, DEJAVU_MONO, Style
from studies.fonts import free_fonts, varied_style
from captcha_lib.reading.torch_reader import Reader
from captcha_lib.runs import results
from captcha_lib.training import fit, silent
from studies.jobs import run_jobs

_ADAPT_SEEDS = 10_000  # their generated captchas are none of those that a pure network saw
_PURE = replace(Config(), augment_strength=0.5, ema_decay=0.99)
# The network can read already: no warm-up, smaller steps, and the full warps, so that it does not learn its own
# mistakes by heart.
_ADAPT = replace(Config(), epochs=6, warmup_epochs=0, augment_ramp=0, learning_rate=1e-3, ema_decay=0.99)


@dataclass(frozen=True)
class Recipe:
    """How networks learn without labels.

    Chosen without a label, too: by how sure networks were of the Kaggle pictures, and how many they read as five
    characters.
    """

    pure: Config = _PURE
    # Generated captchas an epoch: 192,000 in all, six minutes on one core.
    per_epoch: int = 8000
    adapt: Config = _ADAPT
    rounds: int = 2
    # From this confidence on a reading is believed.
    sure: float = 0.9
    # In an epoch each believed picture is seen so often, beside so many newly generated ones.
    repeats: int = 2
    beside: int = 2000


RECIPE = Recipe()


def style_for(source: str, size: tuple[int, int], characters: str) -> Style:
    """What the training pictures look like: all fonts there are, but never the one that the data set is known to have.

    Args:
        source: of the captchas that are to be read; the generated ones are set in DejaVu Sans Bold.
        size: (H, W) of their pictures in px.
        characters: those that they may hold.
    """
    fonts = free_fonts() if source == "generated" else (DEJAVU, DEJAVU_MONO, *free_fonts())
    return replace(varied_style(fonts), characters=characters, height=size[0], width=size[1])


def learn(style: Style, seed: int, recipe: Recipe, scrambled: bool = False) -> Reader:
    """Trains on generated captchas alone; the weights are those of the last epoch.

    Args:
        style: what they look like.
        seed: of the captchas, the weights and the warps.
        recipe: how many captchas, and the hyperparameters.
        scrambled: gives every picture another one's text: a control, which has to read nothing.
    """
    stream = Stream(recipe.per_epoch, style, seed, workers=0, scrambled=scrambled)
    config = replace(recipe.pure, seed=seed)
    reader, _ = fit(stream, None, Alphabet.of([style.characters]), config, report=silent)
    return reader


def adapt(reader: Reader, images: torch.Tensor, style: Style, seed: int, recipe: Recipe) -> Reader:
    """Trains a reader further on pictures without labels, beside newly generated ones.

    In each round it reads the pictures, takes those that it is sure of under its own texts, and learns from them.

    Args:
        reader: what `learn` returned.
        images: unlabelled pictures (N, 1, H, W) uint8.
        style: of the generated captchas beside them.
        seed: of these, and of the training.
        recipe: of the rounds.
    """
    config = replace(recipe.adapt, seed=seed)
    for round_ in range(recipe.rounds):
        readings = reader.read(images)
        own = in_memory([reading.text for reading in readings], images, "pseudo-labelled")
        sure = np.array([i for i, reading in enumerate(readings) if reading.confidence >= recipe.sure], dtype=int)
        beside = generated_captchas(recipe.beside, _ADAPT_SEEDS + recipe.rounds * seed + round_, style)
        taught = concatenate(beside, own.rows(np.tile(sure, recipe.repeats)))
        reader, _ = fit(taught, None, reader.alphabet, config, report=silent, start=reader)
    return reader


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
        out: the folder of the jobs, which holds `seed-0-pure.pth` and so on; what is done is taken from there.
        seeds: how many: 0, 1, 2, ...
        recipe: how they learn.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        one row a picture, seed and kind ("pure", "adapted"; "control" with seed 0): file, label, text, best_path, kind,
        seed, seconds (of training, for the kind).
    """
    images = captchas.images
    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()[:8]
    identity = {"recipe": asdict(recipe), "style": style.identity(), "images": digest}
    work = {f"seed-{seed}": (_train_and_read, (images, style, seed, recipe, out)) for seed in range(seeds)}
    work["control"] = (_train_and_read_scrambled, (images, style, recipe))
    found = run_jobs(out, work, identity, jobs, report)
    readings = [reading for figures in found.values() for reading in figures["readings"]]
    return pd.concat(
        [captchas.manifest[["file", "label"]].assign(**reading) for reading in readings], ignore_index=True
    )


def weights_file(seed: int, kind: str) -> str:
    """What `read_without_labels` calls the weights of a seed and a kind."""
    return f"seed-{seed}-{kind}.pth"


def summarise(readings: pd.DataFrame) -> dict:
    """The figures of `read_without_labels`: for each kind n, seeds, the mean and spread of exact match as fractions of
    1, and counts by seed, decoded to the known length and by the best path.
    """
    return {kind: _figures(table) for kind, table in readings.groupby("kind", sort=False)}


def zero_figures(captchas: Captchas, style: Style, recipe: Recipe, figures: dict) -> dict:
    """What zero_labels.json holds: the figures of `summarise`, and what they depended on."""
    depended_on = {"recipe": asdict(recipe), "style": style.identity(), "threads_per_job": 1}
    return {"data": captchas.source} | figures | depended_on | results.machine()


def _figures(table: pd.DataFrame) -> dict:
    by_seed = [readings for _, readings in table.groupby("seed")]
    n = len(by_seed[0])
    exact = [int((readings["text"] == readings["label"]).sum()) for readings in by_seed]
    rates = np.array(exact) / n
    low, high = metrics.wilson_interval(sum(exact), n * len(exact))
    return {
        "n": n,
        "seeds": len(by_seed),
        "exact_mean": float(rates.mean()),
        "exact_std": float(rates.std(ddof=1)) if len(by_seed) > 1 else None,
        "exact_low": low,
        "exact_high": high,
        "exact_by_seed": exact,
        "exact_by_seed_best_path": [int((readings["best_path"] == readings["label"]).sum()) for readings in by_seed],
        "train_seconds_median": float(np.median([readings["seconds"].iloc[0] for readings in by_seed])),
    }


def _train_and_read(images: torch.Tensor, style: Style, seed: int, recipe: Recipe, out: Path) -> dict:
    """A job: both kinds of one seed. It knows no label."""
    began = time.perf_counter()
    pure = learn(style, seed, recipe)
    between = time.perf_counter()
    adapted = adapt(pure, images, style, seed, recipe)
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


def _read(reader: Reader, images: torch.Tensor, kind: str, seed: int, seconds: float) -> dict:
    logits = reader.logits(images)
    texts = {"text": reader.spell(logits), "best_path": reader.spell(logits, length=0)}
    return texts | {"kind": kind, "seed": seed, "seconds": round(seconds, 1)}
