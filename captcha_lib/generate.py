"""Draws labelled captchas the way the Kaggle ones were drawn: text -> (B, 1, H, W) uint8.

The recipe is that of Google's Kaptcha at its default settings (DefaultWordRenderer, WaterRipple, DefaultNoise and
DefaultBackground) and of the two JHLabs filters it uses (WaterFilter, RippleFilter): black glyphs, two fixed warps,
then two curves that are not warped, over a grey gradient. All the chance in a picture is its text and the eight
heights of its two curves. The arithmetic is done in whole numbers, so that a seed gives the same pixels everywhere.
"""

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font, LoadFlags
from PIL import Image, ImageDraw, ImageFont
from scipy import sparse

from captcha_lib.config import InputError

HEIGHT, WIDTH = 50, 200
TEXT_LENGTH = 5
# Kaptcha's own alphabet without the "a" that never occurs in the Kaggle set; "n" stands in it twice.
CHARACTERS = "bcde2345678gfynmnpwx"
FONT = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
FONT_SIZE = 40
START_X, BASELINE_Y = 28, 42
GLYPH_SPACING = 2

_MARGIN = 8  # px kept left of the picture, and of each glyph's mask, for glyphs that begin before their origin
_WEIGHT_STEPS = 256  # bilinear weights are rounded to 1/256 along each axis
_CHUNK = 64  # pictures drawn at a time: few enough to stay in the processor's cache
_OVERSAMPLING = 4  # the curves are drawn this much larger, then averaged down


def random_texts(n: int, rng: np.random.Generator) -> list[str]:
    """Draws `n` different texts of five characters, each character uniform over `CHARACTERS`.

    Raises:
        InputError: more texts than there are, 19^5.
    """
    most = len(set(CHARACTERS)) ** TEXT_LENGTH
    if n > most:
        raise InputError(f"{n:,} captchas: there are only {most:,} different texts; ask for fewer")
    texts: dict[str, None] = {}
    while len(texts) < n:
        drawn = rng.choice(list(CHARACTERS), size=(n - len(texts), TEXT_LENGTH))
        texts.update(dict.fromkeys(map("".join, drawn)))
    return list(texts)


def draw(texts: list[str], rng: np.random.Generator, lines: bool = True) -> torch.Tensor:
    """Draws one captcha for each text.

    Args:
        texts: what the captchas say; a text too long for the picture runs out of it on the right.
        rng: the source of the curves' heights; unused without `lines`.
        lines: whether the two curves are drawn over the text.

    Shape:
        B texts -> (B, 1, 50, 200) uint8, 0 is black.
    """
    pictures = np.empty((len(texts), HEIGHT, WIDTH), np.uint8)
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        ink = _warp(np.stack([_glyph_layer(text) for text in chunk]))
        light = _background() * (255 - ink)
        if lines:
            light = light * (255 - np.stack([_line_layer(rng) for _ in chunk]).astype(np.int32)) // 255
        pictures[start : start + _CHUNK] = light // 255
    return torch.from_numpy(pictures)[:, None]


def generate_captchas(n: int, seed: int) -> tuple[list[str], torch.Tensor]:
    """Draws `n` captchas with different texts: (texts, pictures (n, 1, 50, 200) uint8)."""
    rng = np.random.default_rng(seed)
    texts = random_texts(n, rng)
    return texts, draw(texts, rng)


@cache
def _background() -> np.ndarray:
    """A linear gradient from light grey at (0, 0) to white at (W, H): (H, W), 192..255."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (192 + 63 * (x * WIDTH + y * HEIGHT) // (WIDTH**2 + HEIGHT**2)).astype(np.int32)


@lru_cache(maxsize=4096)
def _glyph(char: str) -> tuple[np.ndarray, int]:
    """Draws one glyph: (its mask (H, 64) uint8 with the origin at x = 8, its advance in px).

    Kaptcha advances by the floor of the outline's own width plus 2 px, not by the font's advance width.
    """
    face = ImageFont.truetype(str(FONT), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    mask = Image.new("L", (64, HEIGHT))
    ImageDraw.Draw(mask).text((_MARGIN, BASELINE_Y), char, fill=255, font=face, anchor="ls")
    outlines = FT2Font(str(FONT))
    outlines.set_size(FONT_SIZE, 72)
    left, _, right, _ = outlines.load_char(ord(char), flags=LoadFlags.NO_HINTING).bbox
    return np.asarray(mask), (right - left) // 64 + GLYPH_SPACING


def _glyph_layer(text: str) -> np.ndarray:
    """Sets the glyphs of `text` one after the other: ink (H, W) uint8, 255 is black."""
    layer = np.zeros((HEIGHT, _MARGIN + WIDTH + 64), np.uint8)
    x = START_X
    for char in text:
        if x >= WIDTH:
            break
        mask, advance = _glyph(char)
        place = layer[:, x : x + mask.shape[1]]
        np.maximum(place, mask, out=place)
        x += advance
    return layer[:, _MARGIN : _MARGIN + WIDTH]


def _warp(ink: np.ndarray) -> np.ndarray:
    """Applies the water warp, then the ripple warp: (B, H, W) uint8 -> (B, H, W) int32.

    Two resamplings, not one folded map: the water map aliases at whole pixels, and it is the second resampling that
    blurs its rings into the frayed zone of the real pictures.
    """
    water, ripple = _water_map(), _ripple_map()
    shift = _WEIGHT_STEPS**2
    columns = ink.reshape(len(ink), -1).T.astype(np.int32)
    warped = ripple @ ((water @ columns) // shift) // shift
    return np.ascontiguousarray(warped.T).reshape(ink.shape)


@cache
def _water_map() -> sparse.csr_matrix:
    """JHLabs' WaterFilter: centre (100, 25), radius 50 px, amplitude 1.5, wavelength 2, phase 10."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    dx, dy = x - WIDTH / 2, y - HEIGHT / 2
    d = np.hypot(dx, dy)
    radius, amplitude, wavelength, phase = 50.0, 1.5, 2.0, 10.0
    k = amplitude * np.sin(2 * np.pi * d / wavelength - phase) * (radius - d) / radius
    k *= np.divide(wavelength, d, out=np.ones_like(d), where=d > 0)
    k[d > radius] = 0.0
    return _sampling_matrix(x + dx * k, y + dy * k)


@cache
def _ripple_map() -> sparse.csr_matrix:
    """JHLabs' RippleFilter, sine waves of 2.6 and 1.7 px, on a picture that it enlarged by (2, 1) px."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    x, y = x - 2, y - 1
    return _sampling_matrix(x + 2.6 * np.sin(y / 15), y + 1.7 * np.sin(x / 5))


def _sampling_matrix(source_x: np.ndarray, source_y: np.ndarray) -> sparse.csr_matrix:
    """Bilinear sampling as one sparse matrix over flattened pixels; outside the picture is empty.

    Args:
        source_x, source_y: (H, W), where each pixel of the result is read from, in px.

    Returns:
        (H * W, H * W) int32, its weights in units of 1 / 65536.
    """
    x0, y0 = np.floor(source_x).astype(int), np.floor(source_y).astype(int)
    fx = np.rint((source_x - x0) * _WEIGHT_STEPS).astype(np.int32)
    fy = np.rint((source_y - y0) * _WEIGHT_STEPS).astype(np.int32)
    target = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    rows, columns, weights = [], [], []
    for x, weight_x in ((x0, _WEIGHT_STEPS - fx), (x0 + 1, fx)):
        for y, weight_y in ((y0, _WEIGHT_STEPS - fy), (y0 + 1, fy)):
            inside = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
            rows.append(target[inside])
            columns.append((y * WIDTH + x)[inside])
            weights.append((weight_x * weight_y)[inside])
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix(entries, shape=(target.size, target.size), dtype=np.int32)


def _line_layer(rng: np.random.Generator) -> np.ndarray:
    """Draws Kaptcha's two curves: ink (H, W) uint8, 255 is black."""
    canvas = Image.new("L", (WIDTH * _OVERSAMPLING, HEIGHT * _OVERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for shares_of_width in ((0.1, 0.1, 0.25, 0.25), (0.1, 0.25, 0.5, 0.9)):
        heights = rng.uniform(0, HEIGHT, 4)
        control = [complex(WIDTH * share, y) for share, y in zip(shares_of_width, heights, strict=True)]
        points = [complex(int(p.real) + 0.5, int(p.imag) + 0.5) for p in _flatten(*control)]
        for i in range(len(points) - 1):
            _stroke(pen, points[i], points[i + 1], width=(3.6, 2.7, 1.8)[min(i, 2)])
    return np.asarray(canvas.reduce(_OVERSAMPLING))


def _flatten(p0: complex, p1: complex, p2: complex, p3: complex, flatness: float = 2.0) -> list[complex]:
    """Halves a cubic Bézier curve until its control points lie within `flatness` px of the chord (de Casteljau).

    Points are complex numbers, x + iy, here and below.
    """
    if max(_distance(p1, p0, p3), _distance(p2, p0, p3)) <= flatness:
        return [p0, p3]
    p01, p12, p23 = (p0 + p1) / 2, (p1 + p2) / 2, (p2 + p3) / 2
    p012, p123 = (p01 + p12) / 2, (p12 + p23) / 2
    top = (p012 + p123) / 2
    return _flatten(p0, p01, p012, top)[:-1] + _flatten(top, p123, p23, p3)


def _distance(point: complex, start: complex, end: complex) -> float:
    """The distance in px of a point from a straight piece."""
    piece, offset = end - start, point - start
    share = (offset * piece.conjugate()).real / abs(piece) ** 2 if piece else 0.0
    return abs(offset - min(1.0, max(0.0, share)) * piece)


def _stroke(pen: ImageDraw.ImageDraw, start: complex, end: complex, width: float) -> None:
    """Draws a straight piece with square caps, as Java's BasicStroke does."""
    if start == end:
        return
    along = (end - start) / abs(end - start) * width / 2
    across = along * 1j
    corners = (start - along + across, end + along + across, end + along - across, start - along - across)
    pen.polygon([(p.real * _OVERSAMPLING - 0.5, p.imag * _OVERSAMPLING - 0.5) for p in corners], fill=255)
