"""Conversions: the colours of a picture -> the grey that a network sees. Each has a name, which weights carry along.

Grey as usual is a weighted mean. Ink that is as bright as its background vanishes in it, and so does what tells letters
from lines if it is only their colour.
"""

from functools import reduce

import numpy as np
from PIL import Image, ImageChops

from captcha_lib.config import InputError

GREY = "grey"
# Weights of red, green and blue, and what is added; the results are clipped to 0..255. "Redness" is
# white where the picture is red, and black where it is grey.
_MIXED = {
    "red channel": (1, 0, 0, 0),
    "green channel": (0, 1, 0, 0),
    "blue channel": (0, 0, 1, 0),
    "redness": (2, -1, -1, 0),
    "greenness": (-1, 2, -1, 0),
    "blueness": (-1, -1, 2, 0),
    "yellowness": (1, 1, -2, 0),
    "cyanness": (-2, 1, 1, 0),
    "magentaness": (1, -2, 1, 0),
}
_CHOSEN = {  # made of the channels pixel by pixel; colourfulness is how much the largest differs from the smallest
    "darkest channel": lambda channels: reduce(ImageChops.darker, channels),
    "brightest channel": lambda channels: reduce(ImageChops.lighter, channels),
    "colourfulness": lambda channels: ImageChops.subtract(
        reduce(ImageChops.lighter, channels), reduce(ImageChops.darker, channels)
    ),
}
_INVERTED = "inverted "
GREYS = (GREY, _INVERTED + GREY)  # what differs in a picture without colours
CONVERSIONS = tuple(start + name for name in (GREY, *_MIXED, *_CHOSEN) for start in ("", _INVERTED))


def convert(image: Image.Image, conversion: str = GREY) -> np.ndarray:
    """A Pillow image without transparency -> (H, W) uint8."""
    if conversion not in CONVERSIONS:
        raise InputError(f"conversion {conversion!r}: not known; give one of {', '.join(CONVERSIONS)}")
    name = conversion.removeprefix(_INVERTED)
    if name == GREY:
        seen = image.convert("L")
    elif name in _MIXED:
        seen = image.convert("RGB").convert("L", _MIXED[name])
    else:
        seen = _CHOSEN[name](image.convert("RGB").split())
    return np.asarray(seen if name == conversion else ImageChops.invert(seen))
