"""How many labels does it take? Exact match on a fixed test against the number of labelled images.

Each number of labels is tried with several draws, from scratch and on top of a network that learnt from generated
captchas alone. In one draw the smaller sets are parts of the larger ones.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas, concatenate, generated_captchas, repeated
from captcha_lib.generator.style import Style
from captcha_lib.model import CRNN
from captcha_lib.reading.torch_reader import Reader
from captcha_lib.training import fit, silent
from studies.jobs import run_jobs

SIZES = (0, 10, 25, 50, 100, 200, 400, 802)
# An epoch shows so many images, however few labels there are: each is repeated, every time in another warp.
PER_EPOCH = 802
# Chosen on generated captchas: 100 labels read 996 and 997 of 1,000 after 48 epochs, 991 and 992 after 24.
SCRATCH = replace(Config(), epochs=48, per_epoch=PER_EPOCH)
# The network can read already, so there is no warm-up, and the steps are small.
ON_TOP = replace(Config(), epochs=8, warmup_epochs=0, augment_ramp=0, learning_rate=1e-3)
_BESIDE_SEEDS = 20_000  # their generated captchas are none of those that the networks saw before


def label_curve(
    captchas: Captchas,
    starts: list[Reader],
    style: Style,
    out: Path,
    sizes: tuple[int, ...],
    scratch: Config,
    on_top: Config,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Trains with every number of labels, draw and start, and reads the test images.

    Args:
        captchas: a split data set. Labels are drawn from its training images; its validation images are not used.
        starts: a network for each draw that has learnt from generated captchas alone, see `zero.learn`.
        style: of the generated captchas that are trained on beside the labelled images.
        out: the folder of the jobs' results; what is done is taken from there.
        sizes: numbers of labels; those that are larger than the training set are left out.
        scratch, on_top: the hyperparameters of both starts; the seed is the draw's number.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        one row a training: labels, start, draw, exact, n, seconds.
    """
    train, test = captchas.subset("train"), captchas.subset("test")
    work = {}
    for draw, reader in enumerate(starts):
        order = np.random.default_rng(draw).permutation(len(train))
        for labels in (size for size in sizes if size <= len(train)):
            taught = train.rows(order[:labels])
            of_scratch, of_top = (replace(config, seed=draw) for config in (scratch, on_top))
            work[f"scratch-{labels}-{draw}"] = (_scratch, (taught, test, reader.alphabet, of_scratch))
            work[f"generated-{labels}-{draw}"] = (_on_top, (taught, test, reader, style, of_top))
    identity = {"train": train.identity(), "test": test.identity(), "style": style.identity()}
    identity |= {"scratch": asdict(scratch), "on_top": asdict(on_top)}
    return pd.DataFrame(run_jobs(out, work, identity, jobs, report).values())


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each start and number of labels: draws, n, mean, lowest and highest exact match, as fractions of 1."""
    rates = table.assign(rate=table["exact"] / table["n"]).groupby(["start", "labels"], sort=True)
    return rates.agg(
        draws=("draw", "size"), n=("n", "first"), mean=("rate", "mean"), lowest=("rate", "min"), highest=("rate", "max")
    ).reset_index()


def _scratch(taught: Captchas, test: Captchas, alphabet: Alphabet, config: Config) -> dict:
    if len(taught):
        reader, history = fit(taught, None, alphabet, config, report=silent)
        return _scored(reader, test, len(taught), "scratch", config, history)
    torch.manual_seed(config.seed)
    size = tuple(test.images.shape[2:])
    untrained = CRNN(alphabet.num_classes, size[0], config.channels, config.hidden).eval()
    return _scored(Reader(untrained, alphabet, size, test.length), test, 0, "scratch", config)


def _on_top(taught: Captchas, test: Captchas, reader: Reader, style: Style, config: Config) -> dict:
    if not len(taught):
        return _scored(reader, test, 0, "generated", config)
    beside = generated_captchas(PER_EPOCH, _BESIDE_SEEDS + config.seed, style)
    both = concatenate(repeated(taught, PER_EPOCH), beside)
    reader, history = fit(both, None, reader.alphabet, config, report=silent, start=reader)
    return _scored(reader, test, len(taught), "generated", config, history)


def _scored(
    reader: Reader, test: Captchas, labels: int, start: str, config: Config, history: pd.DataFrame | None = None
) -> dict:
    texts = reader.spell(reader.logits(test.images), length=test.length or 0)
    exact = sum(text == label for text, label in zip(texts, test.labels, strict=True))
    seconds = 0.0 if history is None else round(float(history["seconds"].iloc[-1]), 1)
    return {
        "labels": labels,
        "start": start,
        "draw": config.seed,
        "exact": exact,
        "n": len(test),
        "seconds": seconds,
    }
