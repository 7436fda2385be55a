"""The defaults derived from a data set, the weights to start from, and the table that shows them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import SPLITS_DIR, Config
from captcha_lib.data.captchas import Captchas, in_memory
from captcha_lib.data.split import read_split
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.reading.torch_reader import load_start
from captcha_lib.recipe import (
    GENERAL,
    LARGE_SET,
    MAX_REPEATS,
    MEDIUM_SET,
    Recipe,
    chance_loss,
    config_for,
    patient,
    plan_table,
    recipe_for,
    show,
)

GENERAL_READER = load_start(GENERAL)


def test_the_defaults_hold_for_the_set_they_were_chosen_on():
    assert config_for(802) == Config()


@pytest.mark.parametrize("images", [1, 18, 75, 200, 799])
def test_small_sets_are_gone_through_more_often(images):
    config = config_for(images)
    shown = config.epochs * max(images, config.per_epoch)
    assert config.epochs > Config.epochs
    assert shown <= 48 * MEDIUM_SET
    assert config.per_epoch <= 8 * images


def test_large_sets_feed_a_larger_network_with_fewer_warps():
    large, usual = config_for(LARGE_SET), config_for(LARGE_SET - 1)
    assert usual == Config()
    assert large.augment_strength < usual.augment_strength
    assert all(more > less for more, less in zip(large.channels, usual.channels, strict=True))
    assert config_for(LARGE_SET, GENERAL_READER).channels == (48, 96, 160), "a start brings its layers"


@pytest.mark.parametrize(("images", "epochs"), [(3000, 40), (5000, 40), (10_000, 20), (20_000, 12), (100_000, 12)])
def test_very_large_sets_take_fewer_passes(images, epochs):
    assert config_for(images).epochs == epochs


def test_a_network_that_can_read_needs_no_warm_up():
    assert (config_for(200, GENERAL_READER).warmup_epochs, config_for(200).warmup_epochs) == (0, Config.warmup_epochs)


@pytest.mark.parametrize(("images", "epochs"), [(20, 16), (70, 16), (90, 13), (100, 12), (800, 12), (2900, 12)])
def test_after_a_start_images_are_shown_less_often(images, epochs):
    config = config_for(images, GENERAL_READER)
    assert (config.epochs, config.per_epoch) == (epochs, min(MEDIUM_SET, MAX_REPEATS * images))


def captchas_of(labels: list[str], height: int = 60, source: str = "mine") -> Captchas:
    images = torch.arange(len(labels), dtype=torch.int64).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, height, 300)
    captchas = in_memory(labels, images.contiguous(), source)
    subsets = ["train"] * (len(labels) - 2) + ["val", "test"]
    return captchas.replace(manifest=captchas.manifest.assign(subset=subsets, width=160))


def table_of(labels: list[str], recipe: Recipe | None = None) -> pd.Series:
    captchas = captchas_of(labels)
    recipe = recipe or Recipe(config_for(len(labels) - 2))
    return plan_table(captchas, recipe).set_index("what")["value"]


def test_the_table_by_hand():
    table = table_of(["11", "1111", "aabbaa", "ab1", "b1a", "abz"])
    assert table["train / val / test"] == "4 / 1 / 1"
    assert table["size in the files"] == "160 x 60 px"
    assert table["read at"] == "300 x 60 px"
    assert table["time steps"] == "38, and 9 are needed"  # aabbaa: six characters, three doubles
    assert table["alphabet"] == "4: 1abz"
    assert table["rare characters"] == "'z' in 1"
    assert table["length"] == "2 to 6 characters"
    assert table["epochs"] == "48 of 32 images"
    assert table["initial weights"] == "random"


def test_a_look_alike_among_the_labels_is_told_by_its_name():
    table = table_of(["ab", "ba", "aa", "b\u0430", "ab", "ba"])
    assert table["rare characters"] == "'\u0430' (CYRILLIC SMALL LETTER A) in 1"


def test_a_fixed_length_is_called_so():
    assert table_of(["ab", "ba", "aa", "bb"])["length"] == "always 2"


def test_it_is_shown_a_line_a_fact():
    table = plan_table(captchas_of(["ab", "ba", "aa", "bb"]), Recipe(Config()))
    assert len(show(table).splitlines()) == len(table)


# The weights to start from


UPPER = ["ABC1", "A23B"]


@pytest.mark.parametrize(
    ("labels", "height", "images", "taken"),
    [
        (UPPER, 50, 30, True),
        (UPPER, 50, LARGE_SET, False),
        (UPPER, 64, 30, True),
        (["ABC#"], 50, 30, True),
    ],
)
def test_when_the_general_weights_are_taken(labels, height, images, taken):
    captchas = captchas_of(labels * (images // len(labels) + 2), height)
    recipe = recipe_for(captchas, seed=3)
    assert (recipe.start is not None) == taken
    assert recipe.start_from.startswith("general" if taken else "random")
    assert recipe.config == replace(config_for(len(captchas.subset("train")), recipe.start), seed=3)


@pytest.mark.parametrize("source", ["generated", "kaggle"])
def test_the_official_images_are_learnt_from_scratch(source):
    assert recipe_for(captchas_of(UPPER * 20, source=source)).start is None


def test_names_of_files_change_no_recipe():
    """Fault 9: files that are called as in an official split, but are other images, are not official."""
    names = read_split(SPLITS_DIR / "generated.csv")["file"]
    captchas = captchas_of(["ABC1"] * len(names))
    captchas = captchas.replace(manifest=captchas.manifest.assign(file=names))
    assert recipe_for(captchas).start is not None


def test_a_start_can_be_asked_for_or_not(weights):
    captchas = captchas_of(["2b#"] * 5)
    assert recipe_for(captchas, start="none").start is None
    assert recipe_for(captchas_of(UPPER * 5, height=64), start="general").start is not None
    recipe = recipe_for(captchas, start=str(weights))
    assert recipe.start.alphabet == Alphabet.of([KAPTCHA.characters])
    assert recipe.start_from == f"{weights}, which knows 2 of 3 characters"


@pytest.mark.parametrize(("label", "warm_up"), [("ЖЯ", 4), ("AБЖГ", 4), ("AБ", 0), ("ABC1", 0)])
def test_weights_that_know_few_of_the_characters_learn_first_where_they_are(label, warm_up):
    recipe, known = recipe_for(captchas_of([label] * 5)), recipe_for(captchas_of(UPPER * 5))
    assert recipe.start is not None
    assert recipe.config.warmup_epochs == recipe.config.epochs - known.config.epochs == warm_up


def test_another_go_is_longer():
    recipe = Recipe(Config())
    again = patient(recipe)
    assert (again.config.epochs, again.config.warmup_epochs, again.config.hidden) == (48, 16, 160)
    started = recipe_for(captchas_of(UPPER * 5))
    assert patient(started).config.channels == started.config.channels, "a start brings its layers"


def test_the_loss_of_chance():
    assert chance_loss(["ab", "ab"]) == pytest.approx(2 * np.log(2))
    assert chance_loss(["aab", "a"]) == pytest.approx(2 * -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert chance_loss(["aa"]) == 0


@pytest.mark.parametrize(("longest", "width"), [(1, 192), (4, 192), (6, 288)])
def test_pictures_are_read_at_the_height_of_the_weights_with_room_for_each_character(longest, width):
    captchas = captchas_of(["A", "B" * longest] * 10)
    recipe = recipe_for(captchas)
    assert recipe.size == recipe.seen(captchas).size == (GENERAL_READER.image_size[0], width)


def test_a_size_that_is_given_is_kept():
    captchas = captchas_of(UPPER * 10, height=60)
    recipe = recipe_for(captchas, size=(60, 300))
    assert (recipe.start, recipe.seen(captchas).size) == (None, (60, 300))
    assert recipe_for(captchas, size=(48, 192)).start is not None, "it is the one that they are read at"
