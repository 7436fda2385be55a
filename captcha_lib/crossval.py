"""Cross-validation: each image is read exactly once a seed, by a network that has not seen it (out of fold).

A job trains on all folds but one and scores that one. Jobs are processes of one thread each; a job leaves a folder when
it is done, whole or not at all, so that the same call goes on where an interrupted one stopped.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import KFold

from captcha_lib import metrics
from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data import Captchas, concatenate, generated_captchas
from captcha_lib.decode import (
    decode_greedy,
    decode_length,
    length_log_probability,
    log_probabilities,
    scale_confidence,
    spell,
    text_log_probability,
)
from captcha_lib.files import new_folder
from captcha_lib.train import fit, identity

HELP_SEED = 1_000_000  # the generated captchas that help are drawn from seeds that no run or split uses


@dataclass(frozen=True)
class OutOfFold:
    """What cross-validation leaves: one entry for each seed.

    Attributes:
        captchas: all the images.
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
        InputError: too few images, or a folder that belongs to another run.
    """
    alphabet = Alphabet.of(captchas.labels)
    fold_of = np.stack([draw_folds(len(captchas), folds, seed) for seed in range(seeds)])
    helping = generated_captchas(helpers, HELP_SEED) if helpers else None
    todo = []
    for seed, fold in product(range(seeds), range(folds)):
        job = _Job(replace(config, seed=seed), fold, out / f"seed-{seed}-fold-{fold}")
        train, test = _sides(captchas, fold_of[seed] == fold)
        train = train if helping is None else concatenate(train, helping)
        if not job.is_done(train, test, alphabet):
            todo.append(joblib.delayed(_run)(job, train, test, alphabet))
    done = folds * seeds - len(todo)
    report(f"{folds} folds, {seeds} seeds: {len(todo)} networks to train, {done} are there already")
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        for line in joblib.Parallel(return_as="generator_unordered")(todo):
            done += 1
            report(f"[{done}/{folds * seeds}] {line}")
    return _gather(captchas, alphabet, fold_of, folds, out)


def out_of_fold_predictions(result: OutOfFold) -> pd.DataFrame:
    """One row an image and seed: file, label, text, confidence, label_confidence, fold, seed.

    Texts are decoded to the length of the labels if that is one, else by their best path. Confidences are scaled by
    the temperature that suits the readings of all the other folds, so none is scaled by what was learnt from itself.
    """
    tables = [_predictions_of_seed(result, row) for row in range(len(result.seeds))]
    return pd.concat(tables, ignore_index=True)


def summarise(result: OutOfFold, predictions: pd.DataFrame) -> dict:
    """The figures of a cross-validation; shares are fractions of 1.

    `exact_low` and `exact_high` are the Wilson interval of the mean count of the seeds among the n images: readings of
    one image by several seeds are no independent samples, so more seeds do not make it narrower.
    """
    n = len(result.captchas)
    scores = [metrics.score(table) for _, table in predictions.groupby("seed")]
    exact = np.array([score["exact"] for score in scores])
    low, high = metrics.wilson_interval(round(exact.mean()), n)
    length = _label_length(result.captchas)
    paths = [spell(logits, result.alphabet, length) for logits in result.logits]
    greedy = [spell(logits, result.alphabet) for logits in result.logits]
    labels = np.array(result.captchas.labels)
    return {
        "n": n,
        "seeds": len(result.seeds),
        "folds": int(result.folds.max()) + 1,
        "exact_mean": float(exact.mean() / n),
        "exact_std": float((exact / n).std(ddof=1)) if len(exact) > 1 else None,
        "exact_low": low,
        "exact_high": high,
        "exact_by_seed": exact.tolist(),
        "exact_by_seed_likeliest_path": [int((labels == np.array(texts)).sum()) for texts in paths],
        "exact_by_seed_best_path": [int((labels == np.array(texts)).sum()) for texts in greedy],
        "cer_mean": float(np.mean([score["cer"] for score in scores])),
        "train_seconds_median": float(np.median(result.seconds)),
    }


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
        saved = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))["identity"]
        wanted = json.loads(json.dumps(self.identity(train, test, alphabet)))
        for name, value in wanted.items():
            if saved.get(name) != value:
                raise InputError(
                    f"{self.folder}: it belongs to another run ({name} {saved.get(name)}, here {value}); "
                    "give another --out or remove it"
                )
        return True


def _run(job: _Job, train: Captchas, test: Captchas, alphabet: Alphabet) -> str:
    """Trains and scores; returns a line that says how it went. Runs in a process of its own."""
    torch.set_num_threads(1)
    reader, history = fit(train, None, alphabet, job.config, report=lambda line: None)
    logits = reader.logits(test.images).numpy()
    seconds = float(history["seconds"].iloc[-1])
    facts = {
        "identity": job.identity(train, test, alphabet),
        "seconds": round(seconds, 1),
        "config": asdict(job.config),
    }
    with new_folder(job.folder) as part:
        reader.save(part / "weight.pth")
        np.save(part / "logits.npy", logits)
        (part / "job.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    texts = spell(logits, alphabet, reader.length or 0)
    right = sum(text == label for text, label in zip(texts, test.labels, strict=True))
    return f"seed {job.config.seed} fold {job.fold}: {right} of {len(test)} right, trained in {seconds:.0f} s"


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
            logits = np.load(folder / "logits.npy", allow_pickle=False)
            parts |= dict(zip(np.flatnonzero(fold_of[seed] == fold).tolist(), logits, strict=True))
            seconds[seed, fold] = json.loads((folder / "job.json").read_text(encoding="utf-8"))["seconds"]
        scores.append(np.stack([parts[row] for row in range(len(captchas))]))
    return OutOfFold(captchas, alphabet, list(seeds), fold_of, np.stack(scores), seconds)


def _predictions_of_seed(result: OutOfFold, row: int) -> pd.DataFrame:
    captchas, logits, fold_of = result.captchas, result.logits[row], result.folds[row]
    alphabet, length = result.alphabet, _label_length(captchas)
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
    right = table["label"] == table["text"]
    for fold in np.unique(fold_of):
        here = fold_of == fold
        temperature = metrics.fit_temperature(table["confidence"][~here], right[~here])
        columns = ["confidence", "label_confidence"]
        table.loc[here, columns] = scale_confidence(table.loc[here, columns], temperature).round(6)
    return table


def _label_length(captchas: Captchas) -> int:
    """The length of all labels, or 0 if they have several."""
    lengths = set(map(len, captchas.labels))
    return lengths.pop() if len(lengths) == 1 else 0
