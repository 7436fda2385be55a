"""What more images would bring."""

from dataclasses import replace

import numpy as np
import pytest

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.captchas import generated_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.training import fit
from studies import growth as expect
from studies.growth import describe, extrapolate, learning_curve

ALPHABET = Alphabet.of([KAPTCHA.characters])
TINY = Config(epochs=1, batch_size=8, warmup_epochs=0, channels=(4, 4, 8), hidden=16)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.2, 0.6, 0.8], 0.9),  # the error halves with every doubling
        ([0.5, 0.5, 0.5], 0.5),
        ([0.6, 0.5, 0.4], 0.4),  # chance: no worse than it was
        ([0.0, 0.0, 0.0], 0.0),
    ],
)
def test_a_line_through_the_errors(rates, expected):
    assert extrapolate([50, 100, 200], rates, 1000, 400) == pytest.approx(expected, abs=0.02)


def test_nothing_to_gain_where_no_error_is_seen():
    assert extrapolate([50, 100, 200], [0.9, 1.0, 1.0], 50, 400) >= 0.99


@pytest.fixture(scope="module")
def table():
    captchas = generated_captchas(40, 5)
    captchas = replace(captchas, manifest=captchas.manifest.assign(subset=["train"] * 32 + ["val"] * 4 + ["test"] * 4))
    reader, _ = fit(captchas.subset("train"), None, ALPHABET, TINY, report=str)
    return learning_curve(captchas, ALPHABET, lambda n: TINY, reader, jobs=1)


def test_a_row_for_each_part_and_one_beyond(table):
    assert table["images"].tolist() == [8, 16, 32, 64]
    assert table["n"].tolist()[:3] == [8, 8, 8]
    assert np.isnan(table["n"].iloc[3])
    assert table["rate"].between(0, 1).all()


def test_it_is_said_in_words(table):
    said = describe(table.assign(rate=[0.2, 0.6, 0.8, 0.9]))
    assert said.startswith("of 8 images that it had not seen it read 20% after 8, 60% after 16, 80% after 32 training")
    assert said.endswith("With twice the images expect about 90%.")


def test_held_images_are_not_trained_on(monkeypatch):
    captchas = generated_captchas(40, 5)
    captchas = replace(captchas, manifest=captchas.manifest.assign(subset=["train"] * 32 + ["val"] * 4 + ["test"] * 4))
    reader, _ = fit(captchas.subset("train"), None, ALPHABET, TINY, report=str)
    seen = []
    monkeypatch.setattr(expect, "run_in_processes", lambda calls, jobs: (run(*call[1]) for call in calls))

    def run(taught, images, labels, *others):
        seen.append(set(taught.labels))
        assert labels == captchas.labels[32:]
        return len(taught), 0

    learning_curve(captchas, ALPHABET, lambda n: TINY, reader)
    assert seen[0] < seen[1] < set(captchas.labels[:32])
