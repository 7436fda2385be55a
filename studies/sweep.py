"""Hyperparameter search with Optuna on validation folds; several processes or machines can share one study.

The test images of the split are set aside before anything else. The folds are drawn from the rest, so nothing that a
search finds has seen them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captcha_lib.config import Config, missing_extra
from captcha_lib.data.captchas import Captchas
from captcha_lib.metrics import count_exact
from captcha_lib.model import ctc_loss
from captcha_lib.recipe import Recipe, recipe_for
from captcha_lib.training import fit
from studies.crossval import draw_folds
from studies.jobs import one_thread

if TYPE_CHECKING:  # an optional extra
    import optuna.trial

MAX_LOSS = 5.0  # nats a text; a wrong label costs no more than this, whatever the network thinks of it


@one_thread()
def sweep(
    captchas: Captchas,
    storage: str,
    trials: int,
    folds: int = 4,
    epochs: int | None = None,
    study_name: str = "captchas",
    report: Callable[[str], None] = print,
) -> "optuna.Study":
    """Runs trials of a study, which is made if it is not there yet. Each is a variation of the data set's recipe.

    Args:
        captchas: a split data set; its test images are not touched.
        storage: where the study lies: an Optuna storage URL such as sqlite:///sweep.db, or a .log file.
        trials: how many this call adds.
        folds: of the training and validation images together.
        epochs: of each training; None takes those of `recipe_for`.
        study_name: one storage can hold several studies.
        report: gets one line a trial.

    Raises:
        InputError: Optuna is not installed (extra `dev`).
    """
    package = _import_optuna()
    package.logging.set_verbosity(package.logging.WARNING)
    known = captchas.rows(np.flatnonzero(captchas.manifest["subset"] != "test"))
    study = package.create_study(
        storage=_storage(package, storage),
        study_name=study_name,
        load_if_exists=True,
        sampler=package.samplers.TPESampler(),
        pruner=package.pruners.MedianPruner(n_startup_trials=5),
    )
    recipe = recipe_for(captchas)
    recipe = replace(recipe, config=replace(recipe.config, epochs=epochs or recipe.config.epochs))
    known = recipe.seen(known)

    def objective(trial: "optuna.Trial") -> float:
        return _mean_loss(trial, known, replace(recipe, config=suggest(trial, recipe.config)), folds)

    def say(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
        wrong = trial.user_attrs.get("wrong", "?")
        loss = "pruned" if trial.value is None else f"loss {trial.value:.4f}"
        report(f"trial {trial.number}: {loss}, {wrong} texts wrong, {trial.params}")

    study.optimize(objective, n_trials=trials, callbacks=[say])
    return study


def suggest(trial: "optuna.Trial", config: Config) -> Config:
    """The hyperparameters of one trial, within ranges around those of a recipe.

    A network that starts from weights which can read has no warm-up, and none is suggested for it.
    """
    strength = config.augment_strength
    found = replace(
        config,
        learning_rate=trial.suggest_float("learning_rate", 1e-3, 6e-3, log=True),
        schedule_peak=trial.suggest_float("schedule_peak", 0.1, 0.4),
        weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.1, log=True),
        augment_strength=trial.suggest_float("augment_strength", 0.6 * strength, 1.6 * strength),
        dropout=trial.suggest_float("dropout", 0.0, 0.4),
        ema_decay=trial.suggest_float("ema_decay", 0.95, 0.995),
    )
    if not config.warmup_epochs:
        return found
    warmup, ramp = trial.suggest_int("warmup_epochs", 2, 4), trial.suggest_int("augment_ramp", 1, 6)
    return replace(found, warmup_epochs=warmup, augment_ramp=ramp)


def _mean_loss(trial: "optuna.Trial", captchas: Captchas, recipe: Recipe, folds: int) -> float:
    """The mean capped CTC loss of the folds, in nats a text. A trial that does badly on its first folds is pruned."""
    fold_of = draw_folds(len(captchas), folds, seed=0)
    losses, wrong = [], 0
    for fold in range(folds):
        train, val = captchas.rows(fold_of != fold), captchas.rows(fold_of == fold)
        reader, _ = fit(train, None, recipe.config, recipe.start)
        logits = reader.logits(val.images)
        encoded = captchas.alphabet.encode_batch(val.labels)
        losses.append(float(ctc_loss(logits, *encoded).clamp(max=MAX_LOSS).mean()))
        wrong += len(val) - count_exact(reader.spell(logits), val.labels)
        trial.set_user_attr("wrong", wrong)
        trial.report(float(np.mean(losses)), fold)
        if trial.should_prune():
            raise _import_optuna().TrialPruned
    return float(np.mean(losses))


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise missing_extra("optuna") from None
    return optuna


def _storage(package: Any, storage: str) -> Any:
    """A journal file serves many processes on a shared disk; everything else is a database URL."""
    if not storage.endswith(".log"):
        return storage
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    return package.storages.JournalStorage(package.storages.journal.JournalFileBackend(storage))
