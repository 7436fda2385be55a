"""Generated captchas that lie in no file, and two data sets in one."""

import pandas as pd
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.data.captchas import Captchas, in_memory
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import KAPTCHA, Style


def generated_captchas(n: int, seed: int, style: Style = KAPTCHA) -> Captchas:
    """Draws `n` captchas with different texts that lie in no file."""
    return in_memory(*generate_captchas(n, seed, style), "generated")


def concatenate(one: Captchas, two: Captchas) -> Captchas:
    """The images of both, in this order, with the characters of both; raises InputError if their sizes differ."""
    if one.size != two.size:
        (h1, w1), (h2, w2) = one.size, two.size
        said = f"{one.source} of {w1} x {h1} px and {two.source} of {w2} x {h2} px"
        raise InputError(f"images of different sizes: {said}; load them with one size")
    manifest = pd.concat([one.manifest, two.manifest], ignore_index=True)
    pixels = torch.cat([one.images, two.images])[:, 0].numpy()
    alphabet = Alphabet.of([one.alphabet.characters, two.alphabet.characters])
    paths = one.paths + two.paths if one.paths and two.paths else []
    return Captchas(one.source, manifest, pixels, paths, one.notes, alphabet)
