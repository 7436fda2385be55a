"""The sweep never sees test images, adds trials to a study that others share, and says what is missing."""

import sys
from dataclasses import replace

import pytest
import torch

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.split import split_captchas
from captcha_lib.recipe import recipe_for
from studies import sweep as module
from studies.captchas import generated_captchas
from studies.sweep import suggest, sweep

optuna = pytest.importorskip("optuna")
TINY = Config(epochs=1, batch_size=8, warmup_epochs=1, channels=(4, 4, 8), hidden=16)
CAPTCHAS = split_captchas(generated_captchas(24, seed=3), seed=0)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(
        module, "suggest", lambda trial, config: replace(TINY, learning_rate=suggest(trial, config).learning_rate)
    )


@pytest.mark.parametrize("storage", ["sqlite:///{}/sweep.db", "{}/deep/sweep.log"])
def test_a_second_call_adds_to_the_same_study(storage, tmp_path):
    place, said = storage.format(tmp_path), []
    sweep(CAPTCHAS, place, trials=2, folds=2, report=said.append)
    study = sweep(CAPTCHAS, place, trials=1, folds=2, report=said.append)
    assert len(study.trials) == 3
    assert [line.split(":")[0] for line in said] == ["trial 0", "trial 1", "trial 2"]
    assert all(0 < trial.value <= module.MAX_LOSS for trial in study.trials)
    assert all(0 <= trial.user_attrs["wrong"] <= 21 for trial in study.trials)


def test_test_images_are_set_aside(tmp_path):
    """Each fold's network is scored on what it did not learn; together they see all images but those of the test."""
    pixels = CAPTCHAS.images[:, 0].numpy().copy()
    pixels[(CAPTCHAS.manifest["subset"] == "test").to_numpy()] = 0
    spoilt = Captchas(CAPTCHAS.source, CAPTCHAS.manifest, pixels)
    values = []
    for captchas in (CAPTCHAS, spoilt):
        storage = f"sqlite:///{tmp_path}/{len(values)}.db"
        study = optuna.create_study(storage=storage, study_name="captchas")
        study.enqueue_trial({"learning_rate": 3e-3})
        values.append(sweep(captchas, storage, trials=1, folds=2, report=lambda line: None).trials[0].value)
    assert values[0] == values[1]


def test_suggestions_are_configurations_around_the_defaults():
    trial = optuna.trial.FixedTrial(
        {"learning_rate": 2e-3, "schedule_peak": 0.2, "weight_decay": 0.01, "warmup_epochs": 3, "augment_strength": 1.0,
         "augment_ramp": 3, "dropout": 0.1, "ema_decay": 0.98}
    )  # fmt: skip
    assert suggest(trial, Config(epochs=5)) == replace(Config(), epochs=5, learning_rate=2e-3)


def test_a_set_is_searched_around_its_own_recipe(monkeypatch, tmp_path):
    """Other sets than the official ones start from weights that can read, without a warm-up."""
    seen = []

    def fit_nothing(train, val, config, start):
        seen.append((config, start))
        raise optuna.TrialPruned

    monkeypatch.setattr(module, "suggest", suggest)
    monkeypatch.setattr(module, "fit", fit_nothing)
    for captchas in (CAPTCHAS, CAPTCHAS.replace(source="mine")):
        sweep(captchas, f"sqlite:///{tmp_path}/{captchas.source}.db", trials=1, folds=2, report=str)
    (config, start), (own_config, own_start) = seen
    assert start is None and config.warmup_epochs >= 2
    assert own_start is not None and own_config.warmup_epochs == 0
    assert own_config.epochs == recipe_for(CAPTCHAS.replace(source="mine")).config.epochs


def test_without_optuna_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"optuna is not installed; pip install .*\[dev\]"):
        sweep(CAPTCHAS, f"sqlite:///{tmp_path}/sweep.db", trials=1)
