"""Readings against labels: exact match, CER, intervals, positions, confusions, calibration. Counts first, divided last.

Everything is computed from the predictions table: file, label, text, confidence, subset.
"""

import math
from collections.abc import Iterable

import jiwer
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, logit

from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import Reading

PREDICTION_COLUMNS = ["file", "label", "text", "confidence", "subset"]


def predictions_table(captchas: Captchas, readings: list[Reading]) -> pd.DataFrame:
    """One row an image: file, label, text, confidence (a probability, six decimals), subset."""
    texts = [reading.text for reading in readings]
    confidences = [round(reading.confidence, 6) for reading in readings]
    return captchas.manifest.assign(text=texts, confidence=confidences)[PREDICTION_COLUMNS]


def count_exact(texts: Iterable[str], labels: Iterable[str]) -> int:
    """How many texts equal their label."""
    return sum(text == label for text, label in zip(texts, labels, strict=True))


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 1927); the counts may be effective ones, see `clustered_interval`."""
    z, share = 1.959963984540054, successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half) if successes else 0.0, min(1.0, centre + half) if successes < n else 1.0


def score(predictions: pd.DataFrame) -> dict[str, float | int]:
    """Exact match with its interval (95 %, Wilson), and character errors with their kinds; `cer` is corpus-wide."""
    n = len(predictions)
    exact = count_exact(predictions["text"], predictions["label"])
    low, high = wilson_interval(exact, n)
    texts = {"n": n, "exact": exact, "exact_rate": exact / n, "exact_low": low, "exact_high": high}
    errors = align_characters(predictions["label"].tolist(), predictions["text"].tolist())
    kinds = {kind: getattr(errors, kind) for kind in ("substitutions", "deletions", "insertions")}
    characters = int(predictions["label"].str.len().sum())
    return {**texts, "characters": characters, **kinds, "cer": sum(kinds.values()) / characters}


def describe(scores: dict[str, float | int]) -> str:
    """A score in one line."""
    return (
        f"exact match {scores['exact']}/{scores['n']} = {scores['exact_rate']:.1%} "
        f"(95 % interval {scores['exact_low']:.1%} to {scores['exact_high']:.1%}), CER {scores['cer']:.2%}"
    )


def describe_epoch(row: dict, epochs: int) -> str:
    """An epoch in one line."""
    said = f"epoch {row['epoch']:2d}/{epochs}  {row['phase']:6s}  CTC loss train {row['train_ctc']:7.3f}  "
    if "val_ctc" in row:
        said += f"val {row['val_ctc']:7.3f}  exact {row['val_exact']:3d}/{row['val_n']}  blank {row['blank']:4.0%}  "
    if "waited" in row:
        said += f"waited {row['waited']:4.1%}  "
    if "seconds" in row:
        said += f"{row['seconds']:6.1f} s"
    return said.rstrip()


def calibration(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Mean confidence against correctness in the filled bins of equal width (Guo et al., ICML 2017, section 2)."""
    correct = (predictions["label"] == predictions["text"]).to_numpy()
    confidence = predictions["confidence"].to_numpy()
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = [
        (b / bins, (b + 1) / bins, (bin_of == b).sum(), correct[bin_of == b].sum(), confidence[bin_of == b].mean())
        for b in np.unique(bin_of)
    ]
    return pd.DataFrame(rows, columns=["low", "high", "n", "right", "confidence"])


def fit_temperature(confidence: ArrayLike, right: ArrayLike) -> float:
    """The temperature that makes confidences as large as readings are often right (Guo et al., ICML 2017, section 4.2).

    It minimises the negative log-likelihood of right and wrong under the scaled confidences. The targets are those of
    Platt (1999), a little inside 0 and 1, so that readings which are all right do not ask for endless confidence.

    Shape:
        probabilities that are not scaled yet (N,), whether each reading is right (N,) -> what to divide the log-odds
        by, between 0.1 and 10; see `decode.scale_confidence`.
    """
    right = np.asarray(right, dtype=bool)
    odds = logit(np.clip(np.asarray(confidence, dtype=np.float64), 1e-12, 1 - 1e-12))
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(log_temperature: float) -> float:
        scaled = odds * np.exp(-log_temperature)
        return float(-(target * log_expit(scaled) + (1 - target) * log_expit(-scaled)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def align_characters(labels: list[str], texts: list[str]) -> jiwer.CharacterOutput:
    """Aligns with the fewest errors. Every character counts: jiwer's default would strip spaces at both ends."""
    characters = jiwer.ReduceToListOfListOfChars()
    return jiwer.process_characters(labels, texts, characters, characters)
