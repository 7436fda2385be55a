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

from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.generator.style import Style
from captcha_lib.metrics import count_exact
from captcha_lib.model import CRNN
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import config_for
from captcha_lib.training import fit, weights_digest
from studies.captchas import concatenate, generated_captchas
from studies.jobs import Job, run_jobs

SIZES = (0, 10, 25, 50, 100, 200, 400)
# An epoch shows at least as many images: fewer labelled ones are repeated, every time in another warp.
PER_EPOCH = 802
# For the official sets. Chosen on generated captchas: 100 labels read 996 and 997 of 1,000 after 48 epochs, 991 and 992
# after 24.
SCRATCH = replace(Config(), epochs=48, per_epoch=PER_EPOCH)
# The network can read already, so there is no warm-up, and the steps are small.
ON_TOP = replace(Config(), epochs=8, warmup_epochs=0, augment_ramp=0, learning_rate=1e-3)
_BESIDE_SEEDS = 20_000  # their generated captchas differ from those that the networks saw before


def sizes_for(images: int) -> tuple[int, ...]:
    """The numbers of labels to try where there are `images` for training: up to all of them, about doubling."""
    sizes = [size for size in SIZES if size < 0.75 * images]
    while SIZES[-1] <= sizes[-1] < 0.375 * images:
        sizes.append(2 * sizes[-1])
    return (*sizes, images)


def label_curve(
    captchas: Captchas,
    starts: list[TorchReader],
    style: Style,
    out: Path,
    sizes: tuple[int, ...],
    scratch: Config | None,
    on_top: Config,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Trains with every number of labels, draw and start, and reads the test images.

    Args:
        captchas: a split data set. Labels are drawn from its training images; its validation images are not used.
        starts: a network for each draw that has learnt from generated captchas alone, see `zero.learn`.
        style: of the generated captchas that are trained on beside the labelled images.
        out: the folder of the jobs' results; finished jobs are taken from there.
        sizes: numbers of labels, see `sizes_for`; those that are larger than the training set are left out.
        scratch: the hyperparameters from scratch; None takes those of `config_for` for each number of labels.
        on_top: the hyperparameters on top of a start. The seed of both is the draw's number.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        one row a training: labels, start, draw, exact, n, seconds.
    """
    captchas = captchas.replace(paths=[])  # a file in a zip cannot be sent to a process
    train, test = captchas.subset("train"), captchas.subset("test")
    work = {}
    for draw, reader in enumerate(starts):
        order = np.random.default_rng(draw).permutation(len(train))
        of_top, own = replace(on_top, seed=draw), {"start": weights_digest(reader)}
        for labels in (size for size in sizes if size <= len(train)):
            taught = train.rows(order[:labels]).replace(alphabet=reader.alphabet)
            of_scratch = replace(scratch or config_for(max(1, labels)), seed=draw)
            work[f"scratch-{labels}-{draw}"] = Job(_scratch, (taught, test, of_scratch), own)
            work[f"generated-{labels}-{draw}"] = Job(_on_top, (taught, test, reader, style, of_top), own)
    identity = {"train": train.identity(), "test": test.identity(), "style": style.identity()}
    identity |= {"scratch": asdict(scratch) if scratch else {}, "on_top": asdict(on_top)}
    return pd.DataFrame(run_jobs(out, work, identity, jobs, report).values())


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each start and number of labels: draws, n, mean, lowest and highest exact match, as fractions of 1."""
    rates = table.assign(rate=table["exact"] / table["n"]).groupby(["start", "labels"], sort=True)
    return rates.agg(
        draws=("draw", "size"), n=("n", "first"), mean=("rate", "mean"), lowest=("rate", "min"), highest=("rate", "max")
    ).reset_index()


def _scratch(taught: Captchas, test: Captchas, config: Config) -> dict:
    if len(taught):
        reader, history = fit(taught, None, config)
        return _scored(reader, test, len(taught), "scratch", config, history)
    torch.manual_seed(config.seed)
    untrained = CRNN(taught.alphabet.num_classes, test.size[0], config.channels, config.hidden).eval()
    reader = TorchReader(taught.alphabet, test.size, test.length, model=untrained)
    return _scored(reader, test, 0, "scratch", config)


def _on_top(taught: Captchas, test: Captchas, reader: TorchReader, style: Style, config: Config) -> dict:
    if not len(taught):
        return _scored(reader, test, 0, "generated", config)
    beside = generated_captchas(PER_EPOCH, _BESIDE_SEEDS + config.seed, style)
    both = concatenate(taught.repeated(PER_EPOCH), beside).replace(alphabet=reader.alphabet, paths=[])
    reader, history = fit(both, None, config, start=reader)
    return _scored(reader, test, len(taught), "generated", config, history)


def _scored(
    reader: TorchReader, test: Captchas, labels: int, start: str, config: Config, history: pd.DataFrame | None = None
) -> dict:
    texts = reader.spell(reader.logits(test.images), length=test.length or 0)
    return {
        "labels": labels,
        "start": start,
        "draw": config.seed,
        "exact": count_exact(texts, test.labels),
        "n": len(test),
        "seconds": 0.0 if history is None else round(float(history["seconds"].iloc[-1]), 1),
    }
