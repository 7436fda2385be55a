"""Captchas of the packages `captcha` and `wheezy.captcha`, seeded."""

import sys

import pytest

from captcha_lib.config import InputError
from captcha_lib.data.load import load_data
from studies.samples import draw_samples, draw_wheezy, write_samples


@pytest.mark.parametrize("draw", [draw_samples, draw_wheezy])
def test_a_seed_draws_the_same_files(draw):
    one, again, other = (draw(["ab12", "b3"], seed) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("draw", [draw_samples, draw_wheezy])
def test_a_folder_of_labelled_captchas(tmp_path, draw):
    write_samples(tmp_path / "samples", 12, "0123", (2, 4), seed=3, draw=draw)
    captchas = load_data(str(tmp_path / "samples"))
    assert len(captchas) == 12
    assert set("".join(captchas.labels)) <= set("0123")
    assert {len(label) for label in captchas.labels} <= {2, 3, 4}
    assert captchas.manifest[["width", "height"]].drop_duplicates().to_numpy().tolist() == [[160, 60]]


def test_more_captchas_than_texts(tmp_path):
    with pytest.raises(InputError, match="only 10 different texts"):
        write_samples(tmp_path / "samples", 11, "0123456789", (1, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("draw", "package"), [(draw_samples, "captcha"), (draw_wheezy, "wheezy.captcha")])
def test_a_missing_package_is_named(monkeypatch, draw, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'captcha_lib\[notebooks\]'"):
        draw(["ab"])
