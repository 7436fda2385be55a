"""Sets texts so that they fit their pictures: any faces, sizes and places -> layers of ink (B, H, W) float32, 1 is ink.

All glyphs of a batch are drawn at once: each is taken from its font's atlas, where it is drawn once, and sampled under
an affine map of its own.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from captcha_lib.config import InputError
from captcha_lib.generator.style import Range
from studies.makers.look import Look

_EM, _CELL, _BASELINE = 48, 80, 56  # px of the atlas: an em, a glyph's square, and how far its line is below the top
_CAPITAL, _DESCENDER, _SLACK = 0.75, 0.21, 0.04  # em: the height of capitals, what hangs below the line, and air


def draws(rng: np.random.Generator, low_high: Range, n: int) -> np.ndarray:
    """n numbers from a range, float32; takes nothing from `rng` where the range holds only one."""
    low, high = low_high
    return np.full(n, low, np.float32) if low == high else rng.uniform(low, high, n).astype(np.float32)


def set_fitted(texts: list[str], style: Look, rng: np.random.Generator) -> torch.Tensor:
    """Sets B texts by what `rng` draws from the ranges of the style: (B, H, W) float32, 1 is ink."""
    lengths = np.array([len(text) for text in texts])
    row = np.repeat(np.arange(len(texts)), lengths)  # of each of the N glyphs, its text
    cells, widths = _glyphs("".join(texts), row, style, rng)  # (N, C, C), (N,) em
    n, size = len(row), draws(rng, style.size, len(texts))
    em = size[row] * np.exp(draws(rng, style.unequal, n) * rng.choice([-1, 1], n).astype(np.float32))
    stretch = draws(rng, style.glyph_width, n)
    own = widths * em * stretch
    pitch = draws(rng, style.pitch, len(texts))[row] * em
    advance = np.where(pitch > 0, np.maximum(pitch, 0.8 * own), own)
    advance = advance + (draws(rng, style.gap, len(texts)) * size)[row] + style.spacing[0]
    advance = np.maximum(advance, 0.2 * em)  # a glyph never hides the one before it
    begins, first = np.concatenate([[0], np.cumsum(advance)])[:-1], np.cumsum(lengths) - lengths
    begins -= begins[first][row]
    total = np.maximum.reduceat(begins + own, first)
    tall = _CAPITAL + _SLACK + _DESCENDER * (style.characters != style.characters.upper())  # em, of a line
    room = style.width * (1 - draws(rng, style.margin, len(texts)))
    fit = np.minimum(1, np.minimum(room / total, style.height / (tall * size)))
    left = rng.random(len(texts)) * (style.width - total * fit)
    base = _CAPITAL * size * fit + rng.random(len(texts)) * np.maximum(0, style.height - tall * size * fit)
    em = em * fit[row]
    x = left[row] + fit[row] * (begins + own / 2)
    y = base[row] - em * (_BASELINE - _CELL / 2) / _EM + draws(rng, style.jitter, n) * em
    angle, shear = np.radians(draws(rng, style.rotation, n)), draws(rng, style.shear, n)
    cells = cells * torch.from_numpy(draws(rng, style.shade, n))[:, None, None]
    return _placed(cells, row, np.stack([x, y]), _maps(em, stretch, angle, shear), (len(texts), style))


def affine_grid(theta: np.ndarray, height: int, width: int) -> torch.Tensor:
    """For `grid_sample`: where each px of a picture, about its centre, is taken from, by N maps (N, 2, 3).

    torch's own takes four times as long.
    """
    x, y = (torch.arange(side) - (side - 1) / 2 for side in (width, height))
    a = torch.from_numpy(theta.astype(np.float32))[..., None]  # (N, 2, 3, 1)
    grid = torch.empty(len(theta), height, width, 2)
    for axis in range(2):
        torch.add((a[:, axis, 0] * x)[:, None], (a[:, axis, 1] * y + a[:, axis, 2])[:, :, None], out=grid[..., axis])
    return grid


def _maps(em: np.ndarray, stretch: np.ndarray, angle: np.ndarray, shear: np.ndarray) -> np.ndarray:
    """From px of the picture, about a glyph's centre, to px of the atlas: (N, 2, 2)."""
    cos, sin, scale = np.cos(angle), np.sin(angle), _EM / em
    turned = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1)  # (N, 2, 2)
    slanted = np.zeros_like(turned)
    slanted[:, 0, 0], slanted[:, 0, 1], slanted[:, 1, 1] = scale / stretch, shear * scale / stretch, scale
    return slanted @ turned


def _placed(
    cells: torch.Tensor, row: np.ndarray, centre: np.ndarray, maps: np.ndarray, shape: tuple[int, Look]
) -> torch.Tensor:
    """The glyphs in their places; what lies outside is cut off."""
    count, style = shape
    shrink = float(np.median(maps[:, 1, 1])) if len(maps) else 1.0  # px of the atlas to one of the picture
    while shrink > 1.6:  # or every second pixel would be left out
        cells, maps, shrink = F.avg_pool2d(cells, 2), maps / 2, shrink / 2
    cell = cells.shape[1]
    side = min(int(np.ceil(cell / np.abs(maps).sum(2).max(1).min().clip(0.2))) | 1, 2 * style.height | 1)
    whole = np.floor(centre)
    offset = np.einsum("nij,jn->ni", maps, 0.5 - (centre - whole))
    grid = affine_grid(2 * np.concatenate([maps, offset[:, :, None]], 2) / cell, side, side)
    drawn = F.grid_sample(cells[:, None], grid, align_corners=False)[:, 0].numpy()
    canvas = np.zeros((count, style.height + 2 * side, style.width + 2 * side), np.float32)
    first = (whole.astype(int) + side - side // 2).clip(0, [[style.width + side], [style.height + side]])
    for glyph, b, left, top in zip(drawn, row.tolist(), *first.tolist(), strict=True):
        place = canvas[b, top : top + side, left : left + side]
        np.maximum(place, glyph, out=place)
    return torch.from_numpy(canvas[:, side:-side, side:-side])


def _glyphs(text: str, row: np.ndarray, style: Look, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """The cells (N, C, C) float32 of N glyphs and their widths (N,) in em, each in a font of its picture."""
    faces = int(rng.integers(style.faces[0], style.faces[1] + 1))
    fonts = rng.integers(len(style.fonts), size=(int(row[-1]) + 1, faces))
    font = fonts[row, rng.integers(faces, size=len(row))]
    grown = round(float(draws(rng, style.bold, 1)[0]) * _EM)
    glyphs = [glyph_cell(char, style.fonts[face], grown) for char, face in zip(text, font.tolist(), strict=True)]
    edges = [(left, left + ink.shape[1], top, top + ink.shape[0]) for ink, left, top, _ in glyphs]
    reach = int(np.abs(np.array(edges) - _CELL // 2).max())  # px from the middle: what is empty costs time
    side = min(_CELL, -(-2 * reach // 8) * 8)  # halved up to three times
    cells, empty = np.zeros((len(text), side, side), np.uint8), (_CELL - side) // 2
    for cell, (ink, left, top, _) in zip(cells, glyphs, strict=True):
        cell[top - empty : top - empty + ink.shape[0], left - empty : left - empty + ink.shape[1]] = ink
    return torch.from_numpy(cells).float() / 255, np.array([width for *_, width in glyphs], np.float32)


@lru_cache(maxsize=2**16)
def glyph_cell(char: str, font: Path, grown: int = 0) -> tuple[np.ndarray, int, int, float]:
    """A glyph in the middle of its square: its ink (h, w) uint8, 255 is black, its left and top, its width in em.

    Its edges are moved outwards by `grown` px of the square.

    Raises InputError if the font has no glyph for the character.
    """
    face, glyphs = _opened(font)
    if ord(char) not in glyphs:
        raise InputError(f"font {font.name}: it has no glyph for {char!r}; choose other characters or another font")
    left, _, right, _ = face.getbbox(char, anchor="ls")
    cell = Image.new("L", (_CELL, _CELL))
    place = (_CELL - left - right) / 2, _BASELINE
    ImageDraw.Draw(cell).text(place, char, fill=255, font=face, anchor="ls", stroke_width=grown)
    box = cell.getbbox() or (0, 0, 1, 1)
    return np.asarray(cell.crop(box)), box[0], box[1], max(1, right - left + 2 * grown) / _EM


@lru_cache(maxsize=512)
def _opened(font: Path) -> tuple[ImageFont.FreeTypeFont, frozenset[int]]:
    """A font, and the characters that it has glyphs for."""
    face = ImageFont.truetype(str(font), _EM, layout_engine=ImageFont.Layout.BASIC)
    return face, frozenset(FT2Font(str(font)).get_charmap())
