"""What follows from a data set: the training, and the table that says so."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.captchas import in_memory
from captcha_lib.model import CRNN, time_steps
from captcha_lib.recipe import ENOUGH, MANY, plan, plan_table, show


def test_the_defaults_hold_for_the_set_they_were_chosen_on():
    assert plan(802) == Config()


@pytest.mark.parametrize("images", [1, 18, 75, 200, 799])
def test_small_sets_are_gone_through_more_often(images):
    config = plan(images)
    shown = config.epochs * max(images, config.per_epoch)
    assert config.epochs > Config.epochs
    assert shown <= 48 * ENOUGH
    assert config.per_epoch <= 8 * images


def test_large_sets_feed_a_larger_network_with_fewer_warps():
    large, usual = plan(MANY), plan(MANY - 1)
    assert usual == Config()
    assert large.augment_strength < usual.augment_strength
    assert all(more > less for more, less in zip(large.channels, usual.channels, strict=True))
    assert plan(MANY, started=True).channels == usual.channels, "a start brings its layers"


@pytest.mark.parametrize(("images", "epochs"), [(3000, 40), (5000, 40), (10_000, 20), (20_000, 12), (100_000, 12)])
def test_very_large_sets_take_fewer_passes(images, epochs):
    assert plan(images).epochs == epochs


def test_a_network_that_can_read_needs_no_warm_up():
    assert (plan(200, started=True).warmup_epochs, plan(200).warmup_epochs) == (0, Config.warmup_epochs)


@pytest.mark.parametrize(("images", "epochs"), [(200, 48), (800, 48), (960, 40), (1600, 24), (2900, 24)])
def test_one_more_image_never_halves_the_training(images, epochs):
    assert plan(images, started=True).epochs == epochs


@pytest.mark.parametrize("width", [16, 17, 50, 130, 199, 200, 300])
def test_time_steps_are_the_networks(width):
    logits = CRNN(3, channels=(4, 4, 4), hidden=8)(torch.zeros(1, 1, 50, width, dtype=torch.uint8))
    assert logits.shape[1] == time_steps(width)


def captchas_of(labels: list[str]):
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 60, 300)
    captchas = in_memory(labels, images.contiguous(), "mine")
    subsets = ["train"] * (len(labels) - 2) + ["val", "test"]
    return replace(captchas, manifest=captchas.manifest.assign(subset=subsets, width=160))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    captchas = captchas_of(["11", "1111", "aabbaa", "ab1", "b1a", "abz"])
    return plan_table(captchas, Alphabet.of(captchas.labels), plan(4), "at random").set_index("what")["value"]


def test_the_table_by_hand(table):
    assert table["train / val / test"] == "4 / 1 / 1"
    assert table["size in the files"] == "160 x 60 px"
    assert table["read at"] == "300 x 60 px"
    assert table["time steps"] == "38, and 9 are needed"  # aabbaa: six characters, three doubles
    assert table["alphabet"] == "4: 1abz"
    assert table["rare characters"] == "'z' in 1"
    assert table["length"] == "2 to 6 characters"
    assert table["epochs"] == "48 of 32 images"


def test_a_look_alike_among_the_labels_is_told_by_its_name():
    captchas = captchas_of(["ab", "ba", "aa", "b\u0430", "ab", "ba"])
    table = plan_table(captchas, Alphabet.of(captchas.labels), plan(4), "at random").set_index("what")["value"]
    assert table["rare characters"] == "'\u0430' (CYRILLIC SMALL LETTER A) in 1"


def test_a_fixed_length_is_called_so():
    captchas = captchas_of(["ab", "ba", "aa", "bb"])
    table = plan_table(captchas, Alphabet("ab"), plan(2), "at random").set_index("what")["value"]
    assert table["length"] == "always 2"


def test_a_stream_is_counted_by_what_it_draws():
    captchas = captchas_of(["ab", "ba", "aa", "bb"])
    table = plan_table(captchas, Alphabet("ab"), plan(2), "at random", streamed=5000).set_index("what")["value"]
    assert table["epochs"] == "48 of 5,000 images"


def test_it_is_shown_a_line_a_fact():
    captchas = captchas_of(["ab", "ba", "aa", "bb"])
    table = plan_table(captchas, Alphabet("ab"), plan(2), "at random")
    assert len(show(table).splitlines()) == len(table)
