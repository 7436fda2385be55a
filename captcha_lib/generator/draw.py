"""Draws labelled captchas the way the Kaggle ones were drawn: text -> (B, 1, H, W) uint8.

The recipe is that of Google's Kaptcha (DefaultWordRenderer, WaterRipple, DefaultNoise and DefaultBackground) and of the
two JHLabs filters it uses (WaterFilter, RippleFilter): black glyphs, two fixed warps, then two curves that are not
warped, over a grey gradient. `style.Style` says how each step is done. The arithmetic is done in whole numbers, so that
a seed gives the same pixels everywhere.
"""

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import sparse

from captcha_lib.config import InputError
from captcha_lib.generator.glyphs import pick, pick_whole, set_text
from captcha_lib.generator.style import KAPTCHA, Style

_WEIGHT_STEPS = 256  # bilinear weights are rounded to 1/256 along each axis
_CHUNK = 64  # pictures drawn at a time: few enough to stay in the processor's cache
_FLATNESS = 2.0  # px
_OVERSAMPLING = 4  # the curves are drawn this much larger, then averaged down
# The x of a curve's four control points, as shares of the width. Kaptcha's two; any more are like the second.
_CURVES = ((0.1, 0.1, 0.25, 0.25), (0.1, 0.25, 0.5, 0.9))


def count_texts(style: Style) -> int:
    """How many different texts a style has."""
    low, high = style.length
    return sum(len(set(style.characters)) ** length for length in range(low, high + 1))


def draw_texts(n: int, rng: np.random.Generator, style: Style = KAPTCHA) -> list[str]:
    """Draws `n` texts, each character uniform over the style's."""
    low, high = style.length
    texts = ["".join(drawn) for drawn in rng.choice(list(style.characters), size=(n, high))]
    return texts if low == high else [text[: pick_whole(rng, style.length)] for text in texts]


def random_texts(n: int, rng: np.random.Generator, style: Style = KAPTCHA) -> list[str]:
    """Draws `n` different texts; raises InputError if the style has fewer, such as 19^5."""
    if n > (most := count_texts(style)):
        raise InputError(f"{n:,} captchas: there are only {most:,} different texts; ask for fewer")
    texts: dict[str, None] = {}
    while len(texts) < n:
        texts.update(dict.fromkeys(draw_texts(n - len(texts), rng, style)))
    return list(texts)


def draw(texts: list[str], rng: np.random.Generator, style: Style = KAPTCHA) -> torch.Tensor:
    """Draws one captcha for each text: B texts -> (B, 1, H, W) uint8, 0 is black.

    The curves' heights and all that has a range in the style come from `rng`. A text too long for the picture runs out
    of it on the right.
    """
    pictures = np.empty((len(texts), style.height, style.width), np.uint8)
    for start in range(0, len(texts), _CHUNK):
        pictures[start : start + _CHUNK] = _draw_chunk(texts[start : start + _CHUNK], rng, style)
    return torch.from_numpy(pictures)[:, None]


def generate_captchas(n: int, seed: int, style: Style = KAPTCHA) -> tuple[list[str], torch.Tensor]:
    """Draws `n` captchas with different texts: (texts, pictures (n, 1, H, W) uint8)."""
    rng = np.random.default_rng(seed)
    texts = random_texts(n, rng, style)
    return texts, draw(texts, rng, style)


def _draw_chunk(texts: list[str], rng: np.random.Generator, style: Style) -> np.ndarray:
    """The pictures of a few texts, (B, H, W) uint8; they share the strengths of the two warps."""
    shape = (style.height, style.width)
    water, ripple = (round(pick(rng, low_high), 1) for low_high in (style.water, style.ripple))
    ink = _warp(np.stack([set_text(text, style, rng) for text in texts]), water, ripple)
    blackness = np.array([pick_whole(rng, style.ink) for _ in texts], np.int32)[:, None, None]
    light = _background(shape) * (255 - ink * blackness // 255)
    if style.lines[1]:
        lines = np.stack([_line_layer(pick_whole(rng, style.lines), shape, rng) for _ in texts]).astype(np.int32)
        light = light * (255 - lines * blackness // 255) // 255
    if style.dots[1]:
        dots = np.stack([_dot_layer(pick_whole(rng, style.dots), shape, rng) for _ in texts]).astype(np.int32)
        light = light * (255 - dots) // 255
    return light // 255


@cache
def _background(shape: tuple[int, int]) -> np.ndarray:
    """A linear gradient from light grey at (0, 0) to white at (W, H): (H, W), 192..255."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    return (192 + 63 * (x * width + y * height) // (width**2 + height**2)).astype(np.int32)


def _warp(ink: np.ndarray, water: float, ripple: float) -> np.ndarray:
    """Applies the water warp, then the ripple warp: (B, H, W) uint8 -> (B, H, W) int32.

    Two resamplings, not one folded map: the water map aliases at whole pixels, and it is the second resampling that
    blurs its rings into the frayed zone of the real pictures.
    """
    columns = ink.reshape(len(ink), -1).T.astype(np.int32)
    for sampling in (_water_map(ink.shape[1:], water), _ripple_map(ink.shape[1:], ripple)):
        columns = sampling @ columns // _WEIGHT_STEPS**2
    return np.ascontiguousarray(columns.T).reshape(ink.shape)


@cache
def _water_map(shape: tuple[int, int], amplitude: float) -> sparse.csr_matrix:
    """JHLabs' WaterFilter about the picture's centre, radius 50 px, wavelength 2, phase 10; Kaptcha has 1.5 px."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    dx, dy = x - width / 2, y - height / 2
    d = np.hypot(dx, dy)
    radius, wavelength, phase = 50.0, 2.0, 10.0
    k = amplitude * np.sin(2 * np.pi * d / wavelength - phase) * (radius - d) / radius
    k *= np.divide(wavelength, d, out=np.ones_like(d), where=d > 0)
    k[d > radius] = 0.0
    return _sampling_matrix(x + dx * k, y + dy * k)


@cache
def _ripple_map(shape: tuple[int, int], strength: float) -> sparse.csr_matrix:
    """JHLabs' RippleFilter, sine waves of 2.6 and 1.7 px, on a picture that it enlarged by (2, 1) px."""
    y, x = np.mgrid[-1 : shape[0] - 1, -2 : shape[1] - 2].astype(float)
    return _sampling_matrix(x + 2.6 * strength * np.sin(y / 15), y + 1.7 * strength * np.sin(x / 5))


def _sampling_matrix(source_x: np.ndarray, source_y: np.ndarray) -> sparse.csr_matrix:
    """Bilinear sampling as one sparse matrix over flattened pixels; outside the picture is empty.

    Shape:
        where each pixel is read from in px, (H, W) twice -> (H * W, H * W) int32, weights in units of 1 / 65536.
    """
    height, width = source_x.shape
    x0, y0 = np.floor(source_x).astype(int), np.floor(source_y).astype(int)
    fx = np.rint((source_x - x0) * _WEIGHT_STEPS).astype(np.int32)
    fy = np.rint((source_y - y0) * _WEIGHT_STEPS).astype(np.int32)
    x, y = np.array([x0, x0 + 1])[:, None], np.array([y0, y0 + 1])
    weights = np.array([_WEIGHT_STEPS - fx, fx])[:, None] * np.array([_WEIGHT_STEPS - fy, fy])  # (2, 2, H, W)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    target = np.broadcast_to(np.arange(x0.size).reshape(x0.shape), inside.shape)
    entries = weights[inside], (target[inside], (y * width + x)[inside])
    return sparse.csr_matrix(entries, shape=(x0.size, x0.size), dtype=np.int32)


def _line_layer(count: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draws `count` of Kaptcha's curves: ink (H, W) uint8, 255 is black."""
    height, width = shape
    canvas = Image.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for curve in range(count):
        heights = rng.uniform(0, height, 4)
        shares_of_width = _CURVES[min(curve, len(_CURVES) - 1)]
        control = [complex(width * share, y) for share, y in zip(shares_of_width, heights, strict=True)]
        points = [complex(int(p.real) + 0.5, int(p.imag) + 0.5) for p in _flatten(*control)]
        for i in range(len(points) - 1):
            _stroke(pen, points[i], points[i + 1], width=(3.6, 2.7, 1.8)[min(i, 2)])
    return np.asarray(canvas.reduce(_OVERSAMPLING))


def _dot_layer(count: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draws `count` specks: ink (H, W) uint8, 255 is black."""
    layer = np.zeros(shape, np.uint8)
    for y, x, side, ink in rng.integers((0, 0, 1, 0), (*shape, 4, 256), (count, 4)).tolist():
        layer[y : y + side, x : x + side] = ink
    return layer


def _flatten(p0: complex, p1: complex, p2: complex, p3: complex) -> list[complex]:
    """Halves a cubic Bézier curve until its control points lie within _FLATNESS px of the chord (de Casteljau).

    Points are complex numbers, x + iy, here and below.
    """
    if max(_distance(p1, p0, p3), _distance(p2, p0, p3)) <= _FLATNESS:
        return [p0, p3]
    p01, p12, p23 = (p0 + p1) / 2, (p1 + p2) / 2, (p2 + p3) / 2
    p012, p123 = (p01 + p12) / 2, (p12 + p23) / 2
    top = (p012 + p123) / 2
    return _flatten(p0, p01, p012, top)[:-1] + _flatten(top, p123, p23, p3)


def _distance(point: complex, start: complex, end: complex) -> float:
    """The distance in px of a point from a straight piece."""
    piece, offset = end - start, point - start
    square = abs(piece) ** 2
    share = (offset * piece.conjugate()).real / square if square else 0.0
    return abs(offset - min(1.0, max(0.0, share)) * piece)


def _stroke(pen: ImageDraw.ImageDraw, start: complex, end: complex, width: float) -> None:
    """Draws a straight piece with square caps, as Java's BasicStroke does."""
    if start == end:
        return
    along = (end - start) / abs(end - start) * width / 2
    across = along * 1j
    corners = (start - along + across, end + along + across, end + along - across, start - along - across)
    pen.polygon([(p.real * _OVERSAMPLING - 0.5, p.imag * _OVERSAMPLING - 0.5) for p in corners], fill=255)
