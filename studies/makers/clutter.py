"""What stands around and over a text: edges and shadows, waves, paper, strokes, grids, specks; and what happens to the
finished picture. Batches (B, H, W) float32, ink or light in 0..1 -> the same.
"""

import io
from collections.abc import Callable
from math import comb

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from studies.makers.layout import affine_grid, draws
from studies.makers.look import Look, Whole

_CURVE = np.linspace(0, 1, 32)
_BEZIER = np.array([comb(3, i) * _CURVE**i * (1 - _CURVE) ** (3 - i) for i in range(4)]).T  # (P, 4), cubic


def whole(rng: np.random.Generator, low_high: Whole) -> int:
    """A whole number from a range, both ends included."""
    return int(rng.integers(low_high[0], low_high[1] + 1))


def _each(rng: np.random.Generator, low_high: tuple[float, float], n: int) -> torch.Tensor:
    """A number for each picture, (B, 1, 1)."""
    return torch.from_numpy(draws(rng, low_high, n))[:, None, None]


def _shifted(layer: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    return torch.roll(layer, (dy, dx), (1, 2))


def edged(ink: torch.Tensor, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """Outlines instead of filled letters, and shadows below them."""
    if style.outline[1] and (radius := whole(rng, style.outline)):
        around = ink
        for dx, dy in [(1, 0), (-1, 0), (0, 1), (0, -1)] * radius:
            around = torch.maximum(around, _shifted(around, dx, dy))
        ink = around - ink * (1 - _each(rng, style.fill, len(ink)))
    if style.halo[1]:
        reach = max(1, round(float(draws(rng, style.halo, 1)[0]) * style.size[1]))
        around = F.max_pool2d(ink[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
        ink = _blurred(around, reach / 2) * (1 - ink)
    if style.perforated[1]:
        ink = ink * (1 - _each(rng, style.perforated, len(ink)) * _fine_pattern(ink.shape[1:], rng))
    if style.split[1]:
        ink = _split(ink, style, rng)
    if style.shadow[1]:
        dx, dy = rng.choice([-3, -2, -1, 1, 2, 3]), rng.choice([-2, -1, 1, 2, 3])
        ink = ink + (1 - ink) * _each(rng, style.shadow, len(ink)) * _shifted(ink, int(dx), int(dy))
    return ink


def _fine_pattern(shape: torch.Size, rng: np.random.Generator) -> torch.Tensor:
    """Dots or lines some px apart, (H, W), 0 or 1."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    pitch, ways = int(rng.integers(2, 5)), int(rng.integers(3))
    dots = ((x + y) % pitch == 0, y % pitch == 0, (x % pitch == 0) | (y % pitch == 0))[ways]
    return torch.from_numpy(dots.astype(np.float32))


def _split(ink: torch.Tensor, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """The text cut along a line near its middle, the part below it moved aside."""
    height, width = ink.shape[1:]
    most = style.size[1] * float(draws(rng, style.split, 1)[0])
    aside = int(rng.choice([-1, 1])) * max(1, round(most))
    middle, slope = rng.uniform(0.4, 0.6, (len(ink), 1)), rng.uniform(-0.15, 0.15, (len(ink), 1))
    cut = height * middle + slope * (np.arange(width) - width / 2)  # (B, W)
    below = torch.from_numpy(np.arange(height)[:, None] > cut[:, None])  # (B, H, W)
    return torch.where(below, _shifted(ink, aside, 0), ink)


def waved(ink: torch.Tensor, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """The line turned, and bent along two sine waves: each picture with angles, lengths and phases of its own."""
    if not (style.wave[1] or style.turn != (0.0, 0.0)):
        return ink
    b, height, width = ink.shape
    turn, one = np.radians(draws(rng, style.turn, b)), np.ones(b, np.float32)
    theta = [[2 * one / width, 2 * turn / width, 0 * one], [-2 * turn / height, 2 * one / height, 0 * one]]
    grid = affine_grid(np.array(theta).transpose(2, 0, 1), height, width)
    if style.wave[1]:
        high, along = (torch.from_numpy(draws(rng, style.wave, b))[:, None] for _ in range(2))
        steps, phases = rng.uniform(3, 14, (2, b, 1)), rng.uniform(0, 2 * np.pi, (2, b, 1))
        x, y = np.arange(width) / height, np.arange(height) / height
        up = 2 * high * torch.from_numpy(np.sin(x * steps[0] + phases[0]).astype(np.float32))  # (B, W)
        aside = 2 * along * height / width * torch.from_numpy(np.sin(y * steps[1] + phases[1]).astype(np.float32))
        grid[..., 1] += up[:, None]
        grid[..., 0] += aside[:, :, None]
    return F.grid_sample(ink[:, None], grid, align_corners=False)[:, 0]


def paper(n: int, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """How light the paper is, (B, H, W)."""
    shape = (n, style.height, style.width)
    light = _each(rng, style.paper, n).expand(shape).clone()
    if style.gradient[1]:
        slopes = draws(rng, style.gradient, n)[:, None] * rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        y, x = torch.linspace(-0.5, 0.5, shape[1])[:, None], torch.linspace(-0.5, 0.5, shape[2])
        light += torch.from_numpy(slopes[:, :1, None]) * y + torch.from_numpy(slopes[:, 1:, None]) * x
    if style.texture[1]:
        grain, mode = whole(rng, style.grain_size), str(rng.choice(["bilinear", "nearest"]))
        rows = 1 if rng.random() < 0.25 else shape[1] // grain + 2  # bars
        coarse = rng.random((n, 1, rows, shape[2] // grain + 2), dtype=np.float32) - 0.5
        smooth = F.interpolate(torch.from_numpy(coarse), shape[1:], mode=mode)[:, 0]
        light += _each(rng, style.texture, n) * smooth
    if style.hatching[1]:
        pitch, angle = rng.uniform(0.3, 1.6, (n, 1, 1)), rng.uniform(0, np.pi, (n, 1, 1))
        y, x = np.mgrid[: shape[1], : shape[2]]
        waves = np.sin(pitch * (x * np.cos(angle) + y * np.sin(angle))).astype(np.float32)
        light -= _each(rng, style.hatching, n) * torch.from_numpy(waves).clamp(0)
    if style.polygons[1]:
        light -= _polygons(n, style, rng)
    if style.decoys[1]:
        light -= _decoys(n, style, rng)
    return light


def _painted(n: int, style: Look, paint: Callable[[ImageDraw.ImageDraw, int], None]) -> np.ndarray:
    """Each of N pictures as `paint` paints it, given a pen and its number: (N, H, W) uint8."""
    layers = [Image.new("L", (style.width, style.height)) for _ in range(n)]
    for i, layer in enumerate(layers):
        paint(ImageDraw.Draw(layer), i)
    return np.stack([np.asarray(layer) for layer in layers])


def _polygons(n: int, style: Look, rng: np.random.Generator) -> torch.Tensor:
    def paint(pen: ImageDraw.ImageDraw, _: int) -> None:
        for _ in range(whole(rng, style.polygons)):
            corners = rng.random((3, 2)) * (style.width, style.height)
            pen.polygon(corners.ravel().tolist(), fill=int(rng.integers(8, 90)))

    return torch.from_numpy(_painted(n, style, paint)).float() / 255


def _decoys(n: int, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """Small pale characters, none of which belongs to the text."""
    face = ImageFont.truetype(str(style.fonts[0]), max(6, int(style.size[1] * rng.uniform(0.2, 0.45))))

    def paint(pen: ImageDraw.ImageDraw, _: int) -> None:
        for place in rng.random((whole(rng, style.decoys), 2)) * (style.width, style.height):
            char = style.characters[int(rng.integers(len(style.characters)))]
            pen.text(tuple(place), char, fill=int(rng.integers(15, 110)), font=face, anchor="mm")

    return torch.from_numpy(_painted(n, style, paint)).float() / 255


def stroked(n: int, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """Lines and curves of ink, a grid, and specks: (B, H, W)."""
    layers = _strokes(n, style, rng) if style.strokes[1] else np.zeros((n, style.height, style.width), np.float32)
    if style.grid[1]:
        pitch, ink = whole(rng, style.grid), draws(rng, style.stroke_ink, n)[:, None, None]
        ways = int(rng.integers(1, 4))  # along, across, or both
        if ways & 1:
            layers[:, int(rng.integers(pitch)) :: pitch] = ink
        if ways & 2:
            layers[:, :, int(rng.integers(pitch)) :: pitch] = ink
    if style.specks[1]:
        side = whole(rng, style.speck_size)
        coarse = rng.random((n, -(-style.height // side), -(-style.width // side)), dtype=np.float32)
        share = draws(rng, style.specks, n)[:, None, None]
        specks = np.where(coarse < share, 1 - 0.7 * coarse / np.maximum(share, 1e-6), 0)
        layers = np.maximum(layers, specks.repeat(side, 1).repeat(side, 2)[:, : style.height, : style.width])
    if style.frame[1] and (thick := whole(rng, style.frame)):
        ink = draws(rng, style.stroke_ink, n)[:, None, None]
        for edge in (np.s_[:, :thick], np.s_[:, -thick:], np.s_[:, :, :thick], np.s_[:, :, -thick:]):
            layers[edge] = ink
    return torch.from_numpy(layers)


def _strokes(n: int, style: Look, rng: np.random.Generator) -> np.ndarray:
    counts = rng.integers(style.strokes[0], style.strokes[1] + 1, n)
    count, ends, top = int(counts.sum()), np.cumsum(counts), style.stroke_ink[1]
    inks = (255 / top * rng.uniform(*style.stroke_ink, count)).astype(int).tolist()
    thick = rng.integers(style.stroke_width[0], style.stroke_width[1] + 1, count).tolist()
    lines, arcs, is_arc = _lines(count, style, rng), _arcs(count, style, rng), rng.random(count) < 0.2

    def paint(pen: ImageDraw.ImageDraw, picture: int) -> None:
        for i in range(ends[picture] - counts[picture], ends[picture]):
            if is_arc[i]:
                *box, first, last = arcs[i]
                pen.arc(box, first, last, fill=inks[i], width=thick[i])
            else:
                pen.line(lines[i], fill=inks[i], width=thick[i])

    return _painted(n, style, paint) * np.float32(top / 255)


def _lines(n: int, style: Look, rng: np.random.Generator) -> list[list[float]]:
    """Straight lines, curves and waves, most from one side to the other: x, y, x, y, ... in px."""
    controls = rng.random((n, 4, 2))
    across = rng.random(n) < 0.6
    controls[across, :, 0] = np.linspace(-0.02, 1.02, 4)
    straight = rng.random(n) < 0.3
    controls[straight, 1] = (2 * controls[straight, 0] + controls[straight, 3]) / 3
    controls[straight, 2] = (controls[straight, 0] + 2 * controls[straight, 3]) / 3
    points = _BEZIER @ controls * (style.width, style.height)  # (N, P, 2)
    waved = rng.random(n) < 0.25
    x = np.linspace(0, style.width, len(_BEZIER))
    steps, phases, middle, high = rng.random((4, int(waved.sum()), 1))
    waves = np.sin(x / style.height * (1 + 7 * steps) + 6 * phases)
    points[waved] = np.stack(np.broadcast_arrays(x, style.height * (middle + (0.05 + 0.35 * high) * waves)), -1)
    return points.reshape(n, 2 * len(_BEZIER)).tolist()


def _arcs(n: int, style: Look, rng: np.random.Generator) -> list[list[float]]:
    """Parts of ellipses: the box in px, and from which angle to which in degrees."""
    corner, sides = rng.uniform(-0.2, 1, (n, 2)), rng.uniform(0.2, 1, (n, 2))
    boxes = np.concatenate([corner, corner + sides], 1) * (style.width, style.height, style.width, style.height)
    return np.concatenate([boxes, rng.uniform(0, 360, (n, 2))], 1).tolist()


def finished(light: torch.Tensor, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """What becomes of a picture after it was drawn: blur, another size, noise, one bit, JPEG. (B, H, W) -> uint8."""
    if style.blur[1]:
        light = _blurred(light, max(0.05, float(draws(rng, style.blur, 1)[0])))
    if style.scaled[0] < 1:
        share, shape = float(draws(rng, style.scaled, 1)[0]), light.shape[1:]
        small = [max(8, round(side * share)) for side in shape]
        light = F.interpolate(light[:, None], small, mode="bilinear", antialias=bool(rng.random() < 0.7))
        light = F.interpolate(light, shape, mode=str(rng.choice(["bilinear", "nearest"])))[:, 0]
    if style.noise[1]:
        spread = _each(rng, style.noise, len(light))
        light = light + spread * torch.from_numpy((rng.random(light.shape, dtype=np.float32) - 0.5) * 12**0.5)
    if style.inverted[1]:
        light = torch.where(_patches(len(light), style, rng), 1 - light, light)
    if style.one_bit:
        light = (light > light.mean((1, 2), keepdim=True) - 0.08).float()
    if style.negative:
        light = 1 - light
    pictures = (light * 255).round().clamp(0, 255).to(torch.uint8)
    if style.jpeg[0] < 100:
        quality = [whole(rng, style.jpeg) for _ in pictures]
        pictures = torch.stack([_compressed(*one) for one in zip(pictures, quality, strict=True)])
    return pictures


def _patches(n: int, style: Look, rng: np.random.Generator) -> torch.Tensor:
    """Where ink and paper change places: a chequered pattern, bars, or some discs; (B, H, W) bool."""
    y, x = np.mgrid[: style.height, : style.width]
    kind, pitch = int(rng.integers(3)), int(rng.integers(max(6, style.height // 3), style.height + 1))
    phases = rng.integers(pitch, size=(2, n, 1, 1))
    across, along = (x + phases[0]) // pitch, (y + phases[1]) // pitch
    if kind < 2:
        return torch.from_numpy((across + along * (kind == 0)) % 2 == 0)
    count = whole(rng, style.inverted)
    left, top = rng.random((count, n, 1, 1)) * style.width, rng.random((count, n, 1, 1)) * style.height
    radius = style.height * rng.uniform(0.2, 0.6, (count, n, 1, 1))
    return torch.from_numpy(((x - left) ** 2 + (y - top) ** 2 < radius**2).sum(0) % 2 == 1)


def _blurred(light: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = max(1, round(2.5 * sigma))
    weights = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = F.pad(light[:, None], [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])[:, 0]


def _compressed(picture: torch.Tensor, quality: int) -> torch.Tensor:
    file = io.BytesIO()
    Image.fromarray(picture.numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file)))
