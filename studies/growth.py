"""What more images would bring: exact match after a quarter, half and all of the training images, drawn further."""

from collections.abc import Callable

import joblib
import numpy as np
import pandas as pd

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.metrics import count_exact
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.training import fit
from studies.jobs import one_thread, run_in_processes

SHARES = (4, 2)  # a quarter, a half
STEEPEST = -2.0  # of an error against the number of images on logarithmic scales; real ones are seldom beyond -1


def learning_curve(
    captchas: Captchas,
    config: Callable[[int], Config],
    reader: TorchReader,
    start: TorchReader | None = None,
    jobs: int = 2,
) -> pd.DataFrame:
    """Trains on a quarter and a half of the training images; both and `reader` read the test images.

    The validation images are left out: the best epoch of `reader` was chosen by them.

    Args:
        captchas: a split data set.
        config: the hyperparameters for a number of images.
        reader: what was trained on all training images.
        start: what each training starts from.
        jobs: processes at a time.

    Returns:
        one row a number of images: images, exact, n, rate; the last row, of twice the images, has an estimated rate
        alone.

    Raises:
        InputError: too few training images.
    """
    captchas = captchas.replace(paths=[])  # a file in a zip cannot be sent to a process
    train, test = captchas.subset("train"), captchas.subset("test")
    if len(train) < max(SHARES):
        raise InputError(f"{captchas.source}: {len(train)} training images cannot be quartered; give more")
    order = np.random.default_rng(0).permutation(len(train))
    parts = [train.rows(order[: len(train) // share]) for share in SHARES]
    calls = (joblib.delayed(_read_after)(part, test, config(len(part)), start) for part in parts)
    points = [*run_in_processes(calls, jobs), (len(train), _count(reader, test))]
    return _table(points, len(test))


def extrapolate(images: list[int], rates: list[float], n: int, twice: int) -> float:
    """The exact match to expect from `twice` images: a straight line through the errors on logarithmic scales.

    Args:
        images: numbers of training images.
        rates: exact match after each, 0..1.
        n: images that these were measured on; a smaller error than half an image of them counts as that.
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
        f"of {n} test images it read {said} training images. With twice the images expect about {beyond['rate']:.0%}."
    )


def _table(points: list[tuple[int, int]], n: int) -> pd.DataFrame:
    images, exact = zip(*sorted(points), strict=True)
    rates = [count / n for count in exact]
    expected = extrapolate(list(images), rates, n, 2 * images[-1])
    rows = [{"images": i, "exact": e, "n": n, "rate": r} for i, e, r in zip(images, exact, rates, strict=True)]
    return pd.DataFrame([*rows, {"images": 2 * images[-1], "rate": expected}])


@one_thread()
def _read_after(train: Captchas, test: Captchas, config: Config, start: TorchReader | None) -> tuple[int, int]:
    """A job: trains, and counts the texts that it reads; (training images, texts)."""
    reader, _ = fit(train, None, config, start)
    return len(train), _count(reader, test)


def _count(reader: TorchReader, test: Captchas) -> int:
    return count_exact(reader.spell(reader.logits(test.images)), test.labels)
