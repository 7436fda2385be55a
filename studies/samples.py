"""Labelled captchas by somebody else's generator, the package `captcha` of lepture: a set to try the tool on."""

import random
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from captcha_lib.config import missing_extra
from captcha_lib.files import new_folder, progress
from captcha_lib.generator.draw import random_texts
from captcha_lib.generator.style import Style


def draw_samples(texts: list[str], seed: int = 0, size: tuple[int, int] = (60, 160)) -> list[bytes]:
    """Draws one captcha for each text, in colour: PNG files.

    Args:
        texts: in characters that the package's own font has: Latin, Greek and Cyrillic letters, digits, symbols.
        seed: same seed, same files.
        size: (H, W) in px.

    Raises:
        InputError: the extra `sample` is not installed.
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


def write_samples(
    folder: Path, count: int, characters: str, length: tuple[int, int], seed: int = 0, size: tuple[int, int] = (60, 160)
) -> None:
    """Writes captchas with different texts as `folder/<text>.png`, all of them or none.

    Args:
        folder: a new one.
        count: how many.
        characters: each drawn equally often.
        length: the shortest and the longest text.
        seed, size: see `draw_samples`.

    Raises:
        InputError: the folder holds something already, there are fewer texts, or the extra `sample` is not installed.
    """
    style = Style(characters=characters, length=length)
    texts = random_texts(count, np.random.default_rng(seed), style)
    files = draw_samples(texts, seed, size)
    with new_folder(folder) as part:
        for text, file in zip(texts, files, strict=True):
            (part / f"{text}.png").write_bytes(file)
