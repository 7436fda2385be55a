"""Texts that are set to fit their pictures, and what other makers than Kaptcha do to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captcha_lib.config import InputError
from captcha_lib.generator.style import DEJAVU, DEJAVU_MONO
from studies.makers.draw import draw
from studies.makers.layout import affine_grid, draws, glyph_cell, set_fitted
from studies.makers.look import Look

PLAIN = Look(characters="abcXYZ123", length=(1, 10), size=(30, 30), margin=(0.1, 0.3), height=48, width=180)
# A setting of each knob that has to be seen in the picture.
SEEN = {
    "gap": (0.3, 0.3), "bold": (0.05, 0.05), "unequal": (0.2, 0.3), "jitter": (0.1, 0.2), "shear": (0.4, 0.5),
    "rotation": (20.0, 30.0), "glyph_width": (1.4, 1.5), "shade": (0.3, 0.4), "outline": (1, 1), "shadow": (0.5, 0.6),
    "emboss": (0.9, 1.0), "turn": (5.0, 8.0), "wave": (0.08, 0.1), "strokes": (3, 5), "grid": (8, 8),
    "specks": (0.1, 0.1), "paper": (0.6, 0.7), "gradient": (0.4, 0.5), "texture": (0.4, 0.5), "polygons": (3, 5),
    "hatching": (0.3, 0.3), "blur": (1.0, 1.0), "scaled": (0.5, 0.5), "noise": (0.1, 0.1), "jpeg": (10, 10),
    "ink": (100, 120), "negative": True, "one_bit": True, "fonts": (DEJAVU_MONO,), "size": (16, 18),
}  # fmt: skip


def drawn(style: Look, texts: list[str] | None = None, seed: int = 0) -> torch.Tensor:
    return draw(texts or ["a1X", "bZ2c"], np.random.default_rng(seed), style)


def test_a_seed_gives_the_same_pictures():
    varied = replace(PLAIN, **{name: value for name, value in SEEN.items() if name != "one_bit"})
    assert torch.equal(drawn(varied), drawn(varied))
    assert not torch.equal(drawn(varied), drawn(varied, seed=1))


@pytest.mark.parametrize("knob", SEEN)
def test_every_knob_is_seen(knob):
    assert not torch.equal(drawn(PLAIN), drawn(replace(PLAIN, **{knob: SEEN[knob]})))


@given(st.lists(st.text("abcXYZ123", min_size=1, max_size=10), min_size=1, max_size=5), st.integers(9, 50))
def test_a_text_fits_whatever_its_length_and_size(texts, size):
    ink = set_fitted(texts, replace(PLAIN, size=(size, size)), np.random.default_rng(0))
    assert ink.shape == (len(texts), 48, 180)
    columns = (ink > 0.3).any(1)
    assert columns.any(1).all(), "each picture shows something"
    assert not columns[:, [0, -1]].any(), "nothing is cut off at the sides"


def test_glyphs_stand_in_their_order():
    """The ink of a text begins with that of its beginning."""
    style = replace(PLAIN, margin=(0.1, 0.1))
    short, long = (set_fitted([text], style, np.random.default_rng(0))[0] for text in ("X", "X1111111111"))
    first = int(torch.nonzero((long > 0.5).any(0))[0])
    assert (short > 0.5).any()
    assert (long[:, first : first + 6] > 0.5).any(0).all(), "the strokes of an X, and not a thin 1"


def test_strokes_that_erase_only_take_ink():
    style = replace(PLAIN, strokes=(4, 6), erase=True)
    assert (drawn(style) >= drawn(PLAIN)).all()
    assert (drawn(style) > drawn(PLAIN)).any()


def test_one_bit_is_black_and_white():
    assert set(drawn(replace(PLAIN, one_bit=True)).unique().tolist()) == {0, 255}


def test_a_negative_is_light_on_dark():
    assert torch.equal(drawn(replace(PLAIN, negative=True)), 255 - drawn(PLAIN))


def test_a_font_without_the_glyph_is_refused():
    with pytest.raises(InputError, match="it has no glyph for"):
        drawn(PLAIN, ["\u6f22"])


def test_bold_glyphs_are_wider():
    (_, *_, thin), (_, *_, thick) = glyph_cell("n", DEJAVU), glyph_cell("n", DEJAVU, 2)
    assert thick == pytest.approx(thin + 4 / 48)


def test_nothing_is_drawn_from_a_range_of_one_number():
    assert draws(None, (2.0, 2.0), 3).tolist() == [2.0, 2.0, 2.0]


def test_the_grid_is_torchs_own():
    theta = np.random.default_rng(0).uniform(-1, 1, (3, 2, 3))
    ours = affine_grid(theta * [2 / 7, 2 / 5, 1], 5, 7)
    theta = torch.tensor(theta, dtype=torch.float32)
    theirs = torch.nn.functional.affine_grid(theta, [3, 1, 5, 7], align_corners=False)
    assert torch.allclose(ours, theirs, atol=1e-5)
