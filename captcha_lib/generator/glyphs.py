"""Sets a text: font, size and place of every glyph -> one layer of ink (H, W) uint8, 255 is black."""

from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from matplotlib.ft2font import FT2Font, LoadFlags
from PIL import Image, ImageDraw, ImageFont

from captcha_lib.config import InputError
from captcha_lib.generator.style import Range, Style

_BORDER = 2  # px of paper kept around a glyph, so that it can be resampled at its edges
_WEIGHT_STEP = 0.25  # px


class Glyph(NamedTuple):
    """One glyph: its ink, the place of its upper left corner from its origin, and the width of its outline, in px."""

    ink: Image.Image
    left: int
    top: int
    outline: float


def pick(rng: np.random.Generator, low_high: Range) -> float:
    """Draws a number from a range; takes nothing from `rng` where the range holds only one."""
    low, high = low_high
    return low if low == high else float(rng.uniform(low, high))


def pick_whole(rng: np.random.Generator, low_high: tuple[int, int]) -> int:
    """The same in whole numbers, both ends included."""
    low, high = low_high
    return low if low == high else int(rng.integers(low, high + 1))


def set_text(text: str, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Sets the glyphs of a text one after the other, by what `rng` draws from the ranges of the style: (H, W) uint8.

    Kaptcha advances by the floor of a glyph's outline plus a spacing, not by the font's advance width. What does not
    fit is cut off.
    """
    font = style.fonts[pick_whole(rng, (0, len(style.fonts) - 1))]
    ranges = style.size, style.start, style.baseline, style.spacing
    size, x, baseline, spacing = (pick_whole(rng, low_high) for low_high in ranges)
    evenness = pick(rng, style.evenness)
    weight = round(pick(rng, style.weight) / _WEIGHT_STEP) * _WEIGHT_STEP
    layer = np.zeros((style.height, style.width), np.uint8)
    for char in text:
        if x >= style.width:
            break
        glyph = _rotated(draw_glyph(char, font, size, weight), pick(rng, style.rotation))
        even = (_mean_outline(style.characters, font, size, weight) / glyph.outline) ** evenness if evenness else 1.0
        glyph = _stretched(glyph, even * pick(rng, style.glyph_width))
        _place(layer, np.asarray(glyph.ink), x + glyph.left, baseline + glyph.top)
        x = max(0, x + floor(glyph.outline) + spacing)
    return layer


@lru_cache(maxsize=16384)
def draw_glyph(char: str, font: Path, size: int, weight: float) -> Glyph:
    """Draws a glyph, `size` px an em, its outline moved outwards by `weight` px; InputError if the font lacks it."""
    face = ImageFont.truetype(str(font), size, layout_engine=ImageFont.Layout.BASIC)
    outlines = FT2Font(str(font))
    if not outlines.get_char_index(ord(char)):
        raise InputError(f"font {font.name}: it has no glyph for {char!r}; choose other characters or another font")
    outlines.set_size(size, 72)
    x0, _, x1, _ = outlines.load_char(ord(char), flags=LoadFlags.NO_HINTING).bbox
    canvas = Image.new("L", (3 * size, 3 * size))
    ImageDraw.Draw(canvas).text((size, 2 * size), char, fill=255, font=face, anchor="ls", stroke_width=weight)
    left, top, right, bottom = canvas.getbbox() or (size, size, size + 1, size + 1)
    box = (left - _BORDER, top - _BORDER, right + _BORDER, bottom + _BORDER)
    return Glyph(canvas.crop(box), box[0] - size, box[1] - 2 * size, (x1 - x0) / 64 + 2 * weight)


@lru_cache(maxsize=16384)
def _mean_outline(characters: str, font: Path, size: int, weight: float) -> float:
    return fmean(draw_glyph(char, font, size, weight).outline for char in characters)


def _rotated(glyph: Glyph, degrees: float) -> Glyph:
    """Turned about its centre."""
    if not degrees:
        return glyph
    ink = glyph.ink.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    left = glyph.left + (glyph.ink.width - ink.width) // 2
    return Glyph(ink, left, glyph.top + (glyph.ink.height - ink.height) // 2, glyph.outline)


def _stretched(glyph: Glyph, factor: float) -> Glyph:
    """Made wider or narrower; its origin stays on a whole pixel."""
    if factor == 1:
        return glyph
    inner = glyph.left + _BORDER, glyph.left + glyph.ink.width - _BORDER  # where there is ink
    left, right = floor(inner[0] * factor), ceil(inner[1] * factor)
    box = (max(0.0, left / factor - glyph.left), 0, min(glyph.ink.width, right / factor - glyph.left), glyph.ink.height)
    ink = glyph.ink.resize((right - left, glyph.ink.height), Image.Resampling.BILINEAR, box=box)
    return Glyph(ink, left, glyph.top, glyph.outline * factor)


def _place(layer: np.ndarray, ink: np.ndarray, left: int, top: int) -> None:
    """Adds ink to the layer where it is darker; what lies outside is cut off."""
    height, width = layer.shape
    above, before = max(0, -top), max(0, -left)
    inside = ink[above : max(0, height - top), before : max(0, width - left)]
    place = layer[top + above :, left + before :][: inside.shape[0], : inside.shape[1]]
    np.maximum(place, inside, out=place)
