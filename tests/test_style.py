from dataclasses import replace

import pytest

from captcha_lib.config import InputError
from captcha_lib.generator.style import DEJAVU, DEJAVU_MONO, KAPTCHA, Style


def test_the_default_leaves_nothing_to_chance():
    ranges = ("length", "size", "start", "baseline", "spacing", "glyph_width", "evenness", "weight", "rotation")
    ranges += ("ink", "lines", "water", "ripple")
    assert all(low == high for low, high in (getattr(KAPTCHA, name) for name in ranges))
    assert KAPTCHA.fonts == (DEJAVU,)


@pytest.mark.parametrize(
    "knob",
    [{"size": (42, 37)}, {"rotation": (10, -10)}, {"characters": ""}, {"fonts": ()}, {"width": 0}, {"length": (0, 5)}],
    ids=str,
)
def test_a_style_that_cannot_be_drawn_is_refused(knob):
    (name,) = knob
    with pytest.raises(InputError, match=f"style: {name} = "):
        replace(KAPTCHA, **knob)


def test_fonts_may_be_anything_that_is_not_empty():
    assert Style(fonts=(DEJAVU, DEJAVU_MONO)).fonts[1] == DEJAVU_MONO
