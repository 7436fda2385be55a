"""`Style`: what captchas look like, each knob of the generator a range; and the fonts to draw them with."""

from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib import get_data_path

from captcha_lib.config import InputError

_MATPLOTLIB_FONTS = Path(get_data_path()) / "fonts" / "ttf"
DEJAVU = _MATPLOTLIB_FONTS / "DejaVuSans-Bold.ttf"
DEJAVU_MONO = _MATPLOTLIB_FONTS / "DejaVuSansMono-Bold.ttf"

Range = tuple[float, float]
_POSITIVE = ("length", "size", "glyph_width")


@dataclass(frozen=True)
class Style:
    """What captchas look like. A pair is the lowest and the highest value; each picture draws its own in between.

    The defaults are Kaptcha's, with the alphabet and the layout of the Kaggle images. Random numbers are drawn only
    for what has a range: with the defaults all that is random in a picture is its text and the heights of its curves.
    A pair in the wrong order is refused with an InputError, and so are no characters or no fonts.
    """

    # Kaptcha's own alphabet without the "a" that never occurs in the Kaggle set; it has "n" twice.
    characters: str = "bcde2345678gfynmnpwx"
    length: tuple[int, int] = (5, 5)
    fonts: tuple[Path, ...] = (DEJAVU,)  # each picture is set in one of them
    size: tuple[int, int] = (40, 40)  # px an em
    start: tuple[int, int] = (28, 28)  # px from the left, the origin of the first glyph
    baseline: tuple[int, int] = (42, 42)  # px from the top
    spacing: tuple[int, int] = (2, 2)  # px between outlines; below zero they overlap
    glyph_width: Range = (1.0, 1.0)  # of the font's own, for each glyph
    evenness: Range = (0.0, 0.0)  # 1 gives all glyphs of a picture the same width, as a typewriter's nearly have
    weight: Range = (0.0, 0.0)  # px by which all edges are moved outwards, in quarters
    rotation: Range = (0.0, 0.0)  # degrees, for each glyph
    ink: tuple[int, int] = (255, 255)  # 255 is black, 0 is as light as the paper
    lines: tuple[int, int] = (2, 2)
    dots: tuple[int, int] = (0, 0)  # specks of 1 to 3 px, each with an ink of its own
    # Strengths of the two warps, in steps of a tenth, for 64 pictures drawn together: the water's amplitude in px, and
    # a factor of the ripple's 2.6 and 1.7 px.
    water: Range = (1.5, 1.5)
    ripple: Range = (1.0, 1.0)
    width: int = 200  # px
    height: int = 50  # px

    def identity(self) -> dict:
        """Its knobs as plain values; fonts by their names, whatever folder they lie in."""
        return asdict(self) | {"fonts": [font.name for font in self.fonts]}

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            is_range = name not in ("characters", "fonts", "width", "height")
            if not value or (is_range and value[0] > value[1]) or (name in _POSITIVE and value[0] <= 0):
                raise InputError(f"style: {name} = {value!r}; give the lowest value first, and never nothing")


KAPTCHA = Style()
