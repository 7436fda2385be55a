"""`Look`: what captchas of any maker look like, each knob a range."""

from dataclasses import dataclass

from captcha_lib.config import InputError
from captcha_lib.generator.style import Range, Style

Whole = tuple[int, int]
_OFF: Range = (0.0, 0.0)
_PLAIN = ("characters", "fonts", "width", "height", "negative", "one_bit", "erase")
_POSITIVE = ("length", "size", "glyph_width", "margin")


@dataclass(frozen=True)
class Look(Style):
    """A style whose texts are set to fit their pictures, with what makers other than Kaptcha do to them.

    Of the knobs of `Style` it has characters, length, fonts, size, spacing (beside `gap`), glyph_width, rotation, ink,
    width and height; the others mean nothing to it. Most is drawn once for the pictures that are drawn together.
    """

    # The share of the width that stays free: a text is made smaller until it fits, and stands anywhere.
    margin: Range = (0.05, 0.3)
    gap: Range = _OFF  # em between outlines; below zero they overlap
    pitch: Range = _OFF  # em that each glyph is given, whatever its own width; 0 is its own width
    faces: Whole = (1, 1)  # fonts in one picture
    bold: Range = _OFF  # em by which edges are moved outwards
    unequal: Range = _OFF  # share by which a glyph may be larger or smaller than its neighbours
    jitter: Range = _OFF  # em that a glyph may stand higher or lower
    shear: Range = _OFF  # px a px, for each glyph
    shade: Range = (1.0, 1.0)  # of the ink, for each glyph
    outline: Whole = (0, 0)  # px, glyphs drawn by their outlines
    fill: Range = _OFF  # the ink inside of outlines; below zero it is lighter than the paper
    shadow: Range = _OFF  # ink of a copy below the text; below zero it is lighter than the paper
    emboss: Range = _OFF  # how much of the text is seen by lit and dark edges alone
    halo: Range = _OFF  # em, of ink around letters that are paper
    perforated: Range = _OFF  # how much of the ink is left out, in fine dots or lines
    split: Range = _OFF  # em by which the text below a line is moved aside
    turn: Range = _OFF  # degrees, the whole line
    wave: Range = _OFF  # of the height, the amplitude of waves along and across the line
    strokes: Whole = (0, 0)  # lines and curves over the text
    stroke_width: Whole = (1, 1)  # px
    stroke_ink: Range = (1.0, 1.0)  # of the text's; above 1 they are darker
    erase: bool = False  # the strokes are paper, not ink
    grid: Whole = (0, 0)  # px from one line of a grid to the next
    frame: Whole = (0, 0)  # px, the line around the picture
    decoys: Whole = (0, 0)  # pale small characters strewn over the picture
    specks: Range = _OFF  # share of the pixels
    speck_size: Whole = (1, 1)  # px
    paper: Range = (1.0, 1.0)  # how light it is; 1 is white
    gradient: Range = _OFF  # how much the paper's lightness changes across it
    texture: Range = _OFF  # how much it changes from place to place
    grain_size: Whole = (8, 8)  # px, of the texture
    polygons: Whole = (0, 0)  # on the paper
    inverted: Whole = (0, 0)  # discs, bars or squares where ink and paper change places
    hatching: Range = _OFF  # strength of a pattern of parallel lines
    blur: Range = _OFF  # px, standard deviation
    scaled: Range = (1.0, 1.0)  # drawn at this share of the size, and enlarged
    noise: Range = _OFF  # standard deviation of each pixel, of the range from black to white
    jpeg: Whole = (100, 100)  # quality; 100 is none
    negative: bool = False  # light on dark
    one_bit: bool = False  # black and white alone

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in _PLAIN:
                wrong = not value and not isinstance(value, bool)
            else:
                wrong = value[0] > value[1] or (name in _POSITIVE and value[0] <= 0)
            if wrong:
                raise InputError(f"look: {name} = {value!r}; give the lowest value first, and never nothing")
