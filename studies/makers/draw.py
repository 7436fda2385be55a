"""Draws captchas of any maker: texts -> pictures (B, 1, H, W) uint8, 0 is black."""

import numpy as np
import torch

from captcha_lib.generator import draw as kaptcha
from captcha_lib.generator.style import Style
from studies.makers.clutter import edged, finished, paper, stroked, waved
from studies.makers.layout import draws, set_fitted
from studies.makers.look import Look

_LIT_FROM = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0))  # where an embossed text is darker, (down, right) px


def draw(texts: list[str], rng: np.random.Generator, style: Style) -> torch.Tensor:
    """Draws one captcha for each text: B texts -> (B, 1, H, W) uint8, as its maker does.

    What a maker draws once is drawn once for all of them: give some dozens, and not thousands.
    """
    return _draw_look(texts, style, rng)[:, None] if isinstance(style, Look) else kaptcha.draw(texts, rng, style)


def _draw_look(texts: list[str], style: Look, rng: np.random.Generator) -> torch.Tensor:
    n = len(texts)
    ink, over = edged(set_fitted(texts, style, rng), style, rng), stroked(n, style, rng)
    over_first = bool(rng.random() < 0.5)  # the strokes are bent as the text is
    ink = waved(_over(ink, over, style) if over_first else ink, style, rng)
    ink = ink if over_first else _over(ink, over, style)
    strength = torch.from_numpy(draws(rng, style.ink, n))[:, None, None] / 255
    embossed = float(draws(rng, style.emboss, 1)[0])
    light = paper(n, style, rng) * (1 - (1 - embossed) * strength * ink)
    if embossed:
        down, right = _LIT_FROM[int(rng.integers(len(_LIT_FROM)))]
        edges = torch.roll(ink, (down, right), (1, 2)) - torch.roll(ink, (-down, -right), (1, 2))
        light = light + embossed * strength * edges / 2
    return finished(light, style, rng)


def _over(ink: torch.Tensor, over: torch.Tensor, style: Look) -> torch.Tensor:
    return ink * (1 - over) if style.erase else torch.where(over > ink.clamp(0), over, ink)
