"""Captchas of the package `captcha`, seeded."""

import sys

import pytest

from captcha_lib.config import InputError
from captcha_lib.data.load import load_data
from studies.samples import draw_samples, write_samples


def test_a_seed_draws_the_same_files():
    one, again, other = (draw_samples(["ab12", "b3"], seed) for seed in (1, 1, 2))
    assert one == again != other


def test_a_folder_of_labelled_captchas(tmp_path):
    write_samples(tmp_path / "samples", 12, "0123", (2, 4), seed=3)
    captchas = load_data(str(tmp_path / "samples"))
    assert len(captchas) == 12
    assert set("".join(captchas.labels)) <= set("0123")
    assert {len(label) for label in captchas.labels} <= {2, 3, 4}
    assert captchas.manifest[["width", "height"]].drop_duplicates().to_numpy().tolist() == [[160, 60]]


def test_more_captchas_than_texts(tmp_path):
    with pytest.raises(InputError, match="only 10 different texts"):
        write_samples(tmp_path / "samples", 11, "0123456789", (1, 1))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "captcha", None)
    with pytest.raises(InputError, match=r"pip install 'captcha_lib\[notebooks\]'"):
        draw_samples(["ab"])
