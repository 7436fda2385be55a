"""`read`: pictures in any form -> texts, by whichever runtime the weights need."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np

from captcha_lib.data.pixels import Picture, pixels
from captcha_lib.data.sizes import fit_image, without_margins
from captcha_lib.decode import Length, Reading
from captcha_lib.reading.base import Reader, weights_path

Pictures: TypeAlias = list[Any] | tuple[Any, ...]
_BATCH = 64
_loading = Lock()


@overload
def read(
    pictures: Pictures, weights: str | Path = ..., length: Length | None = ..., allowed: str | None = ...,
    others: int = ..., characters: bool = ...,
) -> list[Reading]: ...  # fmt: skip


@overload
def read(
    pictures: Picture, weights: str | Path = ..., length: Length | None = ..., allowed: str | None = ...,
    others: int = ..., characters: bool = ...,
) -> Reading: ...  # fmt: skip


def read(
    pictures: Any,
    weights: str | Path = "kaggle",
    length: Length | None = None,
    allowed: str | None = None,
    others: int = 0,
    characters: bool = False,
) -> Any:
    """Reads a picture, or a list of pictures. It may be called from several threads at once.

    Args:
        pictures: one, a list of them, or a batch (N, C, H, W); see `pixels` for the forms of each, and `views` for
            pictures of another size than the training ones.
        weights: the name of weights that come with the package, a file of `TorchReader.save`, or an .onnx file of
            `export`, which is read without torch. They are loaded once.
        length: characters of the text, or the least and the most, such as (4, 6); None takes the length of the training
            labels, 0 lets the network decide.
        allowed: the characters that may occur; None allows all that the network knows.
        others: how many less likely texts are given as the reading's alternatives.
        characters: also gives the probability of each character.

    Returns:
        a reading for a picture, a list of readings for a list. Raises InputError if one is invalid, or the weights are.
    """
    if isinstance(pictures, tuple) or getattr(pictures, "ndim", 0) == 4:
        pictures = list(pictures)
    if not isinstance(pictures, list):
        return read([pictures], weights, length, allowed, others, characters)[0]
    reader = cached_reader(weights)
    readings: list[Reading] = []
    for start in range(0, len(pictures), _BATCH):
        batch = pictures[start : start + _BATCH]
        seen = [pixels(picture, f"picture {start + i}", reader.conversion) for i, picture in enumerate(batch)]
        shown = [views(picture, reader) for picture in seen]
        readings += read_views(shown, reader, length, allowed, others, characters)
    return readings


class View(NamedTuple):
    """A picture, or a part of one, at the network's size (H, W), and what a reading of it has to say."""

    image: np.ndarray
    note: str = ""


def views(picture: np.ndarray, reader: Reader) -> list[View]:
    """What is read of a grey picture (H, W) uint8.

    The whole, resized to what the network takes; and of a picture that is smaller or larger than all the training
    pictures, such as a screenshot, also what is within its margins.
    """
    found = [View(fit_image(picture, reader.image_size))]
    if reader.is_usual(picture.shape):
        return found
    for part in without_margins(picture, reader.usual_sizes[1]):
        (height, width), (h, w) = part.shape, picture.shape
        note = f"margins cut: {width} x {height} px of {w} x {h} px are read"
        found.append(View(fit_image(part, reader.image_size), note))
    return found


def read_views(
    shown: list[list[View]],
    reader: Reader,
    length: Length | None = None,
    allowed: str | None = None,
    others: int = 0,
    characters: bool = False,
) -> list[Reading]:
    """Reads pictures of which each has one view or several; of these the surest reading counts."""
    images = [view.image for views_of_one in shown for view in views_of_one]
    if not images:
        return []
    logits = np.asarray(reader.logits(np.stack(images)[:, None]))  # (N, T, K)
    readings = iter(reader.decode(logits, length, allowed, others, characters))
    found = [[(next(readings), view.note) for view in views_of_one] for views_of_one in shown]
    best = [max(of_one, key=lambda one: one[0].confidence) for of_one in found]
    return [replace(reading, note=note) if note else reading for reading, note in best]


def cached_reader(weights: str | Path) -> Reader:
    """The reader of weights, which are loaded once, and again when their file has changed."""
    path = weights_path(weights)
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    with _loading:  # or two threads would load it twice
        return _load_once(path, changed)


@lru_cache(maxsize=8)
def _load_once(weights: Path, changed: int) -> Reader:
    return Reader.load(weights)
