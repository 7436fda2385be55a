"""The figures of a cross-validation: readings, exact match with its interval, and how far confidences can be believed.

Trains nothing; see `crossval`.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from captcha_lib import metrics
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import decode_greedy, decode_length, scale_confidence, spell
from captcha_lib.files import replacing, write_csv
from captcha_lib.lattice import length_log_probability, log_probabilities, text_log_probability
from captcha_lib.runs import results
from studies import confidence
from studies.crossval import OutOfFold
from studies.plots import plot_risk_coverage


def out_of_fold_predictions(result: OutOfFold) -> pd.DataFrame:
    """One row an image and seed: file, label, text, confidence, label_confidence, fold, seed.

    Texts are decoded to the length of the labels if that is one, else by their best path. Confidences are scaled by
    the temperature that suits the readings of all the other folds, so none is scaled by what was learnt from itself.
    """
    tables = [_predictions_of_seed(result, row) for row in range(len(result.seeds))]
    return pd.concat(tables, ignore_index=True)


def summarise(result: OutOfFold, predictions: pd.DataFrame, audited: pd.Series | None = None) -> dict:
    """The figures of a cross-validation; shares are fractions of 1.

    `exact_low` and `exact_high` are the 95 % interval over images and seeds, see `confidence.clustered_interval`.

    Args:
        result: what `crossvalidate` returned.
        predictions: its `out_of_fold_predictions`.
        audited: the audited label of each file, indexed by file.
    """
    n, seeds, length = len(result.captchas), len(result.seeds), label_length(result.captchas)
    right = (predictions["text"] == predictions["label"]).to_numpy().reshape(seeds, n)
    exact = right.sum(1)  # (S,)
    low, high = confidence.clustered_interval(right)
    figures = {
        "n": n,
        "seeds": seeds,
        "folds": int(result.folds.max()) + 1,
        "decoder": f"exact length {length}" if length else "best path",
        "exact_mean": float(right.mean()),
        "exact_std": float((exact / n).std(ddof=1)) if seeds > 1 else None,
        "exact_low": low,
        "exact_high": high,
        "exact_by_seed": exact.tolist(),
        "exact_by_seed_likeliest_path": _exact_by_path(result, length),
        "exact_by_seed_best_path": _exact_by_path(result, 0),
        "cer_mean": float(np.mean([metrics.score(table)["cer"] for _, table in predictions.groupby("seed")])),
        "train_seconds_median": float(np.median(result.seconds)),
    }
    if audited is not None:
        by_seed = [
            metrics.count_exact(table["text"], table["label"])
            for _, table in relabelled(predictions, audited).groupby("seed")
        ]
        figures |= {"exact_audited": float(np.mean(by_seed) / n), "exact_audited_by_seed": by_seed}
    return figures


def write_crossval(
    out: Path, alone: OutOfFold, helped: OutOfFold | None, audited: pd.Series | None, config: Config
) -> dict:
    """Writes crossval.json, crossval_predictions.csv, crossval_misread.csv, calibration.json and risk_coverage.png.

    Confidence is measured on the audited labels where there are some, and apart on the labels as given.

    Args:
        out: their folder.
        alone: trained on the images of the folds alone.
        helped: the same with generated captchas in the training sets.
        audited: see `summarise`.
        config: the hyperparameters.

    Returns:
        what crossval.json holds.
    """
    predictions = out_of_fold_predictions(alone)
    figures = {"data": alone.captchas.source} | summarise(alone, predictions, audited)
    by_labels = {"labels as given": predictions}
    if audited is not None:
        by_labels["audited labels"] = relabelled(predictions, audited)
    labels = list(by_labels)[-1]
    calibrated = {"labels": labels, "seeds": len(alone.seeds), "folds": figures["folds"]}
    calibrated |= calibration_figures(by_labels[labels])
    calibrated |= {f"{name}_as_given": value for name, value in calibration_figures(predictions).items()}
    if helped is not None:
        theirs = summarise(helped, out_of_fold_predictions(helped), audited)
        figures |= {f"{name}_generated": v for name, v in theirs.items() if name.startswith(("exact", "cer", "train"))}
    measured = {"config": asdict(config), "threads_per_job": 1} | results.machine()
    results.write_json(out / "crossval.json", figures | measured)
    results.write_json(out / "calibration.json", calibrated | measured)
    columns = ["file", "label", "text", "confidence", "fold", "seed"]
    write_csv(out / "crossval_predictions.csv", predictions[columns])
    write_csv(out / "crossval_misread.csv", misread(predictions))
    curves = {name: confidence.risk_coverage(table) for name, table in by_labels.items()}
    with replacing(out / "risk_coverage.png") as part:
        plot_risk_coverage(curves).savefig(part, dpi=120)
    return figures


def calibration_figures(predictions: pd.DataFrame) -> dict:
    """How far confidences can be believed, over the readings of all seeds together; shares are fractions of 1.

    Returns:
        n (readings), ece, coverage_at_999 (the largest share of readings that is at least 99.9 % right), exact_at_97
        (the share that is right of the surest 97 %) and wrong_at_97 (how many of them are wrong). Where all of the
        surest 97 % and more have the same confidence, these stand for the 97 %.
    """
    curve = confidence.risk_coverage(predictions)
    kept = curve.iloc[max(0, (curve["coverage"] <= 0.97).sum() - 1)]
    return {
        "n": len(predictions),
        "ece": confidence.calibration_error(metrics.calibration(predictions)),
        "coverage_at_999": confidence.coverage_at(predictions, 0.999),
        "exact_at_97": float(kept["exact_rate"]),
        "wrong_at_97": int(kept["wrong"]),
    }


def relabelled(predictions: pd.DataFrame, audited: pd.Series) -> pd.DataFrame:
    """The predictions with the audited labels in place of the given ones."""
    return predictions.assign(label=predictions["file"].map(audited))


def label_length(captchas: Captchas) -> int:
    """The length of all labels, or 0 if they have several."""
    return captchas.length or 0


def misread(predictions: pd.DataFrame) -> pd.DataFrame:
    """The readings that differ from their label, with the probability of both texts."""
    wrong = predictions[predictions["label"] != predictions["text"]]
    return wrong.sort_values(["file", "seed"]).reset_index(drop=True)


def _predictions_of_seed(result: OutOfFold, row: int) -> pd.DataFrame:
    captchas, logits, fold_of = result.captchas, result.logits[row], result.folds[row]
    alphabet, length = result.alphabet, label_length(captchas)
    readings = decode_length(logits, alphabet, length) if length else decode_greedy(logits, alphabet)
    ids = [tuple(alphabet.encode(label)) for label in captchas.labels]
    log_p = text_log_probability(log_probabilities(logits), ids)
    given = length_log_probability(logits, length) if length else 0.0
    table = captchas.manifest[["file", "label"]].assign(
        text=[reading.text for reading in readings],
        confidence=[reading.confidence for reading in readings],
        label_confidence=np.exp(np.minimum(log_p - given, 0)),
        fold=fold_of,
        seed=result.seeds[row],
    )
    columns = ["confidence", "label_confidence"]
    raw, right = table[columns].copy(), table["label"] == table["text"]
    for fold in np.unique(fold_of):
        here = fold_of == fold
        temperature = metrics.fit_temperature(raw.loc[~here, "confidence"], right[~here])
        table.loc[here, columns] = scale_confidence(raw[here], temperature).round(6)
    return table


def _exact_by_path(result: OutOfFold, length: int) -> list[int]:
    texts = [spell(logits, result.alphabet, length) for logits in result.logits]
    return [metrics.count_exact(of_seed, result.captchas.labels) for of_seed in texts]
