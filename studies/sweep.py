"""Hyperparameter search with Optuna on validation folds; several processes or machines can share one study.

The test images of the split are set aside before anything else. The folds are drawn from the rest, so nothing that a
search finds has seen them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import spell
from captcha_lib.model import ctc_loss
from captcha_lib.training import fit, silent
from studies.crossval import draw_folds

if TYPE_CHECKING:  # an optional extra
    import optuna

MAX_LOSS = 5.0  # nats a text; a wrong label costs no more than this, whatever the network thinks of it


def sweep(
    captchas: Captchas,
    storage: str,
    trials: int,
    folds: int = 4,
    epochs: int = Config.epochs,
    study_name: str = "captchas",
    report: Callable[[str], None] = print,
) -> "optuna.Study":
    """Runs trials of a study, which is made if it is not there yet.

    Args:
        captchas: a split data set; its test images are not touched.
        storage: where the study lies: an Optuna storage URL such as sqlite:///sweep.db, or a .log file.
        trials: how many this call adds.
        folds: of the training and validation images together.
        epochs: of each training.
        study_name: one storage can hold several studies.
        report: gets one line a trial.

    Raises:
        InputError: Optuna is not installed.
    """
    optuna = _import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    known = captchas.rows(np.flatnonzero(captchas.manifest["subset"] != "test"))
    study = optuna.create_study(
        storage=_storage(optuna, storage),
        study_name=study_name,
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    alphabet = Alphabet.of(captchas.labels)

    def objective(trial: "optuna.Trial") -> float:
        return _mean_loss(trial, known, alphabet, suggest(trial, epochs), folds)

    def say(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
        wrong = trial.user_attrs.get("wrong", "?")
        loss = "pruned" if trial.value is None else f"loss {trial.value:.4f}"
        report(f"trial {trial.number}: {loss}, {wrong} texts wrong, {trial.params}")

    study.optimize(objective, n_trials=trials, callbacks=[say])
    return study


def suggest(trial: "optuna.Trial", epochs: int) -> Config:
    """The hyperparameters of one trial, within ranges around the defaults."""
    return replace(
        Config(),
        epochs=epochs,
        learning_rate=trial.suggest_float("learning_rate", 1e-3, 6e-3, log=True),
        schedule_peak=trial.suggest_float("schedule_peak", 0.1, 0.4),
        weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.1, log=True),
        warmup_epochs=trial.suggest_int("warmup_epochs", 2, 4),
        augment_strength=trial.suggest_float("augment_strength", 0.6, 1.6),
        augment_ramp=trial.suggest_int("augment_ramp", 1, 6),
        dropout=trial.suggest_float("dropout", 0.0, 0.4),
        ema_decay=trial.suggest_float("ema_decay", 0.95, 0.995),
    )


def _mean_loss(trial: "optuna.Trial", captchas: Captchas, alphabet: Alphabet, config: Config, folds: int) -> float:
    """The mean capped CTC loss of the folds, in nats a text. A trial that does badly on its first folds is given up."""
    fold_of = draw_folds(len(captchas), folds, seed=0)
    losses, wrong = [], 0
    for fold in range(folds):
        train, val = (captchas.rows(np.flatnonzero(side)) for side in (fold_of != fold, fold_of == fold))
        reader, _ = fit(train, None, alphabet, config, report=silent)
        logits = reader.logits(val.images)
        losses.append(float(ctc_loss(logits, *alphabet.encode_batch(val.labels)).clamp(max=MAX_LOSS).mean()))
        texts = spell(logits, alphabet, reader.length or 0)
        wrong += sum(text != label for text, label in zip(texts, val.labels, strict=True))
        trial.set_user_attr("wrong", wrong)
        trial.report(float(np.mean(losses)), fold)
        if trial.should_prune():
            raise _import_optuna().TrialPruned
    return float(np.mean(losses))


def _import_optuna():
    try:
        import optuna
    except ModuleNotFoundError:
        raise InputError("sweep: Optuna is not installed; pip install -e '.[sweep]', or make sweep") from None
    return optuna


def _storage(optuna, storage: str):
    """A journal file serves many processes on a shared disk; everything else is a database URL."""
    if not storage.endswith(".log"):
        return storage
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))
