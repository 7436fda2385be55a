"""What each part of the recipe is worth: each change changes that and nothing else."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import captcha_lib.augment
from captcha_lib.config import Config
from captcha_lib.model import has_bfloat16
from captcha_lib.training import fit
from studies import ablation
from studies.ablation import AS_IS, COLUMNS, SETTINGS, Setting, ablate, count_read, effects, learn, paired, parameters
from studies.captchas import generated_captchas

TINY = Config(epochs=2, batch_size=16, warmup_epochs=1, augment_ramp=0, channels=(4, 4, 8), hidden=16, bfloat16=False)


@pytest.fixture(scope="module")
def captchas():
    drawn = generated_captchas(60, 1)
    return drawn.replace(manifest=drawn.manifest.assign(subset=["train"] * 40 + ["val"] * 10 + ["test"] * 10))


def test_without_a_change_it_is_the_training_of_the_library(captchas):
    reader, _ = fit(captchas, None, TINY)
    network, seconds = learn(captchas, TINY)
    with torch.no_grad():
        torch.testing.assert_close(network(captchas.images), reader.logits(captchas.images), atol=2e-3, rtol=2e-3)
    assert seconds > 0


@pytest.mark.parametrize(("part", "setting"), [name for name in SETTINGS if name != AS_IS])
def test_every_setting_learns_something_else(captchas, part, setting):
    some = captchas.rows(np.arange(32))
    config = replace(TINY, epochs=4, warmup_epochs=2, augment_ramp=3, bfloat16=True)
    changed, _ = learn(some, config, SETTINGS[part, setting])
    as_it_is, _ = learn(some, config)
    with torch.no_grad():
        logits, others = changed(some.images), as_it_is(some.images)
    assert torch.isfinite(logits).all()
    if (part, setting) == ("precision", "float32") and not has_bfloat16("cpu"):
        pytest.skip("this processor has no other precision")
    assert logits.shape != others.shape or not torch.equal(logits, others)


def test_a_warp_that_was_taken_away_is_back_afterwards(captchas):
    before = captcha_lib.augment.MAX_SHEAR
    learn(captchas.rows(np.arange(8)), replace(TINY, epochs=1), SETTINGS["warps", "no slant"])
    assert before == captcha_lib.augment.MAX_SHEAR


def test_networks_have_the_steps_and_weights_that_their_names_say(captchas):
    def steps(setting: Setting) -> int:
        network, _ = learn(captchas.rows(np.arange(8)), replace(TINY, epochs=1), setting)
        return network(captchas.images[:1]).shape[1]

    assert [steps(SETTINGS["time steps", name]) for name in ("13", "50")] == [13, 50]
    sizes = {name: parameters(("LSTM", name), captchas) for name in ("none", "one direction", "two layers")}
    usual = parameters(AS_IS, captchas)
    assert sizes["none"] < usual < sizes["two layers"]
    assert parameters(("convolutions", "not separable"), captchas) > usual


def test_weight_decay_of_matrices_leaves_the_others_alone(captchas):
    state = ablation.begin(torch.nn.Linear(4, 3), 10, TINY)
    ablation.decay_matrices(state, TINY)
    matrices, vectors = state.optimizer.param_groups
    assert [weights.ndim for weights in matrices["params"] + vectors["params"]] == [2, 1]
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (TINY.weight_decay, 0)


@pytest.mark.parametrize(("change", "shares"), [(ablation.constant, (1, 1, 1)), (ablation.falling, (1, 0.5, 0))])
def test_schedules_have_their_form(change, shares):
    state = ablation.begin(torch.nn.Linear(4, 3), 10, replace(TINY, epochs=2))
    change(state, TINY)
    rates = []
    for _ in range(21):
        rates.append(state.optimizer.param_groups[0]["lr"] / TINY.learning_rate)
        state.optimizer.step()
        state.schedule.step()
    assert [rates[0], rates[10], rates[20]] == pytest.approx(shares, abs=1e-9)


def test_the_table_has_a_row_a_training_and_the_test_images_are_not_read(tmp_path, captchas, monkeypatch):
    seen = []

    def count(network, read) -> int:
        seen.extend(read.manifest["file"])
        return len(read) - 1

    monkeypatch.setattr(ablation, "count_read", count)
    monkeypatch.setattr(ablation, "config_for", lambda images: replace(TINY, epochs=1))
    monkeypatch.setattr(
        ablation, "run_jobs", lambda out, work, *_: {k: j.function(*j.arguments) for k, j in work.items()}
    )
    table = ablate(captchas, tmp_path, ["dropout"], (8,), 10)
    assert table.columns.tolist() == COLUMNS
    settings = table.groupby(["part", "setting"]).size()
    assert settings.to_dict() == {AS_IS: 10, ("dropout", "0.3"): 10, ("dropout", "none"): 10}
    tested = set(captchas.subset("test").manifest["file"])
    assert sorted(seen) == sorted(3 * [file for file in captchas.manifest["file"] if file not in tested])


def run_here(out, work, *_) -> dict:
    return {name: job.function(*job.arguments) for name, job in work.items()}


def test_effects_are_differences_of_the_same_seeds():
    exact = {AS_IS: [90, 80, 85, 88], ("a", "worse"): [88, 77, 84, 86], ("a", "alike"): [91, 79, 86, 87]}
    rows = [(*name, 100, seed, count, 100, 1.0) for name, counts in exact.items() for seed, count in enumerate(counts)]
    found = effects(pd.DataFrame(rows, columns=COLUMNS)).set_index("setting")
    assert found.loc["worse", "effect"] == pytest.approx(-2)
    low, high = found.loc["worse", ["low", "high"]]
    assert low == pytest.approx(-2 - 3.182 * 0.8165 / 2, abs=1e-3) and high == pytest.approx(-4 - low)
    assert found.loc["alike", ["effect", "q"]].tolist() == pytest.approx([0, 1])
    assert found.loc["worse", "q"] == pytest.approx(2 * paired(np.array([-2, -3, -1, -2]))[2])
    assert found.loc["as it is", ["effect", "low", "high"]].tolist() == [0, 0, 0]


def test_differences_that_are_all_alike_have_no_spread():
    assert paired(np.zeros(4)) == (0, 0, 1) and paired(np.ones(4)) == (1, 1, 0)


def test_what_reads_nothing_counts_nothing(captchas):
    assert count_read(lambda images: torch.zeros(len(images), 25, 20), captchas) == 0
