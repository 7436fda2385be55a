"""`read`: pictures in any form -> texts, by whichever runtime the weights need."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, overload

import numpy as np

from captcha_lib.data.pixels import Picture, pixels
from captcha_lib.data.sizes import fit_images
from captcha_lib.decode import Length, Reading
from captcha_lib.reading.base import Reader, weights_path

Pictures: TypeAlias = list[Any] | tuple[Any, ...]
_BATCH = 64
_loading = Lock()


@overload
def read(
    pictures: Pictures,
    weights: str | Path = ...,
    length: Length | None = ...,
    allowed: str | None = ...,
    others: int = ...,
    characters: bool = ...,
) -> list[Reading]: ...


@overload
def read(
    pictures: Picture,
    weights: str | Path = ...,
    length: Length | None = ...,
    allowed: str | None = ...,
    others: int = ...,
) -> Reading: ...


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
        pictures: one, a list of them, or a batch (N, C, H, W); see `pixels` for the forms of each. A picture of another
            size than the network's is resized.
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
        batch = [pixels(picture, f"picture {start + i}") for i, picture in enumerate(pictures[start : start + _BATCH])]
        logits = np.asarray(reader.logits(fit_images(batch, reader.image_size)))  # (B, T, K)
        for reading, scores in zip(reader.decode(logits, length, allowed), logits, strict=True):
            likely = reader.alternatives(scores, others + 1, length, allowed) if others else []
            rest = tuple(one for one in likely if one.text != reading.text)[:others]
            reading = replace(reading, alternatives=rest) if others else reading
            if characters:
                reading = replace(reading, characters=reader.characters(scores, reading.text, allowed))
            readings.append(reading)
    return readings


def cached_reader(weights: str | Path) -> Reader:
    """The reader of weights, which are loaded once, and again when their file has changed."""
    path = weights_path(weights)
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    with _loading:  # or two threads would load it twice
        return _load_once(path, changed)


@lru_cache(maxsize=8)
def _load_once(weights: Path, changed: int) -> Reader:
    return Reader.load(weights)
