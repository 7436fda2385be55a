"""A picture in any form -> the grey pixels that a network sees, (H, W) uint8, 0 is black.

This is the one way, for training, `read`, `predict`, the demo and examples/read_onnx.py.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from captcha_lib.config import InputError
from captcha_lib.data.colour import GREY
from captcha_lib.data.folders import MAX_BYTES, begins_as_image, read_bytes, reason
from captcha_lib.data.images import check_size, decode_image, eight_bits, grey

if TYPE_CHECKING:  # reading does without torch
    import torch

Picture: TypeAlias = "str | Path | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
_FORMS = "a path, bytes, a file object, base64, a Pillow image, or an array (H, W), (H, W, C) or (C, H, W)"
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_LONGEST_PATH = 4096


def pixels(picture: Picture, name: str = "picture", conversion: str = GREY) -> np.ndarray:
    """Turns a picture into grey pixels (H, W) uint8.

    Args:
        picture: a path, the bytes of an image file, a file object, its base64 or data URL, a Pillow image, or an array
            or tensor (H, W), (H, W, C) or (C, H, W): truth values, 0..1, 0..255, or 10, 12 or 16 bits. Colours are RGB.
        name: what errors call it; paths are called by themselves.
        conversion: from colours to grey, that of the reader: `Reader.conversion`, or "conversion" in an ONNX file.

    Raises:
        InputError: it is no picture, or not a whole one.
    """
    if isinstance(picture, str):
        raw = _from_text(picture)
        picture = Path(picture) if raw is None else raw
    if isinstance(picture, Path):
        return decode_image(read_bytes(picture, str(picture)), str(picture), conversion)
    if hasattr(picture, "read"):
        picture = _from_file(picture, name)
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode_image(bytes(picture), name, conversion)
    picture = picture if isinstance(picture, Image.Image) else _from_array(picture, name)
    try:
        seen = grey(picture, conversion).pixels
    except InputError:
        raise
    except Exception as error:  # Pillow opens lazily, and raises many kinds on damaged bytes
        raise InputError(f"{name}: the Pillow image cannot be read ({reason(error)}); open it again") from None
    check_size(seen, name)
    return seen


def _from_text(text: str) -> bytes | None:
    """The bytes of a data URL or of base64, None where the text is rather a path."""
    url = _DATA_URL.match(text)
    try:
        raw = base64.b64decode(text[url.end() :] if url else text, validate=not url)
    except (binascii.Error, ValueError):
        raw = b""
    if url or begins_as_image(raw[:16]):
        return raw or b" "
    if len(text) > _LONGEST_PATH:
        raise InputError(f"a text of {len(text):,} characters is neither a path nor the base64 of an image")
    return None


def _from_file(file: Any, name: str) -> bytes:
    """The bytes of a file object, from its beginning if it can go there."""
    try:
        if file.seekable():
            file.seek(0)
        raw = file.read(MAX_BYTES + 1)
    except Exception as error:  # it may be closed, or anything that has `read`
        raise InputError(f"{name}: the file object cannot be read ({error}); open it in binary mode") from None
    if not isinstance(raw, bytes) or len(raw) > MAX_BYTES:
        raise InputError(f"{name}: the file object gives no bytes of an image; open it in binary mode")
    return raw


def _from_array(picture: Any, name: str) -> Image.Image:
    if hasattr(picture, "detach"):  # a tensor, and this module does without torch
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
    if not isinstance(picture, np.ndarray):
        raise InputError(f"{name}: a {type(picture).__name__} is not a picture; give {_FORMS}")
    values = picture[0] if picture.ndim == 4 and len(picture) == 1 else picture
    if values.ndim == 3 and values.shape[2] > 4 >= values.shape[0]:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or values.size == 0 or values.dtype.kind not in "buif":
        raise InputError(f"{name}: an array of shape {picture.shape} is not a picture; give {_FORMS}")
    if values.ndim == 3 and values.shape[2] > 4:
        raise InputError(f"{name}: no picture has the shape {picture.shape}; give 1, 3 or 4 channels")
    try:
        seen = eight_bits(values).pixels
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    return Image.fromarray(np.ascontiguousarray(seen))
