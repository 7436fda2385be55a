"""How sure results are: intervals over images and seeds; calibration error, risk against coverage of confidences."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from captcha_lib.metrics import wilson_interval


def clustered_interval(right: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the share of right readings where each image was read by several seeds.

    Readings of one image are not independent. The interval is Wilson's for the effective number of readings, which
    follows from the variance between the images (Korn and Graubard, Survey Methodology 24, 1998, section 2).

    Shape:
        (S, N) booleans, seeds by images -> low, high.
    """
    of_image = np.asarray(right, dtype=float).mean(0)  # (N,), the images are the sampling units
    n, share = len(of_image), float(of_image.mean())
    variance = float(of_image.var()) / n
    effective = min(share * (1 - share) / variance, np.size(right)) if variance else n
    return wilson_interval(share * effective, effective)


def calibration_error(table: pd.DataFrame) -> float:
    """Expected calibration error: the mean gap of confidence and correctness, weighted by the bins' counts."""
    return float((table["n"] * (table["right"] / table["n"] - table["confidence"]).abs()).sum() / table["n"].sum())


def risk_coverage(predictions: pd.DataFrame) -> pd.DataFrame:
    """What is left when the least confident readings are withheld (El-Yaniv and Wiener, JMLR 2010).

    Returns:
        one row a confidence, largest first: confidence, coverage (share read so far), wrong (count so far) and
        exact_rate. Equally confident readings are kept or withheld together: they share the row of the last of them.
    """
    table = predictions.sort_values("confidence", ascending=False, kind="stable")
    wrong = (table["label"] != table["text"]).cumsum().to_numpy()
    n = np.arange(1, len(table) + 1)
    curve = table[["confidence"]].assign(coverage=n / len(table), wrong=wrong, exact_rate=(n - wrong) / n)
    return curve.groupby("confidence", sort=False).tail(1).reset_index(drop=True)


def coverage_at(predictions: pd.DataFrame, exact_rate: float) -> float:
    """The largest share of readings that can be kept while at least `exact_rate` of them are right; 0 if none can."""
    curve = risk_coverage(predictions)
    return float(curve.loc[curve["exact_rate"] >= exact_rate, "coverage"].to_numpy().max(initial=0.0))
