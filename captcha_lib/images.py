"""Image files to grey pixels: folder or zip -> files -> bytes -> (H, W) uint8 -> (N, 1, H, W)."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from captcha_lib.config import InputError

try:
    from pyspng import load as load_png  # opens a PNG in two thirds of Pillow's time, to the same pixels
except ImportError:  # it has no wheel for every machine; Pillow opens everything
    load_png = None

AnyPath = Path | zipfile.Path
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
SUFFIXES_IN_WORDS = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
MIN_SIDE = 16  # px; smaller pictures are thumbnails, and the network halves them four times
# How pictures are read that are not like Kaggle's: the height that the network has most experience with, and room for
# six time steps a character. Where there is room for five already, and the height is near, they are left as they are.
HEIGHTS, HEIGHT = (48, 62), 56  # px
ROOMS, ROOM, LEAST_ROOM = (40, 80), 50, 5  # px a character; with less than the least nobody could read it
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def find_images(folder: AnyPath) -> Iterator[AnyPath]:
    """All the image files under a folder, in a fixed order: a folder's own files first, by name, then its folders."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    for entry in entries:
        # "._" begins the shadow files of macOS; ".png" is an image whose label is empty, and is to be found
        if entry.is_file() and entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("._"):
            yield entry
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith((".", "__")):
            yield from find_images(entry)


def relative_name(path: AnyPath, root: AnyPath) -> str:
    """The path inside the folder or zip, with forward slashes."""
    return path.at if isinstance(path, zipfile.Path) else path.relative_to(root).as_posix()


def read_bytes(path: AnyPath, name: str) -> bytes:
    """Reads a file, in a folder or a zip; raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: a password
        raise InputError(f"{name}: cannot be read ({error}); check the file or its rights") from None


def decode_image(raw: bytes, name: str) -> np.ndarray:
    """Turns an image file's bytes into grey pixels (H, W) uint8.

    Transparent parts are seen on white; of a film, its first picture.

    Raises:
        InputError: the bytes are no image, or the image is cut off.
    """
    plain = _decode_plain_png(raw)
    if plain is not None:
        return plain
    try:
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            return grey(image)
    except Image.UnidentifiedImageError:
        raise InputError(f"{name}: this is no image; remove it or save it as PNG or JPEG") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: the image is damaged or cut off ({error}); get it again or remove it") from None


def grey(image: Image.Image) -> np.ndarray:
    """A Pillow image as grey pixels (H, W) uint8; transparent parts are seen on white."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which "L" would clip instead of scale
        return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def reading_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size at which pictures are read: their own, or one with more room for each character.

    The network's time steps are eight pixels apart, whatever the picture. On captchas of the package `captcha` with 27
    px a character, 400 labels read 77 % as they are, 89 % at 48 px and 90 % at 53 px a character.

    Args:
        size: (H, W) of the pictures in px.
        longest: characters of the longest text.

    Returns:
        (H, W) in px.

    Raises:
        InputError: the pictures are too small to be read, or too narrow for the text.
    """
    height, width = size
    if min(size) < MIN_SIDE:
        said = f"images of {width} x {height} px are thumbnails, too small to read"
        raise InputError(f"{said}; give the full pictures, {MIN_SIDE} px or more each way")
    if width < LEAST_ROOM * longest:
        said = f"a text of {longest} characters has too few time steps in an image {width} px wide"
        raise InputError(f"{said}; correct the label, or give wider images")
    if not ROOMS[0] * longest <= width <= ROOMS[1] * longest:
        width = ROOM * longest
    return (height if HEIGHTS[0] <= height <= HEIGHTS[1] else HEIGHT), width


def fit_images(pictures: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Puts N pictures (H, W) uint8 into one array, those of another size resized: (N, 1, H, W) uint8.

    Args:
        pictures: grey pictures.
        size: (H, W) in px.
    """
    if not pictures:
        return np.zeros((0, 1, *size), np.uint8)
    return np.stack([p if p.shape == size else _resized(p, size) for p in pictures])[:, None]


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(
        Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)
    )  # smooths where it shrinks


def _decode_plain_png(raw: bytes) -> np.ndarray | None:
    """The quick way for the common PNG: 8 bits, grey or colour, opaque. None for all else, which Pillow looks at."""
    if load_png is None or not raw.startswith(_PNG_START) or len(raw) < 29 or b"tRNS" in raw:
        return None
    width, height, depth, colour = struct.unpack(">IIBB", raw[16:26])
    if depth != 8 or colour == 3 or width * height > Image.MAX_IMAGE_PIXELS:  # 3: a palette
        return None
    try:
        pixels = load_png(raw)  # (H, W) or (H, W, C)
    except Exception:  # its errors share no class; Pillow says what is wrong with the file
        return None
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and pixels[..., -1].min() < 255:
        return None
    return np.asarray(Image.fromarray(pixels).convert("L"))
