from pathlib import Path

import pytest

from captcha_lib.config import InputError
from captcha_lib.generator.style import KAPTCHA
from studies import fonts
from studies.fonts import free_fonts, varied_style


def test_free_fonts_are_files_of_their_own():
    """None is DejaVu: the generated captchas are set in it, and are to be read by networks that never saw it."""
    files = free_fonts()
    assert len(set(files)) == len(files) == sum(map(len, fonts.FREE_FACES.values()))
    assert all(font.is_file() for font in files)
    assert not [font for font in free_fonts() if "dejavu" in font.name.lower() or "vera" in font.name.lower()]


def test_a_missing_package_or_file_is_named(monkeypatch):
    monkeypatch.setattr(fonts, "FREE_FACES", {"font-nobody-has": ("Nobody-Bold.ttf",)})
    with pytest.raises(InputError, match=r"font-nobody-has is not installed; pip install .*\[fonts\]"):
        free_fonts()
    monkeypatch.setattr(fonts, "FREE_FACES", {"font-roboto": ("Roboto-Fat.ttf",)})
    with pytest.raises(InputError, match=r"Roboto-Fat.ttf: the package font-roboto does not hold it"):
        free_fonts()


def test_varied_ranges_hold_kaptchas_values():
    """Except the baseline's and others' ranges hold what Kaptcha does: nothing it draws is left out."""
    varied = varied_style((Path("x.ttf"),))
    for name in ("size", "start", "baseline", "spacing", "glyph_width", "evenness", "weight", "water", "ripple"):
        low, high = getattr(varied, name)
        assert low < high
        assert low <= getattr(KAPTCHA, name)[0] <= high
