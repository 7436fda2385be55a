"""`read`: pictures in whatever form -> texts, by whichever runtime the weights need."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from captcha_lib.config import REFERENCE_DIR, InputError
from captcha_lib.decode import Reading
from captcha_lib.images import decode_image, fit_images, grey, read_bytes

if TYPE_CHECKING:
    from captcha_lib.onnx_reader import OnnxReader
    from captcha_lib.reader import Reader

Picture = str | Path | bytes | Image.Image | np.ndarray
WEIGHTS = REFERENCE_DIR / "weight.pth"
_BATCH = 64
_loading = Lock()


def read(
    pictures: Picture | list[Picture],
    weights: str | Path = WEIGHTS,
    length: int | None = None,
    allowed: str | None = None,
    others: int = 3,
) -> Reading | list[Reading]:
    """Reads a picture, or a list of pictures. It may be called from several threads at once.

    Args:
        pictures: each a path, the bytes of an image file, a Pillow image, or an array (H, W) or (H, W, C) of 0..255. A
            picture of another size than the network's is resized.
        weights: a file of `Reader.save`, or an .onnx file of `export`, which is read without torch. It is loaded once.
        length: characters of the text; None takes the length of the training labels, 0 lets the network decide.
        allowed: the characters that may occur; None allows all that the network knows.
        others: so many less likely texts are given as the reading's alternatives.

    Returns:
        a reading for a picture, a list of readings for a list.

    Raises:
        InputError: a picture or weights that cannot be used.
    """
    if not isinstance(pictures, list):
        return read([pictures], weights, length, allowed, others)[0]
    reader = cached_reader(Path(weights))
    readings: list[Reading] = []
    for start in range(0, len(pictures), _BATCH):
        batch = [to_grey(picture, f"picture {start + i}") for i, picture in enumerate(pictures[start : start + _BATCH])]
        logits = np.asarray(reader.logits(fit_images(batch, reader.image_size)))  # (B, T, K)
        found = reader.decode(logits, length, allowed)
        for reading, scores in zip(found, logits, strict=True):
            likely = reader.alternatives(scores, others + 1, length, allowed) if others else []
            rest = tuple(one for one in likely if one.text != reading.text)[:others]
            readings.append(replace(reading, alternatives=rest))
    return readings


def load_reader(weights: Path, device: str = "cpu", threads: int = 1) -> "Reader | OnnxReader":
    """The reader of a weights file; an .onnx file is read by ONNX Runtime, without torch."""
    if weights.suffix == ".onnx":
        from captcha_lib.onnx_reader import OnnxReader

        return OnnxReader.load(weights, threads)
    from captcha_lib.reader import Reader

    return Reader.load(weights, device)


def to_grey(picture: Picture, name: str) -> np.ndarray:
    """Turns a picture in any form into grey pixels (H, W) uint8.

    Raises:
        InputError: it is none of these forms, or no image.
    """
    if isinstance(picture, str | Path):
        return decode_image(read_bytes(Path(picture), str(picture)), str(picture))
    if isinstance(picture, bytes):
        return decode_image(picture, name)
    if isinstance(picture, Image.Image):
        return grey(picture)
    if not isinstance(picture, np.ndarray) or picture.ndim not in (2, 3) or 0 in picture.shape:
        shape = f" of shape {picture.shape}" if isinstance(picture, np.ndarray) else ""
        said = f"{name}: a {type(picture).__name__}{shape} is no picture"
        raise InputError(f"{said}; give a path, bytes, a Pillow image, or an array (H, W) or (H, W, C)")
    if picture.dtype != np.uint8:
        if not (np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 255):
            raise InputError(f"{name}: its values leave 0..255; scale them first")
        picture = picture.round().astype(np.uint8)
    try:
        return grey(Image.fromarray(picture.squeeze()))
    except TypeError:
        raise InputError(f"{name}: an array of shape {picture.shape} is no picture; give 1, 3 or 4 channels") from None


@lru_cache(maxsize=8)
def _load_once(weights: Path, changed: int) -> "Reader | OnnxReader":
    return load_reader(weights)


def cached_reader(weights: Path) -> "Reader | OnnxReader":
    """The reader of a weights file, which is loaded once, and again when the file has changed."""
    changed = weights.stat().st_mtime_ns if weights.is_file() else 0
    with _loading:  # or two threads would load it twice
        return _load_once(weights, changed)
