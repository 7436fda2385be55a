"""What more images would bring."""

import numpy as np
import pytest

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.training import fit
from studies import growth
from studies.captchas import generated_captchas
from studies.growth import describe, extrapolate, learning_curve

TINY = Config(epochs=1, batch_size=8, warmup_epochs=0, channels=(4, 4, 8), hidden=16)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.2, 0.6, 0.8], 0.9),  # the error halves with every doubling
        ([0.5, 0.5, 0.5], 0.5),
        ([0.6, 0.5, 0.4], 0.4),  # at random: no worse than it was
        ([0.0, 0.0, 0.0], 0.0),
        ([0.9, 1.0, 1.0], 1.0),
    ],
)
def test_a_line_through_the_errors(rates, expected):
    assert extrapolate([50, 100, 200], rates, 1000, 400) == pytest.approx(expected, abs=0.02)


def split() -> Captchas:
    captchas = generated_captchas(40, 5)
    return captchas.replace(manifest=captchas.manifest.assign(subset=["train"] * 32 + ["val"] * 4 + ["test"] * 4))


@pytest.fixture(scope="module")
def table():
    captchas = split()
    reader, _ = fit(captchas.subset("train"), None, TINY)
    return learning_curve(captchas, lambda n: TINY, reader, jobs=1)


def test_a_row_for_each_part_and_one_beyond(table):
    assert table["images"].tolist() == [8, 16, 32, 64]
    assert table["n"].tolist()[:3] == [4, 4, 4]
    assert np.isnan(table["n"].iloc[3])
    assert table["rate"].between(0, 1).all()


def test_it_is_said_in_words(table):
    said = describe(table.assign(rate=[0.2, 0.6, 0.8, 0.9]))
    assert said.startswith("of 4 test images it read 20% after 8, 60% after 16, 80% after 32 training")
    assert said.endswith("With twice the images expect about 90%.")


def test_only_test_images_are_read(monkeypatch, reader):
    """The validation images chose the epoch of the full run: they are neither trained on nor read."""
    captchas = split()
    trained, read = [], []

    def read_after(train, test, config, start):
        trained.append(set(train.labels))
        read.append(test.labels)
        return len(train), 0

    monkeypatch.setattr(growth, "run_in_processes", lambda calls, jobs: (read_after(*call[1]) for call in calls))
    table = learning_curve(captchas, lambda n: TINY, reader)
    assert trained[0] < trained[1] < set(captchas.labels[:32])
    assert read == [captchas.labels[36:]] * 2
    assert table["n"].iloc[2] == 4


def test_too_few_images_are_refused(reader):
    few = split().rows([0, 1, 2, 32, 36])
    with pytest.raises(InputError, match="3 training images cannot be quartered"):
        learning_curve(few, lambda n: TINY, reader)
