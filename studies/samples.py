"""Labelled captchas by other people's generators, the packages `captcha` and `wheezy.captcha`: sets to try on."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from captcha_lib.config import missing_extra
from captcha_lib.files import new_folder, progress
from captcha_lib.generator.draw import random_texts
from captcha_lib.generator.style import DEJAVU, Style


def draw_samples(texts: list[str], seed: int = 0, size: tuple[int, int] = (60, 160)) -> list[bytes]:
    """Draws one captcha for each text, in colour, by the package `captcha` of lepture: PNG files.

    Args:
        texts: in characters that the package's own font has: Latin, Greek and Cyrillic letters, digits, symbols.
        seed: same seed, same files.
        size: (H, W) in px.

    Raises InputError if the extra `notebooks` is not installed.
    """
    try:
        from captcha import image
    except ImportError:
        raise missing_extra("captcha") from None
    rng = random.Random(seed)
    # The package asks the system for random numbers, which no seed reaches.
    seeded = SimpleNamespace(randbelow=rng.randrange, randbits=rng.getrandbits, choice=rng.choice)
    with mock.patch.object(image, "secrets", seeded):
        maker = image.ImageCaptcha(width=size[1], height=size[0])
        return [maker.generate(text).getvalue() for text in progress(texts)]


def draw_wheezy(texts: list[str], seed: int = 0, size: tuple[int, int] = (60, 160)) -> list[bytes]:
    """The same by the package `wheezy.captcha`: letters warped, turned and squeezed, below a curve and noise."""
    try:
        from wheezy.captcha import image
    except ImportError:
        raise missing_extra("wheezy.captcha") from None
    letters = [image.warp(), image.rotate(), image.offset()]
    steps = [
        image.background(),
        image.text([str(DEJAVU)], (size[0] // 2, 2 * size[0] // 3), letters, squeeze_factor=0.8),
        image.curve(width=3),
        image.noise(number=80),
        image.smooth(),
    ]
    make = image.captcha(steps, size[1], size[0])
    files = []
    with mock.patch.object(image, "random", random.Random(seed)):
        for text in progress(texts):
            drawn = io.BytesIO()
            make(text).save(drawn, "png")
            files.append(drawn.getvalue())
    return files


def write_samples(
    folder: Path,
    count: int,
    characters: str,
    length: tuple[int, int],
    seed: int = 0,
    size: tuple[int, int] = (60, 160),
    draw: Callable[[list[str], int, tuple[int, int]], list[bytes]] = draw_samples,
) -> None:
    """Writes captchas with different texts as `folder/<text>.png`, all of them or none.

    Args:
        folder: a new one.
        count: how many.
        characters: each drawn equally often.
        length: the shortest and the longest text.
        seed, size: see `draw_samples`.
        draw: `draw_samples` or `draw_wheezy`.

    Raises:
        InputError: the folder holds something already, there are fewer texts, or the extra `notebooks` is missing.
    """
    style = Style(characters=characters, length=length)
    texts = random_texts(count, np.random.default_rng(seed), style)
    files = draw(texts, seed, size)
    with new_folder(folder) as part:
        for text, file in zip(texts, files, strict=True):
            (part / f"{text}.png").write_bytes(file)
