"""What more images would bring: exact match after a quarter, half and all of the training images, drawn further."""

from collections.abc import Callable

import joblib
import numpy as np
import pandas as pd
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas, in_memory
from captcha_lib.reading.torch_reader import Reader
from captcha_lib.training import fit, silent
from studies.jobs import run_in_processes

SHARES = (4, 2)  # a quarter, a half
STEEPEST = -2.0  # of an error against the number of images on logarithmic scales; real ones are seldom beyond -1


def learning_curve(
    captchas: Captchas,
    alphabet: Alphabet,
    config: Callable[[int], Config],
    reader: Reader,
    start: Reader | None = None,
    jobs: int = 2,
) -> pd.DataFrame:
    """Trains on a quarter and a half of the training images; both and `reader` read the images that none learnt from.

    Args:
        captchas: a split data set.
        alphabet: the characters to learn.
        config: the hyperparameters for a number of images.
        reader: what was trained on all training images.
        start: what each training starts from.
        jobs: processes at a time.

    Returns:
        one row a number of images: images, exact, n, rate; the last row, of twice the images, has an estimated rate
        alone.
    """
    train = captchas.subset("train")
    held = captchas.rows(np.flatnonzero(captchas.manifest["subset"] != "train"))
    order = np.random.default_rng(0).permutation(len(train))
    calls = []
    for share in SHARES:
        part = train.rows(order[: len(train) // share])
        taught = in_memory(part.labels, part.images, captchas.source)  # a file in a zip cannot be sent to a process
        arguments = (taught, held.images, held.labels, alphabet, config(len(part)), start)
        calls.append(joblib.delayed(_read_after)(*arguments))
    points = [*run_in_processes(calls, jobs), (len(train), _count(reader, held.images, held.labels))]
    return _table(points, len(held))


def extrapolate(images: list[int], rates: list[float], n: int, twice: int) -> float:
    """The exact match to expect from `twice` images: a straight line through the errors on logarithmic scales.

    Args:
        images: numbers of training images.
        rates: exact match after each, 0..1.
        n: images that these were measured on; an error below half an image of them cannot be seen.
        twice: another number of training images.
    """
    errors = np.maximum(1 - np.array(rates), 0.5 / n)
    slope = np.polyfit(np.log(images), np.log(errors), 1)[0]
    slope = min(0.0, max(STEEPEST, slope))
    return float(1 - errors[-1] * (twice / images[-1]) ** slope)


def describe(table: pd.DataFrame) -> str:
    """The curve in two sentences."""
    *measured, beyond = table.to_dict("records")
    said = ", ".join(f"{row['rate']:.0%} after {row['images']}" for row in measured)
    n = int(measured[-1]["n"])
    return (
        f"of {n} images that it had not seen it read {said} training images. "
        f"With twice the images expect about {beyond['rate']:.0%}."
    )


def _table(points: list[tuple[int, int]], n: int) -> pd.DataFrame:
    images, exact = zip(*sorted(points), strict=True)
    rates = [count / n for count in exact]
    expected = extrapolate(list(images), rates, n, 2 * images[-1])
    rows = [{"images": i, "exact": e, "n": n, "rate": r} for i, e, r in zip(images, exact, rates, strict=True)]
    return pd.DataFrame([*rows, {"images": 2 * images[-1], "rate": expected}])


def _read_after(
    taught: Captchas, images: torch.Tensor, labels: list[str], alphabet: Alphabet, config: Config, start: Reader | None
) -> tuple[int, int]:
    """A job: trains, and counts the texts that it reads; (training images, texts)."""
    torch.set_num_threads(1)
    reader, _ = fit(taught, None, alphabet, config, report=silent, start=start)
    return len(taught), _count(reader, images, labels)


def _count(reader: Reader, images: torch.Tensor, labels: list[str]) -> int:
    texts = reader.spell(reader.logits(images))
    return sum(text == label for text, label in zip(texts, labels, strict=True))
