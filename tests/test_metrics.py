"""Counts that are small enough to check by hand, and a few laws."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import Reading
from captcha_lib.metrics import (
    calibration,
    describe,
    fit_temperature,
    predictions_table,
    score,
    wilson_interval,
)
from plots import by_position, character_pairs
from studies.confidence import clustered_interval

words = st.text("ab2", min_size=1, max_size=6)


def table(*rows: tuple) -> pd.DataFrame:
    """Rows of label, text and perhaps confidence."""
    return pd.DataFrame(
        [{"label": row[0], "text": row[1], "confidence": row[2] if len(row) > 2 else 0.5} for row in rows]
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson (1927) in closed form, z for 95 %."""
    z, p = 1.959963984540054, successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def test_score_by_hand():
    scores = score(table(("abcd", "abcd"), ("abcd", "abxd"), ("abcd", "abd"), ("abcd", "abccd")))
    low, high = map(pytest.approx, wilson(1, 4))
    exact = {"n": 4, "exact": 1, "exact_rate": 0.25, "exact_low": low, "exact_high": high}
    assert scores == exact | {"characters": 16, "substitutions": 1, "deletions": 1, "insertions": 1, "cer": 3 / 16}
    assert describe(scores) == "exact match 1/4 = 25.0% (95 % interval 4.6% to 69.9%), CER 18.75%"


def edits(label: str, text: str) -> int:
    """Levenshtein's distance, by its definition."""
    row = list(range(len(text) + 1))
    for i, said in enumerate(label, 1):
        row, above = [i], row
        for j, read in enumerate(text, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (said != read)))
    return row[-1]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=8)), min_size=1, max_size=6))
def test_score_counts_the_characters_of_any_script(rows):
    scores, characters = score(table(*rows)), sum(len(label) for label, _ in rows)
    wrong = sum(edits(label, text) for label, text in rows)
    assert scores["cer"] == pytest.approx(wrong / characters)
    assert scores["substitutions"] + scores["deletions"] + scores["insertions"] == wrong
    assert (scores["n"], scores["characters"]) == (len(rows), characters)
    assert scores["exact"] == sum(label == text for label, text in rows) <= scores["n"]
    assert 0 <= scores["exact_low"] <= scores["exact_rate"] <= scores["exact_high"] <= 1


def test_a_blank_at_the_end_of_a_label_is_a_character():
    scores = score(table(("ab ", "ab")))
    assert (scores["exact"], scores["deletions"]) == (0, 1)


@given(st.integers(1, 500), st.data())
def test_wilson_interval_has_its_closed_form(n, data):
    successes = data.draw(st.integers(0, n))
    assert wilson_interval(successes, n) == pytest.approx(wilson(successes, n), abs=1e-9)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 5))
def test_seeds_that_agree_tell_no_more_than_one(right, seeds):
    """Fault 12: readings of the same images by several seeds were pooled as if they were independent."""
    assert clustered_interval([right] * seeds) == pytest.approx(wilson_interval(sum(right), len(right)))
    pooled = wilson_interval(seeds * sum(right), seeds * len(right))
    assert seeds == 1 or width(clustered_interval([right] * seeds)) > width(pooled)


def test_seeds_that_are_independent_tell_more_than_one():
    right = np.random.default_rng(0).random((4, 2000)) < 0.9
    together, alone = clustered_interval(right), clustered_interval(right[:1])
    assert width(together) == pytest.approx(width(alone) / 2, rel=0.1)
    assert width(together) == pytest.approx(width(wilson_interval(right.sum(), right.size)), rel=0.1)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1)))
def test_the_clustered_interval_is_between_one_seeds_and_the_pooled_one(of_images):
    right = np.array(of_images).T  # (S, N)
    low, high = clustered_interval(right)
    share, n = right.mean(), right.shape[1]
    pooled, alone = (wilson_interval(share * count, count) for count in (right.size, n))
    assert alone[0] - 1e-12 <= low <= pooled[0] + 1e-12
    assert pooled[1] - 1e-12 <= high <= alone[1] + 1e-12 <= 1 + 1e-12
    assert low <= share <= high


def test_by_position_by_hand():
    positions = by_position(table(("abc", "abc"), ("abc", "xb"), ("a", "ab"))).to_dict("list")
    assert positions == {"position": [1, 2, 3], "n": [3, 2, 2], "right": [2, 2, 1], "rate": [2 / 3, 1.0, 0.5]}


def test_character_pairs_by_hand():
    pairs = character_pairs(table(("abc", "axc"), ("abc", "ac"), ("abc", "abxc"), ("ab", "")))
    assert " ".join(pairs["label"] + ">" + pairs["text"]) == "a>a b>x c>c a>a b> c>c a>a b>b >x c>c a> b>"


@given(st.lists(st.tuples(words, st.text("ab2", max_size=6)), min_size=1, max_size=6))
def test_character_pairs_lose_nothing(rows):
    pairs, scores = character_pairs(table(*rows)), score(table(*rows))
    assert "".join(pairs["label"]) == "".join(label for label, _ in rows)
    assert "".join(pairs["text"]) == "".join(text for _, text in rows)
    assert (pairs["label"] != pairs["text"]).sum() == round(scores["cer"] * scores["characters"])


def test_calibration_by_hand():
    bins = calibration(table(("a", "a", 0.96), ("a", "b", 0.92), ("a", "a", 1.0), ("a", "b", 0.3), ("a", "b", 0.0)))
    assert bins["low"].tolist() == [0.0, 0.3, 0.9]
    assert bins["high"].tolist() == [0.1, 0.4, 1.0]
    assert bins["n"].tolist() == [1, 1, 3]
    assert bins["right"].tolist() == [0, 0, 2]
    assert bins["confidence"].tolist() == pytest.approx([0.0, 0.3, 0.96])


@given(st.lists(st.tuples(st.just("a"), st.sampled_from("ab"), st.floats(0, 1)), min_size=1), st.integers(1, 20))
def test_calibration_counts_everything_once(rows, bins):
    counted = calibration(table(*rows), bins)
    assert counted["n"].sum() == len(rows)
    assert counted["right"].sum() == sum(label == text for label, text, _ in rows)
    assert (counted["confidence"] >= counted["low"] - 1e-9).all()
    assert (counted["confidence"] <= counted["high"] + 1e-9).all()


def test_predictions_table():
    manifest = pd.DataFrame(
        {"file": ["x.png", "y.png"], "label": ["ab", "22"], "sha256": ["0", "1"], "width": 200, "height": 50}
    ).assign(subset="test")
    captchas = Captchas("made up", manifest, np.zeros((2, 50, 200), np.uint8))
    predictions = predictions_table(captchas, [Reading("ab", 0.123456789), Reading("", 1.0)])
    assert predictions.columns.tolist() == ["file", "label", "text", "confidence", "subset"]
    rows = [["x.png", "ab", "ab", 0.123457, "test"], ["y.png", "22", "", 1.0, "test"]]
    assert predictions.to_numpy().tolist() == rows
    with pytest.raises(ValueError):
        predictions_table(captchas, [Reading("ab", 0.5)])


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.0])
def test_fit_temperature_finds_the_one_that_made_the_confidences(true_temperature):
    rng = np.random.default_rng(0)
    odds = rng.normal(1, 2, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    confidence = 1 / (1 + np.exp(-odds * true_temperature))
    assert fit_temperature(confidence, right) == pytest.approx(true_temperature, rel=0.05)


@pytest.mark.parametrize("right", [[True] * 50, [False] * 50, [True]])
def test_fit_temperature_stays_sane_where_all_readings_are_alike(right):
    temperature = fit_temperature(np.full(len(right), 0.999), right)
    assert 0.1 <= temperature <= 10
    assert 0.1 <= fit_temperature(np.ones(len(right)), right) <= 10
