"""Cross-validation: every image once a seed, by a network that has not seen it; interrupted runs continue."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import Recipe
from studies import crossval
from studies.captchas import generated_captchas
from studies.crossval import OutOfFold, crossvalidate, draw_folds, fold_recipe, load_crossval
from studies.digest import made_by, modules_of

TINY = Config(epochs=1, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)
CAPTCHAS = generated_captchas(24, seed=3)


def run(out: Path, captchas: Captchas = CAPTCHAS, config: Config = TINY, **others) -> tuple[OutOfFold, list[str]]:
    said: list[str] = []
    shape = {"folds": 3, "seeds": 2} | others
    return crossvalidate(captchas, Recipe(config), out, **shape, report=said.append), said


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


def test_folds_are_disjoint_even_and_drawn_by_the_seed():
    for n, folds in ((1070, 10), (11, 3), (4, 4), (2, 2)):
        sizes = np.bincount(draw_folds(n, folds, seed=0), minlength=folds)
        assert sizes.sum() == n
        assert sizes.max() - sizes.min() <= 1
    assert (draw_folds(100, 5, seed=0) == draw_folds(100, 5, seed=0)).all()
    assert (draw_folds(100, 5, seed=0) != draw_folds(100, 5, seed=1)).mean() > 0.5
    for folds in (0, 1, 6):
        with pytest.raises(InputError, match=f"{folds} folds of 5 images"):
            draw_folds(5, folds, seed=0)


# Training and reading


def test_the_scores_are_those_of_the_network_that_did_not_see_the_image(finished, out):
    assert finished.logits.shape == (2, 24, 25, finished.alphabet.num_classes)
    for seed, fold in ((0, 2), (1, 0)):
        reader = TorchReader.load(out / f"seed-{seed}-fold-{fold}" / "weight.pth")
        rows = np.flatnonzero(finished.folds[seed] == fold)
        assert np.allclose(reader.logits(CAPTCHAS.images[rows]), finished.logits[seed, rows], atol=1e-4)


def test_a_fold_that_is_read_has_no_part_in_its_training(finished, tmp_path):
    """Other pixels in fold 1 change the scores of that fold and, through training, all others; not its weights."""
    pixels = CAPTCHAS.images[:, 0].numpy().copy()
    rows = finished.folds[0] == 1
    pixels[rows] = 255 - pixels[rows]
    run(tmp_path, Captchas(CAPTCHAS.source, CAPTCHAS.manifest, pixels), seeds=1)
    ours = torch.load(tmp_path / "seed-0-fold-1" / "weight.pth", weights_only=True)["state"]
    again, _ = run(tmp_path / "again", seeds=1)
    theirs = torch.load(tmp_path / "again" / "seed-0-fold-1" / "weight.pth", weights_only=True)["state"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert np.array_equal(again.logits[0], finished.logits[0])


def test_an_interrupted_run_trains_what_is_missing(finished, out, tmp_path):
    for folder in out.glob("seed-0-*"):
        folder.rename(tmp_path / folder.name)
    (tmp_path / "seed-0-fold-2").rename(out / "seed-0-fold-2")
    for says in ("2 networks to train, 4 are there already", "0 networks to train, 6 are there already"):
        result, said = run(out)
        assert said[0] == f"3 folds, 2 seeds: {says}"
        assert np.array_equal(result.logits, finished.logits)
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
    with pytest.raises(InputError, match=r"another run \(images"):
        load_crossval(generated_captchas(24, seed=4), out)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"config": replace(TINY, epochs=2)}, "epochs"), ({"captchas": generated_captchas(24, seed=4)}, "images")],
)
def test_jobs_of_another_run_are_refused(finished, out, change, name):
    with pytest.raises(InputError, match=rf"another run \({name}"):
        run(out, **change)


@pytest.mark.parametrize("change", [{"code": "otherwise"}, {"torch": "0.4.1"}])
def test_jobs_of_other_code_are_trained_again(tmp_path, monkeypatch, change):
    run(tmp_path, seeds=1)
    made_by = crossval.made_by
    monkeypatch.setattr(crossval, "made_by", lambda *names: made_by(*names) | change)
    _, said = run(tmp_path, seeds=1)
    assert said[0] == "3 results were made by other code or another version of torch; they are made again"
    assert said[1] == "3 folds, 1 seeds: 3 networks to train, 0 are there already"
    assert run(tmp_path, seeds=1)[1] == ["3 folds, 1 seeds: 0 networks to train, 3 are there already"]


def test_the_code_of_the_jobs_is_this_module_and_what_it_imports(finished, out):
    facts = json.loads((out / "seed-0-fold-0" / "job.json").read_text())
    assert {name: facts["identity"][name] for name in ("code", "torch")} == made_by("studies.crossval")
    assert {"captcha_lib.augment", "captcha_lib.model", "captcha_lib.training"} <= modules_of("studies.crossval")


def test_the_images_are_held_once(monkeypatch, tmp_path):
    """All jobs share one array of pixels, and are made only as they are needed."""
    handed = []

    def run_nothing(calls, jobs):
        assert iter(calls) is calls, "a list would hold all of them"
        handed.extend(arguments for _, arguments, _ in calls)
        return []

    monkeypatch.setattr(crossval, "run_in_processes", run_nothing)
    monkeypatch.setattr(crossval, "_gather", lambda *parts: None)
    run(tmp_path, folds=8, seeds=50)
    assert len(handed) == 400
    assert all(np.shares_memory(images._pixels, CAPTCHAS._pixels) for _, images, *_ in handed)
    job, images, fold_of, _ = handed[-1]
    train, test = images.rows(fold_of != job.fold), images.rows(fold_of == job.fold)
    assert np.shares_memory(train._pixels, CAPTCHAS._pixels) and np.shares_memory(test._pixels, CAPTCHAS._pixels)


def test_a_set_is_learnt_by_its_own_recipe():
    """As `train` would learn as many images: the official sets by `Config`, from scratch; small others by their own."""
    many = generated_captchas(900, seed=1)
    assert fold_recipe(many, 10) == Recipe(Config())
    recipe = fold_recipe(many.replace(source="mine"), 10)
    assert (recipe.start_from.split(",")[0], recipe.config.warmup_epochs) == ("general", 0)
    few = many.rows(range(90)).replace(source="mine")
    assert [fold_recipe(few, folds).config.per_epoch for folds in (2, 10)] == [8 * 45, 8 * 81]
    assert fold_recipe(many.replace(source="mine"), 10, "none") == Recipe(Config())


def test_a_start_is_trained_further_and_identifies_the_run(tmp_path, reader):
    tiny = replace(TINY, warmup_epochs=0, channels=(4, 4, 4), hidden=8)
    started = crossvalidate(CAPTCHAS, Recipe(replace(tiny, learning_rate=1e-12), reader), tmp_path, 3, 1, report=str)
    assert np.allclose(started.logits[0], reader.logits(CAPTCHAS.images), atol=0.05)
    with pytest.raises(InputError, match=r"another run \(start"):
        crossvalidate(CAPTCHAS, Recipe(replace(tiny, learning_rate=1e-12)), tmp_path, 3, 1, report=str)


def test_generated_captchas_help_and_are_not_scored(finished, tmp_path):
    helped, _ = run(tmp_path, seeds=1, helpers=8)
    facts = json.loads((tmp_path / "seed-0-fold-0" / "job.json").read_text())
    assert facts["identity"]["images"] == CAPTCHAS.identity()
    assert facts["identity"]["helpers"] == generated_captchas(8, crossval.HELP_SEED).identity()
    assert not np.array_equal(helped.logits[0], finished.logits[0])
