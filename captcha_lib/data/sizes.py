"""The size at which pictures are read, and N pictures in one array of it."""

import numpy as np
from PIL import Image

from captcha_lib.config import MIN_PICTURE, InputError

# How pictures are read that are not like Kaggle's: the height that the network has most experience with, and room for
# six time steps a character. Where there is room for five already, and the height is near, they are left as they are.
HEIGHTS, HEIGHT = (48, 62), 56  # px
ROOMS, ROOM, LEAST_ROOM = (40, 80), 50, 5  # px a character; with less than the least nobody could read it
_SAME = 24  # how much the brightness of one page may vary


def reading_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size at which pictures are read: their own, or one with more room for each character.

    The network's time steps are eight pixels apart, whatever the picture. On captchas of the package `captcha` with 27
    px a character, 400 labels read 77 % as they are, 89 % at 48 px and 90 % at 53 px a character.

    Shape:
        (H, W) in px and the characters of the longest text -> (H, W); raises InputError where nobody could read it.
    """
    height, width = size
    if width < LEAST_ROOM * longest:
        said = f"a text of {longest} characters has too few time steps in an image {width} px wide"
        raise InputError(f"{said}; correct the label, or give wider images")
    if not ROOMS[0] * longest <= width <= ROOMS[1] * longest:
        width = ROOM * longest
    return (height if HEIGHTS[0] <= height <= HEIGHTS[1] else HEIGHT), width


def fit_images(pictures: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Puts N grey pictures into one array, those of another size than (H, W) px resized: (N, 1, H, W) uint8."""
    if not pictures:
        return np.zeros((0, 1, *size), np.uint8)
    return np.stack([fit_image(picture, size) for picture in pictures])[:, None]


def fit_image(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a grey picture that has not (H, W) px: -> (H, W) uint8."""
    if picture.shape == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))


def without_margins(picture: np.ndarray, largest: tuple[int, int]) -> list[np.ndarray]:
    """What of a grey picture (H, W) uint8 may be a captcha with margins of one brightness, as in a screenshot.

    That is the part that differs from them; and where the margins are as bright as the captcha's own background, the
    part of `largest` (H, W) px around it. Empty where there are no such margins.
    """
    edges = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]).astype(int)
    page = int(np.median(edges))
    differs = np.abs(picture.astype(int) - page) > _SAME
    if (np.abs(edges - page) > _SAME).mean() > 0.4 or not differs.any():  # it may lie in a corner
        return []
    parts = []
    for least in ((0, 0), largest):
        rows, columns = (
            _span(np.flatnonzero(differs.any(1 - axis)), least[axis], picture.shape[axis]) for axis in (0, 1)
        )
        part = picture[rows, columns]
        if min(part.shape) >= MIN_PICTURE and part.shape != picture.shape:
            parts.append(part)
    return parts


def _span(places: np.ndarray, least: int, all_: int) -> slice:
    """From the first place to the last, or as many as `least` around them."""
    first, last = int(places[0]), int(places[-1]) + 1
    more = max(0, least - (last - first))
    return slice(max(0, first - more // 2), min(all_, last + more - more // 2))
