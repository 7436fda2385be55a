"""Random makers of captchas, and the stream of their pictures."""

from collections import Counter

import numpy as np
import pytest
import torch

from captcha_lib.config import Config
from captcha_lib.generator.draw import draw_texts
from studies.fonts import FACES, all_faces, has_two_cases
from studies.left_out import draw_family
from studies.legibility import legibility, read_by_ocr
from studies.makers.draw import draw
from studies.makers.families import CHARACTERS, FAMILIES, faces_for, make
from studies.makers.look import Look
from studies.pretraining import Makers


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_draws(family):
    rng = np.random.default_rng(0)
    for _ in range(3):
        style = make(rng, family)
        texts = draw_texts(3, rng, style)
        pictures = draw(texts, rng, style)
        assert pictures.shape == (3, 1, style.height, style.width)
        assert (pictures.flatten(1).float().std(1) > 2).all(), "something is to be seen"


def test_makers_differ_and_come_again_with_their_seed():
    styles = [make(np.random.default_rng(seed)) for seed in range(50)]
    assert len({repr(style) for style in styles}) == 50
    assert styles[7] == make(np.random.default_rng(7))
    looks = [style for style in styles if isinstance(style, Look)]
    assert 40 <= len(looks) < 50, "some draw as Kaptcha"
    assert {look.negative for look in looks} == {True, False}
    assert len(Counter(style.characters for style in styles)) > 10


def test_faces_have_all_the_characters():
    assert len(FACES) > 50
    assert len(all_faces()) >= 200
    assert all(path.suffix in (".ttf", ".otf") for path in all_faces())


def test_small_capitals_are_for_alphabets_without_small_letters():
    bebas = next(face for face in all_faces() if face.name == "BebasNeue-Regular.ttf")
    assert not has_two_cases(bebas)
    assert bebas in faces_for(False)
    assert bebas not in faces_for(True)


def test_the_stream_has_one_size_and_all_characters():
    stream = Makers(64, workers=0)
    batches = list(stream.batches(Config(batch_size=32)).epoch(0, torch.Generator()))
    assert [batch.images.shape for batch in batches] == [(32, 1, *stream.size)] * 2
    assert set(stream.alphabet.characters) == set(CHARACTERS)


def test_general_ocr_reads_most_of_what_is_drawn():
    """Legible by design: of each family two fifths of the characters at least, of all of them two thirds."""
    pytest.importorskip("rapidocr", reason="the extra 'legibility' is not installed")
    drawn = {family: draw_family(family, 8, 1, (48, 192)) for family in FAMILIES}
    read = {family: legibility(texts, read_by_ocr(images), fold_case=True) for family, (texts, images) in drawn.items()}
    assert min(read.values()) > 0.4, read
    assert sum(read.values()) / len(read) > 2 / 3, read
