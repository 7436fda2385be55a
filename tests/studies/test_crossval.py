"""Cross-validation: every image once a seed, by a network that has not seen it; interrupted runs go on."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas, generated_captchas
from captcha_lib.metrics import wilson_interval
from captcha_lib.reading.torch_reader import Reader
from studies import crossval
from studies.crossval import (
    OutOfFold,
    calibration_figures,
    crossvalidate,
    draw_folds,
    load_crossval,
    misread,
    out_of_fold_predictions,
    relabelled,
    summarise,
    write_crossval,
)

TINY = Config(epochs=1, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)
CAPTCHAS = generated_captchas(24, seed=3)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def run(out: Path, captchas: Captchas = CAPTCHAS, config: Config = TINY, **others) -> tuple[OutOfFold, list[str]]:
    said: list[str] = []
    return crossvalidate(captchas, config, out, **{"folds": 3, "seeds": 2} | others, report=said.append), said


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("crossval") / "jobs"


@pytest.fixture(scope="module")
def finished(out) -> OutOfFold:
    result, said = run(out)
    assert said[0] == "3 folds, 2 seeds: 6 networks to train, 0 are there already"
    assert sorted(line[:5] for line in said[1:]) == [f"[{i}/6]" for i in range(1, 7)]
    return result


# Folds


@pytest.mark.parametrize(("n", "folds"), [(1070, 10), (11, 3), (4, 4), (2, 2)])
def test_folds_are_disjoint_and_even(n, folds):
    fold_of = draw_folds(n, folds, seed=0)
    sizes = np.bincount(fold_of, minlength=folds)
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 1
    assert (draw_folds(n, folds, seed=0) == fold_of).all()


def test_each_seed_draws_folds_of_its_own():
    assert (draw_folds(100, 5, seed=0) != draw_folds(100, 5, seed=1)).mean() > 0.5


@pytest.mark.parametrize("folds", [0, 1, 6])
def test_a_number_of_folds_that_cannot_be_is_refused(folds):
    with pytest.raises(InputError, match=f"{folds} folds of 5 images"):
        draw_folds(5, folds, seed=0)


# Training and reading


def test_every_image_has_scores_of_each_seed(finished):
    assert finished.logits.shape == (2, 24, 25, finished.alphabet.num_classes)
    assert finished.folds.shape == (2, 24)
    assert np.isfinite(finished.logits).all()


def test_the_scores_are_those_of_the_network_that_did_not_see_the_image(finished, out):
    for seed, fold in ((0, 2), (1, 0)):
        reader = Reader.load(out / f"seed-{seed}-fold-{fold}" / "weight.pth")
        rows = np.flatnonzero(finished.folds[seed] == fold)
        assert np.allclose(reader.logits(CAPTCHAS.images[rows]), finished.logits[seed, rows], atol=1e-4)


def test_a_fold_that_is_read_has_no_part_in_its_training(finished, tmp_path):
    """Other pixels in fold 1 change the scores of that fold and, through training, all others; not its weights."""
    other = replace(CAPTCHAS, images=CAPTCHAS.images.clone())
    rows = np.flatnonzero(finished.folds[0] == 1)
    other.images[rows] = 255 - other.images[rows]
    run(tmp_path, other, seeds=1)
    ours = torch.load(tmp_path / "seed-0-fold-1" / "weight.pth", weights_only=True)["state"]
    again, _ = run(tmp_path / "again", seeds=1)
    theirs = torch.load(tmp_path / "again" / "seed-0-fold-1" / "weight.pth", weights_only=True)["state"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert np.array_equal(again.logits[0], finished.logits[0])


def test_a_finished_run_trains_nothing(finished, out):
    result, said = run(out)
    assert said == ["3 folds, 2 seeds: 0 networks to train, 6 are there already"]
    assert np.array_equal(result.logits, finished.logits)


def test_an_interrupted_run_trains_what_is_missing(finished, out, tmp_path):
    for folder in out.glob("seed-0-*"):
        folder.rename(tmp_path / folder.name)
    (tmp_path / "seed-0-fold-2").rename(out / "seed-0-fold-2")
    result, said = run(out)
    assert said[0] == "3 folds, 2 seeds: 2 networks to train, 4 are there already"
    assert np.array_equal(result.logits, finished.logits)


def test_loading_gives_the_same_without_training(finished, out):
    loaded = load_crossval(CAPTCHAS, out)
    assert np.array_equal(loaded.logits, finished.logits)
    assert np.array_equal(loaded.folds, finished.folds)


def test_loading_what_is_not_there_is_refused(out, tmp_path, finished):
    with pytest.raises(InputError, match="no cross-validation there"):
        load_crossval(CAPTCHAS, tmp_path)
    (tmp_path / "seed-0-fold-0").mkdir()
    (tmp_path / "seed-1-fold-1").mkdir()
    with pytest.raises(InputError, match="2 of 4 jobs are done"):
        load_crossval(CAPTCHAS, tmp_path)


def test_loading_the_scores_of_other_images_is_refused(out, finished):
    with pytest.raises(InputError, match=r"another run \(images"):
        load_crossval(generated_captchas(24, seed=4), out)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"config": replace(TINY, epochs=2)}, "epochs"), ({"captchas": generated_captchas(24, seed=4)}, "images")],
)
def test_jobs_of_another_run_are_refused(finished, out, change, name):
    with pytest.raises(InputError, match=rf"another run \({name}") as caught:
        run(out, **change)
    assert "\n" not in str(caught.value)


def test_generated_captchas_help_and_are_not_scored(finished, tmp_path):
    helped, _ = run(tmp_path, seeds=1, helpers=8)
    assert len(helped.captchas) == 24
    facts = json.loads((tmp_path / "seed-0-fold-0" / "job.json").read_text())
    assert re.fullmatch(
        r"24 \(\w{8}\) \+ 8 \(\w{8}\)", facts["identity"]["images"]
    )  # 16 of the set and 8 drawn ones, 8 to read
    assert not np.array_equal(helped.logits[0], finished.logits[0])


# Predictions and figures


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
def made_up(finished) -> OutOfFold:
    """Two seeds that read all but one and all but three images rightly."""
    labels = CAPTCHAS.labels
    wrong = [[*labels[:-1], "bcdef"], ["22222", "33333", *labels[2:-1], "bcdef"]]
    return replace(finished, logits=sure_of(wrong, CAPTCHAS, finished.alphabet))


def test_predictions_have_a_row_for_each_image_and_seed(made_up):
    predictions = out_of_fold_predictions(made_up)
    assert predictions.columns.tolist() == ["file", "label", "text", "confidence", "label_confidence", "fold", "seed"]
    assert predictions.groupby("seed")["file"].apply(list).tolist() == [CAPTCHAS.manifest["file"].tolist()] * 2
    assert predictions["fold"].tolist() == made_up.folds.ravel().tolist()
    assert predictions["confidence"].between(0, 1).all()
    right = predictions["label"] == predictions["text"]
    assert (predictions["confidence"] == predictions["label_confidence"])[right].all()
    assert (predictions["confidence"] > predictions["label_confidence"])[~right].all()


def test_misread_lists_both_texts(made_up):
    wrong = misread(out_of_fold_predictions(made_up))
    assert len(wrong) == 4
    assert set(wrong["text"]) == {"22222", "33333", "bcdef"}
    assert (wrong["label"] != wrong["text"]).all()


def test_a_temperature_is_not_fitted_on_the_fold_that_it_scales(made_up):
    """Making a fold's own readings wrong changes the confidences of all the others, and not its own."""
    before = out_of_fold_predictions(made_up)
    fold = int(made_up.folds[0][0])
    own = (before["fold"] == fold) & (before["seed"] == 0)
    labels = pd.Series(CAPTCHAS.labels)
    rows = np.flatnonzero(made_up.folds[0] == fold)
    labels.iloc[rows] = [text[1:] + text[0] if text[0] != text[1] else text[::-1] for text in labels.iloc[rows]]
    manifest = CAPTCHAS.manifest.assign(label=labels)
    after = out_of_fold_predictions(replace(made_up, captchas=replace(CAPTCHAS, manifest=manifest)))
    assert (before["confidence"] == after["confidence"])[own].all()
    assert (before["confidence"] != after["confidence"])[~own & (before["seed"] == 0)].all()


def test_summary_counts(made_up):
    figures = summarise(made_up, out_of_fold_predictions(made_up))
    assert (figures["n"], figures["seeds"], figures["folds"]) == (24, 2, 3)
    assert figures["exact_by_seed"] == [23, 21]
    assert figures["exact_by_seed_likeliest_path"] == figures["exact_by_seed_best_path"] == [23, 21]
    assert figures["exact_mean"] == pytest.approx(22 / 24)
    assert figures["exact_std"] == pytest.approx(np.std([23 / 24, 21 / 24], ddof=1))
    assert (figures["exact_low"], figures["exact_high"]) == wilson_interval(44, 48)
    assert (figures["exact_low_one_seed"], figures["exact_high_one_seed"]) == wilson_interval(22, 24)
    assert "exact_audited" not in figures


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


def test_calibration_figures_where_all_are_equally_sure():
    figures = calibration_figures(pd.DataFrame({"label": "a", "text": ["a", "b"], "confidence": 1.0}))
    assert (figures["exact_at_97"], figures["wrong_at_97"]) == (0.5, 1)


def test_all_files_are_written(made_up, tmp_path):
    audited = CAPTCHAS.manifest.set_index("file")["label"]
    returned = write_crossval(tmp_path, made_up, made_up, audited, TINY)
    figures = json.loads((tmp_path / "crossval.json").read_text())
    assert returned.items() <= figures.items()
    assert figures["exact_mean_generated"] == figures["exact_mean"] == figures["exact_audited"]
    assert {"packages", "processor", "config", "exact_low", "exact_high", "cer_mean"} <= set(figures)
    predictions = pd.read_csv(tmp_path / "crossval_predictions.csv", dtype=str)
    assert predictions.columns.tolist() == ["file", "label", "text", "confidence", "fold", "seed"]
    assert len(predictions) == 48
    calibrated = json.loads((tmp_path / "calibration.json").read_text())
    assert calibrated["labels"] == "audited labels"
    assert {"ece", "coverage_at_999", "ece_as_given", "coverage_at_999_as_given"} <= set(calibrated)
    assert (tmp_path / "risk_coverage.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(tmp_path / "crossval_misread.csv")) == 4


def test_without_audited_labels_confidence_is_measured_on_the_given_ones(made_up, tmp_path):
    write_crossval(tmp_path, made_up, None, None, TINY)
    calibrated = json.loads((tmp_path / "calibration.json").read_text())
    assert calibrated["labels"] == "labels as given"
    assert calibrated["ece"] == calibrated["ece_as_given"]
    assert "exact_mean_generated" not in json.loads((tmp_path / "crossval.json").read_text())


def test_relabelled_changes_labels_only(made_up):
    predictions = out_of_fold_predictions(made_up)
    other = relabelled(predictions, pd.Series("x", index=CAPTCHAS.manifest["file"]))
    assert set(other["label"]) == {"x"}
    assert other.drop(columns="label").equals(predictions.drop(columns="label"))


def test_labels_of_several_lengths_are_read_by_their_best_path(finished):
    labels = [label[: 3 + i % 2] for i, label in enumerate(CAPTCHAS.labels)]
    captchas = replace(CAPTCHAS, manifest=CAPTCHAS.manifest.assign(label=labels))
    result = replace(finished, captchas=captchas, logits=sure_of([labels, labels], captchas, finished.alphabet))
    predictions = out_of_fold_predictions(result)
    assert crossval.label_length(captchas) == 0
    assert (predictions["label"] == predictions["text"]).all()
    assert summarise(result, predictions)["decoder"] == "best path"
