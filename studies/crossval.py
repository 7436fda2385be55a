"""Cross-validation: each image is read exactly once a seed, by a network that has not seen it (out of fold).

A job trains on all folds but one and scores that one. Jobs are processes of one thread each; a job leaves a folder when
it is done, whole or not at all, so that the same call goes on where an interrupted one stopped.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import KFold

from captcha_lib import metrics, plots
from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas, concatenate, generated_captchas
from captcha_lib.decode import (
    decode_greedy,
    decode_length,
    length_log_probability,
    log_probabilities,
    scale_confidence,
    spell,
    text_log_probability,
)
from captcha_lib.files import new_folder, replacing, sole_writer, write_csv
from captcha_lib.runs import results
from captcha_lib.training import fit, identity, silent
from studies.jobs import of_another_run, read_json, run_in_processes

HELP_SEED = 1_000_000  # the generated captchas that help are drawn from seeds that no run or split uses


@dataclass(frozen=True)
class OutOfFold:
    """What cross-validation leaves: one entry for each seed.

    Attributes:
        captchas: all the images.
        alphabet: the characters of the classes.
        seeds: the seeds.
        folds: (S, N), the fold of each image.
        logits: (S, N, T, K), the scores that each image got from the network that had not seen it.
        seconds: (S, F), training time of each job.
    """

    captchas: Captchas
    alphabet: Alphabet
    seeds: list[int]
    folds: np.ndarray
    logits: np.ndarray
    seconds: np.ndarray


def draw_folds(n: int, folds: int, seed: int) -> np.ndarray:
    """The fold 0..folds - 1 of each of n images, drawn at random: (n,), sizes differ by one at most.

    Raises:
        InputError: fewer than two folds, or more than images.
    """
    if not 2 <= folds <= n:
        raise InputError(f"{folds} folds of {n} images: give 2 to {n}")
    fold_of = np.empty(n, dtype=int)
    for fold, (_, rows) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(np.zeros(n))):
        fold_of[rows] = fold
    return fold_of


def crossvalidate(
    captchas: Captchas,
    config: Config,
    out: Path,
    folds: int = 10,
    seeds: int = 3,
    helpers: int = 0,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> OutOfFold:
    """Trains folds x seeds networks and reads every image with those that have not seen it.

    Args:
        captchas: labelled images; their subsets play no part.
        config: the hyperparameters; the seed is replaced.
        out: a folder for the jobs' results; what is done already is taken from there.
        folds: F.
        seeds: S; seed s draws the folds, the weights and the order of the images.
        helpers: so many generated captchas are added to each training set. They are never scored.
        jobs: processes at a time.
        report: gets one line a job.

    Raises:
        InputError: too few images, a folder that belongs to another run, or one that another run writes in.
    """
    alphabet = Alphabet.of(captchas.labels)
    fold_of = np.stack([draw_folds(len(captchas), folds, seed) for seed in range(seeds)])
    helping = generated_captchas(helpers, HELP_SEED) if helpers else None
    with sole_writer(out):
        todo = []
        for seed, fold in product(range(seeds), range(folds)):
            job = _Job(replace(config, seed=seed), fold, out / f"seed-{seed}-fold-{fold}")
            train, test = _sides(captchas, fold_of[seed] == fold)
            train = train if helping is None else concatenate(train, helping)
            if not job.is_done(train, test, alphabet):
                todo.append(joblib.delayed(_run)(job, train, test, alphabet))
        done = folds * seeds - len(todo)
        report(f"{folds} folds, {seeds} seeds: {len(todo)} networks to train, {done} are there already")
        for line in run_in_processes(todo, jobs):
            done += 1
            report(f"[{done}/{folds * seeds}] {line}")
    return _gather(captchas, alphabet, fold_of, folds, out)


def load_crossval(captchas: Captchas, out: Path) -> OutOfFold:
    """Reads what `crossvalidate` left in `out`, without training anything.

    Raises:
        InputError: jobs are missing there, or they belong to other images.
    """
    done = sorted(folder.name.split("-")[1::2] for folder in out.glob("seed-*-fold-*"))
    if not done:
        raise InputError(f"{out}: no cross-validation there; run the crossval command first")
    seeds, folds = (max(int(names[i]) for names in done) + 1 for i in (0, 1))
    fold_of = np.stack([draw_folds(len(captchas), folds, seed) for seed in range(seeds)])
    if len(done) != seeds * folds:
        raise InputError(f"{out}: {len(done)} of {seeds * folds} jobs are done; run the crossval command again")
    alphabet, first = Alphabet.of(captchas.labels), out / "seed-0-fold-0"
    ours = identity(*_sides(captchas, fold_of[0] == 0), alphabet, Config())["images"]
    theirs = _facts(first)["identity"]["images"]
    if ours != theirs:
        raise of_another_run(first, "images", theirs, ours)
    return _gather(captchas, alphabet, fold_of, folds, out)


def out_of_fold_predictions(result: OutOfFold) -> pd.DataFrame:
    """One row an image and seed: file, label, text, confidence, label_confidence, fold, seed.

    Texts are decoded to the length of the labels if that is one, else by their best path. Confidences are scaled by
    the temperature that suits the readings of all the other folds, so none is scaled by what was learnt from itself.
    """
    tables = [_predictions_of_seed(result, row) for row in range(len(result.seeds))]
    return pd.concat(tables, ignore_index=True)


def summarise(result: OutOfFold, predictions: pd.DataFrame, audited: pd.Series | None = None) -> dict:
    """The figures of a cross-validation; shares are fractions of 1.

    `exact_low` and `exact_high` are the Wilson interval of all readings, n times seeds. It takes the readings of one
    image by several seeds for independent samples, which they are not; `exact_low_one_seed` and `exact_high_one_seed`
    are the wider interval of the mean count among n images.

    Args:
        result: what `crossvalidate` returned.
        predictions: its `out_of_fold_predictions`.
        audited: the audited label of each file, indexed by file.
    """
    n, seeds = len(result.captchas), len(result.seeds)
    scores = [metrics.score(table) for _, table in predictions.groupby("seed")]
    exact = np.array([score["exact"] for score in scores])
    pooled = metrics.wilson_interval(int(exact.sum()), n * seeds)
    one_seed = metrics.wilson_interval(round(exact.mean()), n)
    length = label_length(result.captchas)
    figures = {
        "n": n,
        "seeds": seeds,
        "folds": int(result.folds.max()) + 1,
        "decoder": f"exact length {length}, prefix beam of width 8" if length else "best path",
        "exact_mean": float(exact.mean() / n),
        "exact_std": float((exact / n).std(ddof=1)) if seeds > 1 else None,
        "exact_low": pooled[0],
        "exact_high": pooled[1],
        "exact_low_one_seed": one_seed[0],
        "exact_high_one_seed": one_seed[1],
        "exact_by_seed": exact.tolist(),
        "exact_by_seed_likeliest_path": _exact_by_path(result, length),
        "exact_by_seed_best_path": _exact_by_path(result, 0),
        "cer_mean": float(np.mean([score["cer"] for score in scores])),
        "train_seconds_median": float(np.median(result.seconds)),
    }
    if audited is not None:
        by_seed = [metrics.score(table)["exact"] for _, table in relabelled(predictions, audited).groupby("seed")]
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
        plots.plot_risk_coverage(curves).savefig(part, dpi=120)
    return figures


def calibration_figures(predictions: pd.DataFrame) -> dict:
    """How far confidences can be believed, over the readings of all seeds together; shares are fractions of 1.

    Returns:
        n (readings), ece, coverage_at_999 (the largest share of readings that is at least 99.9 % right), exact_at_97
        (the share that is right of the surest 97 %) and wrong_at_97 (how many of them are wrong). Where so many are
        equally sure that no part of 97 % or less can be told apart, the surest part counts.
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
    """The readings that are not their label, with the probability of both texts."""
    wrong = predictions[predictions["label"] != predictions["text"]]
    return wrong.sort_values(["file", "seed"]).reset_index(drop=True)


@dataclass(frozen=True)
class _Job:
    """One network to train: its seed in `config`, the fold that it does not see, and where its results go."""

    config: Config
    fold: int
    folder: Path

    def identity(self, train: Captchas, test: Captchas, alphabet: Alphabet) -> dict:
        return identity(train, test, alphabet, self.config)

    def is_done(self, train: Captchas, test: Captchas, alphabet: Alphabet) -> bool:
        """Whether its results are there; raises InputError if those of another job are."""
        if not self.folder.exists():
            return False
        saved = _facts(self.folder)["identity"]
        for name, value in self.identity(train, test, alphabet).items():
            if saved.get(name) != value:
                raise of_another_run(self.folder, name, saved.get(name), value)
        return True


def _run(job: _Job, train: Captchas, test: Captchas, alphabet: Alphabet) -> str:
    """Trains and scores; returns a line that says how it went. Runs in a process of its own."""
    torch.set_num_threads(1)
    reader, history = fit(train, None, alphabet, job.config, report=silent)
    logits = reader.logits(test.images).numpy()
    seconds = float(history["seconds"].iloc[-1])
    facts = {"identity": job.identity(train, test, alphabet), "seconds": round(seconds, 1)}
    with new_folder(job.folder) as part:
        reader.save(part / "weight.pth")
        np.save(part / "logits.npy", logits)
        (part / "job.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    texts = spell(logits, alphabet, reader.length or 0)
    right = sum(text == label for text, label in zip(texts, test.labels, strict=True))
    return f"seed {job.config.seed} fold {job.fold}: {right} of {len(test)} right, trained in {seconds:.0f} s"


def _facts(folder: Path) -> dict:
    """What a finished job says of itself."""
    return read_json(folder / "job.json")


def _logits(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); remove its folder and start again") from None


def _sides(captchas: Captchas, is_test: np.ndarray) -> tuple[Captchas, Captchas]:
    return captchas.rows(np.flatnonzero(~is_test)), captchas.rows(np.flatnonzero(is_test))


def _gather(captchas: Captchas, alphabet: Alphabet, fold_of: np.ndarray, folds: int, out: Path) -> OutOfFold:
    seeds = range(len(fold_of))
    scores: list[np.ndarray] = []
    seconds = np.zeros((len(fold_of), folds))
    for seed in seeds:
        parts = {}
        for fold in range(folds):
            folder = out / f"seed-{seed}-fold-{fold}"
            logits = _logits(folder / "logits.npy")
            parts |= dict(zip(np.flatnonzero(fold_of[seed] == fold).tolist(), logits, strict=True))
            seconds[seed, fold] = _facts(folder)["seconds"]
        scores.append(np.stack([parts[row] for row in range(len(captchas))]))
    return OutOfFold(captchas, alphabet, list(seeds), fold_of, np.stack(scores), seconds)


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
    labels = np.array(result.captchas.labels)
    return [int((labels == np.array(spell(logits, result.alphabet, length))).sum()) for logits in result.logits]
