"""The figures of a cross-validation: predictions, intervals over images and seeds, calibration."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.metrics import wilson_interval
from studies.captchas import generated_captchas
from studies.confidence import clustered_interval
from studies.crossval import OutOfFold, draw_folds
from studies.out_of_fold import (
    calibration_figures,
    label_length,
    out_of_fold_predictions,
    summarise,
    write_crossval,
)

CAPTCHAS = generated_captchas(24, seed=3)


def sure_of(texts: list[list[str]], captchas: Captchas, alphabet) -> np.ndarray:
    """Scores (S, N, 12, K) of networks that are sure of these texts, all by different margins."""
    logits = np.zeros((len(texts), len(captchas), 12, alphabet.num_classes))
    for s, of_seed in enumerate(texts):
        for i, text in enumerate(of_seed):
            logits[s, i, 1::2, 0] = logits[s, i, 11, 0] = 9
            for place, k in enumerate(alphabet.encode(text)):
                logits[s, i, 2 * place, k] = 9 + 0.01 * i
            logits[s, i, 2 * len(text) :, 0] = 9
    return logits


@pytest.fixture(scope="module")
def made_up() -> OutOfFold:
    """Two seeds that read all but one and all but three images rightly."""
    labels = CAPTCHAS.labels
    wrong = [[*labels[:-1], "bcdef"], ["22222", "33333", *labels[2:-1], "bcdef"]]
    folds = np.stack([draw_folds(24, 3, seed) for seed in (0, 1)])
    logits = sure_of(wrong, CAPTCHAS, CAPTCHAS.alphabet)
    return OutOfFold(CAPTCHAS, CAPTCHAS.alphabet, [0, 1], folds, logits, np.ones((2, 3)))


def test_predictions_have_a_row_for_each_image_and_seed(made_up):
    predictions = out_of_fold_predictions(made_up)
    assert predictions.columns.tolist() == ["file", "label", "text", "confidence", "label_confidence", "fold", "seed"]
    assert predictions.groupby("seed")["file"].apply(list).tolist() == [CAPTCHAS.manifest["file"].tolist()] * 2
    assert predictions["fold"].tolist() == made_up.folds.ravel().tolist()
    assert predictions["confidence"].between(0, 1).all()
    right = predictions["label"] == predictions["text"]
    assert (predictions["confidence"] == predictions["label_confidence"])[right].all()
    assert (predictions["confidence"] > predictions["label_confidence"])[~right].all()


def test_a_temperature_is_not_fitted_on_the_fold_that_it_scales(made_up):
    """Making a fold's own readings wrong changes the confidences of all the others, and not its own."""
    before = out_of_fold_predictions(made_up)
    fold = int(made_up.folds[0][0])
    own = (before["fold"] == fold) & (before["seed"] == 0)
    labels = pd.Series(CAPTCHAS.labels)
    rows = np.flatnonzero(made_up.folds[0] == fold)
    labels.iloc[rows] = [text[1:] + text[0] if text[0] != text[1] else text[::-1] for text in labels.iloc[rows]]
    manifest = CAPTCHAS.manifest.assign(label=labels)
    after = out_of_fold_predictions(replace(made_up, captchas=CAPTCHAS.replace(manifest=manifest)))
    assert (before["confidence"] == after["confidence"])[own].all()
    assert (before["confidence"] != after["confidence"])[~own & (before["seed"] == 0)].all()


def test_summary_counts(made_up):
    figures = summarise(made_up, out_of_fold_predictions(made_up))
    assert (figures["n"], figures["seeds"], figures["folds"]) == (24, 2, 3)
    assert figures["exact_by_seed"] == [23, 21]
    assert figures["exact_by_seed_likeliest_path"] == figures["exact_by_seed_best_path"] == [23, 21]
    assert figures["exact_mean"] == pytest.approx(22 / 24)
    assert figures["exact_std"] == pytest.approx(np.std([23 / 24, 21 / 24], ddof=1))
    right = np.ones((2, 24), dtype=bool)
    right[:, -1] = right[1, :2] = False
    assert (figures["exact_low"], figures["exact_high"]) == clustered_interval(right)


def test_another_seed_that_reads_the_same_tells_nothing_new(made_up):
    """The images are the sampling units: pooling seeds x images would narrow the interval."""
    same = replace(made_up, logits=np.stack([made_up.logits[0]] * 2))
    figures = summarise(same, out_of_fold_predictions(same))
    low, high = wilson_interval(23, 24)
    pooled = wilson_interval(46, 48)
    assert figures["exact_high"] - figures["exact_low"] == pytest.approx(high - low, abs=0.01)
    assert figures["exact_high"] - figures["exact_low"] > pooled[1] - pooled[0] + 0.02


def test_summary_of_audited_labels(made_up):
    audited = CAPTCHAS.manifest.set_index("file")["label"].copy()
    audited.iloc[-1] = "bcdef"
    figures = summarise(made_up, out_of_fold_predictions(made_up), audited)
    assert figures["exact_audited_by_seed"] == [24, 22]
    assert figures["exact_audited"] == pytest.approx(23 / 24)
    assert figures["exact_by_seed"] == [23, 21]


def test_calibration_figures_by_hand():
    predictions = pd.DataFrame({"label": "a", "text": ["a"] * 98 + ["b", "a"], "confidence": np.linspace(1, 0.8, 100)})
    figures = calibration_figures(predictions)
    assert figures["n"] == 100
    assert figures["coverage_at_999"] == 0.98
    assert (figures["exact_at_97"], figures["wrong_at_97"]) == (1.0, 0)
    figures = calibration_figures(pd.DataFrame({"label": "a", "text": ["a", "b"], "confidence": 1.0}))
    assert (figures["exact_at_97"], figures["wrong_at_97"]) == (0.5, 1), "all are equally sure"


def test_all_files_are_written(made_up, tmp_path):
    audited = CAPTCHAS.manifest.set_index("file")["label"]
    returned = write_crossval(tmp_path, made_up, made_up, audited, Config())
    figures = json.loads((tmp_path / "crossval.json").read_text())
    assert returned.items() <= figures.items()
    assert figures["exact_mean_generated"] == figures["exact_mean"] == figures["exact_audited"]
    assert {"packages", "processor", "config", "exact_low", "exact_high", "cer_mean"} <= set(figures)
    assert len(pd.read_csv(tmp_path / "crossval_predictions.csv")) == 48
    calibrated = json.loads((tmp_path / "calibration.json").read_text())
    assert calibrated["labels"] == "audited labels"
    assert {"ece", "coverage_at_999", "ece_as_given", "coverage_at_999_as_given"} <= set(calibrated)
    assert (tmp_path / "risk_coverage.png").read_bytes().startswith(b"\x89PNG")
    assert set(pd.read_csv(tmp_path / "crossval_misread.csv", dtype=str)["text"]) == {"22222", "33333", "bcdef"}
    write_crossval(tmp_path, made_up, None, None, Config())
    calibrated = json.loads((tmp_path / "calibration.json").read_text())
    assert calibrated["labels"] == "labels as given"
    assert calibrated["ece"] == calibrated["ece_as_given"]


def test_labels_of_several_lengths_are_read_by_their_best_path(made_up):
    labels = [label[: 3 + i % 2] for i, label in enumerate(CAPTCHAS.labels)]
    captchas = CAPTCHAS.replace(manifest=CAPTCHAS.manifest.assign(label=labels))
    result = replace(made_up, captchas=captchas, logits=sure_of([labels, labels], captchas, CAPTCHAS.alphabet))
    predictions = out_of_fold_predictions(result)
    assert label_length(captchas) == 0
    assert (predictions["label"] == predictions["text"]).all()
    assert summarise(result, predictions)["decoder"] == "best path"
