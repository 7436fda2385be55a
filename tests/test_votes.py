"""What views of a picture are read as, and what of that is believed."""

import numpy as np
import torch

from captcha_lib.alphabet import ANY
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import count_exact
from captcha_lib.reading.torch_reader import load_start
from captcha_lib.reading.votes import Kind, Vote, _by_place, _missing, believed, read, vote

SURE = [np.array([0.9, 0.2, 0.8]), np.array([0.1, 0.3]), np.array([0.99, 0.98]), np.array([])]
VOTE = Vote(["aab", "ab", "aa", ""], SURE, np.ones(4))


def test_the_surest_characters_are_believed_and_what_is_certain():
    assert believed(VOTE, 0.5, 10, 32) == [f"a{ANY}{ANY}", "", "aa", ""], "of the second nothing is believed"
    assert believed(VOTE, 0.0, 10, 32) == ["", "", "aa", ""], "what is certain, in any round"
    assert believed(VOTE, 1.0, 10, 32) == ["aab", "ab", "aa", ""]
    assert believed(VOTE, 1.0, 10, 2) == ["", "ab", "", ""], "what the time steps cannot spell is not learnt"
    assert believed(Vote([""], [np.array([])], np.ones(1)), 0.5, 10, 32) == [""], "nothing was read"


def test_of_a_character_that_is_missing_the_surest_are_believed():
    """Zeros that are mostly taken for fives: the few that are read are not sure, and yet not forgotten."""
    sure = [np.array([0.95, 0.9])] * 18 + [np.array([0.3, 0.9]), np.array([0.2, 0.9])]
    said = Vote(["55"] * 18 + ["05"] * 2, sure, np.ones(20))
    assert believed(said, 0.5, 2, 32)[18:] == [f"{ANY}5"] * 2
    said = said._replace(missing="0")
    assert believed(said, 0.5, 10, 32)[18:] == ["05", f"{ANY}5"], "a half of a half of a tenth of 40: one"
    assert believed(said, 0.5, 2, 32)[18:] == ["05", "05"]


def test_a_character_is_missing_that_is_hardly_read():
    read = "12345" * 10 + "0"
    assert _missing(read, "012345") == "0"
    assert _missing(read + "00", "012345") == ""
    assert _missing("12345" * 8, "012345") == "", "of so few nobody can tell"


def test_views_vote_place_by_place():
    assert _by_place(["abc", "abd", "xbd", "abcd"]) == "abd"
    assert _by_place(["", "", "a"]) == ""


def test_a_kind_is_what_is_read():
    texts, images = generate_captchas(24, 3)
    reader = load_start("kaggle")
    kind = Kind("".join(sorted(set("".join(texts)))), 5)
    assert count_exact([one.text for one in read(reader, images, kind)], texts) >= 22
    said = vote(reader, images, kind, torch.Generator().manual_seed(0))
    assert count_exact(said.texts, texts) >= 22
    assert all(len(sure) == 5 and (sure <= 1).all() for sure in said.sure) and said.agreed.mean() > 0.9
    only = vote(reader, images, Kind("2345", 5), torch.Generator().manual_seed(0))
    assert set("".join(only.texts)) <= set("2345")
