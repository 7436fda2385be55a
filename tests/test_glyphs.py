from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captcha_lib.config import InputError
from captcha_lib.generator.glyphs import _rotated, _stretched, draw_glyph, pick, pick_whole, set_text
from captcha_lib.generator.style import DEJAVU, DEJAVU_MONO, KAPTCHA


class NoChance:
    """Fails where a random number is drawn."""

    def __getattr__(self, name: str):
        raise AssertionError(f"rng.{name} was asked")


def ink_of(text: str, **knobs) -> np.ndarray:
    return set_text(text, replace(KAPTCHA, **knobs), np.random.default_rng(0))


def columns_of(ink: np.ndarray) -> np.ndarray:
    return np.flatnonzero((ink > 127).any(0))


def test_without_ranges_there_is_no_chance():
    assert set_text("2b827", KAPTCHA, NoChance()).shape == (50, 200)


@given(st.integers(-20, 20), st.integers(0, 9))
def test_pick_stays_in_the_range(low, more):
    rng = np.random.default_rng(1)
    assert {pick_whole(rng, (low, low + more)) for _ in range(300)} == set(range(low, low + more + 1))
    assert all(low <= pick(rng, (low, low + more)) <= low + more for _ in range(20))


@pytest.mark.parametrize(("char", "outline"), [("n", 22.0), ("f", 16.98), ("2", 21.19)])
def test_a_glyph_advances_by_its_whole_pixels_and_two(char, outline):
    assert draw_glyph(char, DEJAVU, 40, 0.0).outline == pytest.approx(outline, abs=0.02)
    alone, twice = ink_of(char), ink_of(char * 2)
    second = np.maximum(alone, np.roll(alone, int(outline) + 2, axis=1))
    assert np.array_equal(twice, second)


@pytest.mark.parametrize("font", [DEJAVU, DEJAVU_MONO], ids=lambda font: font.stem)
def test_every_glyph_of_every_font_has_paper_around_it(font):
    for char in set(KAPTCHA.characters):
        ink = np.asarray(draw_glyph(char, font, 42, 0.5).ink)
        assert ink.max() == 255
        assert not ink[[0, -1]].any()
        assert not ink[:, [0, -1]].any()


def test_what_the_font_does_not_have_is_refused():
    with pytest.raises(InputError, match=r"DejaVuSans-Bold.ttf: it has no glyph for '中'"):
        draw_glyph("中", DEJAVU, 40, 0.0)


def test_a_blank_glyph_is_drawn():
    assert not ink_of(" ").any()


def test_start_and_baseline_move_the_text():
    ink = ink_of("x")
    assert np.array_equal(ink_of("x", start=(33, 33)), np.roll(ink, 5, axis=1))
    assert np.array_equal(ink_of("x", baseline=(39, 39)), np.roll(ink, -3, axis=0))


def test_spacing_below_zero_crowds():
    assert columns_of(ink_of("nn", spacing=(-6, -6)))[-1] == columns_of(ink_of("nn"))[-1] - 8


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_width_stretches_about_the_origin(factor):
    glyph = draw_glyph("m", DEJAVU, 40, 0.0)
    stretched = _stretched(glyph, factor)
    inked = [np.flatnonzero((np.asarray(g.ink) > 127).any(0)) + g.left for g in (glyph, stretched)]
    assert inked[1][0] == pytest.approx(factor * inked[0][0], abs=1)
    assert inked[1][-1] == pytest.approx(factor * inked[0][-1], abs=1.5)
    assert stretched.outline == pytest.approx(factor * glyph.outline)
    assert (stretched.top, stretched.ink.height) == (glyph.top, glyph.ink.height)


def test_even_glyphs_have_one_width():
    widths = {char: len(columns_of(ink_of(char, evenness=(1.0, 1.0)))) for char in "fmnw2"}
    assert max(widths.values()) - min(widths.values()) <= 3
    assert len(columns_of(ink_of("m"))) > 1.6 * len(columns_of(ink_of("f")))


def test_weight_makes_strokes_thicker():
    thin, thick = (ink_of("f", weight=(w, w)) for w in (0.0, 1.0))
    assert (thick >= thin).all()
    assert thick.sum() > 1.2 * thin.sum()


def test_rotation_turns_about_the_centre():
    glyph = draw_glyph("f", DEJAVU, 40, 0.0)
    turned = _rotated(_rotated(glyph, 30), -30)
    centres = [(g.left + g.ink.width / 2, g.top + g.ink.height / 2) for g in (glyph, turned)]
    assert centres[0] == pytest.approx(centres[1], abs=1)
    assert _rotated(glyph, 90).ink.size == glyph.ink.size[::-1]


@given(st.floats(-180, 180), st.integers(-60, 20), st.text("mwf2", max_size=12), st.integers(-60, 250))
def test_whatever_lies_outside_is_cut_off(degrees, spacing, text, start):
    knobs = {"rotation": (degrees, degrees), "spacing": (spacing, spacing), "start": (start, start)}
    assert ink_of(text, **knobs).shape == (50, 200)


def test_each_picture_draws_its_own_values():
    rng = np.random.default_rng(0)
    style = replace(KAPTCHA, start=(20, 40), fonts=(DEJAVU, DEJAVU_MONO))
    firsts = {int(columns_of(set_text("n", style, rng))[0]) for _ in range(200)}
    assert len(firsts) > 15
