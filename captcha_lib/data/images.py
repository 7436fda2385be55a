"""The bytes of an image file -> its grey pixels, (H, W) uint8, 0 is black.

The files may come from anybody: only the formats below are decoded, and pictures have bounds, before they are unpacked.
"""

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from captcha_lib.config import MIN_PICTURE, InputError
from captcha_lib.data.colour import GREY, convert
from captcha_lib.data.folders import reason

try:
    from pyspng import load as load_png  # opens a PNG in two thirds of Pillow's time, to the same pixels
except ImportError:  # it has no wheel for every machine; Pillow opens everything
    load_png = None

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM")  # EPS, for one, would start Ghostscript
MAX_PIXELS = 2**22  # of a picture: 2,048 x 2,048 px
MAX_FRAMES = 64  # of an animation
MAX_SCANS = 100  # a progressive JPEG has about ten; each goes over the whole picture, however few bytes it has
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_SIDE = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # of the chunks that a PNG can do without: those that change pixels
_FLAT = 64  # the range of grey values of a picture in which ink is hardly seen


class Decoded(NamedTuple):
    """Grey pixels (H, W) uint8, and how they were understood where that was not plain, one phrase each."""

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def decode_image(raw: bytes, name: str, conversion: str = GREY) -> np.ndarray:
    """Turns an image file's bytes into grey pixels (H, W) uint8; see `decode`."""
    return decode(raw, name, conversion).pixels


def decode(raw: bytes, name: str, conversion: str = GREY) -> Decoded:
    """Turns an image file's bytes into grey pixels; raises InputError if they are not a whole captcha.

    Colours become grey by a conversion of `colour.CONVERSIONS`. Transparent parts are white, or black where that alone
    shows the ink. The frames of an animation become one picture. The EXIF orientation is applied. What stands beside
    the pixels, such as a comment, may be damaged.
    """
    plain = _decode_plain_png(raw, conversion)
    try:
        found = Decoded(plain) if plain is not None else _decode_any(raw, name, conversion)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on damaged bytes
        bare = _without_side_chunks(raw)
        if bare == raw and isinstance(error, Image.UnidentifiedImageError):
            raise InputError(f"{name}: not an image; remove it or save it as PNG or JPEG") from None
        if bare == raw:
            said = f"{name}: the image is damaged or truncated ({reason(error)})"
            raise InputError(f"{said}; get it again or remove it") from None
        found = decode(bare, name, conversion)
        found = Decoded(found.pixels, (*found.notes, "damaged text or profile ignored"))
    check_size(found.pixels, name)
    return found


def check_size(pixels: np.ndarray, name: str) -> None:
    """Raises InputError for a picture (H, W) in which nobody could read a character."""
    if min(pixels.shape) < MIN_PICTURE:
        height, width = pixels.shape
        said = f"{name}: a picture of {width} x {height} px is too small to read"
        raise InputError(f"{said}; give the full picture, {MIN_PICTURE} px or more each way")


def grey(image: Image.Image, conversion: str = GREY) -> Decoded:
    """A Pillow image as grey pixels; raises what Pillow raises."""
    if image.mode == "F" or image.mode.startswith("I"):
        pixels, notes = eight_bits(np.asarray(image))
        return Decoded(convert(Image.fromarray(pixels), conversion), notes)
    if not image.has_transparency_data:
        return Decoded(convert(image, conversion))
    image = image.convert("RGBA")
    laid_on = (Image.alpha_composite(Image.new("RGBA", image.size, below), image) for below in ("white", "black"))
    white, black = (convert(opaque, conversion) for opaque in laid_on)
    if np.ptp(white) < _FLAT and np.ptp(black) > 2 * np.ptp(white):
        return Decoded(black, ("transparent parts seen on black, since white hides the ink",))
    return Decoded(white)


def eight_bits(values: np.ndarray) -> Decoded:
    """Brightnesses of any range as 0..255, uint8.

    The largest value tells the range: 1 (floats, truth values), 255, or that of 10, 12 or 16 bits.
    Raises ValueError for values below 0, above 65,535, or not finite.
    """
    if values.dtype == bool:
        return Decoded(values.astype(np.uint8) * 255)
    least, most = values.min(), values.max()
    if not (least >= 0 and most < 2**16):  # NaN is neither
        raise ValueError(f"its values run from {least:g} to {most:g}; scale them to 0..1 or 0..255")
    if most <= 1:
        return Decoded((values * 255.0).round().astype(np.uint8))
    if most <= 255:
        return Decoded(values.round().astype(np.uint8))
    bits = next(bits for bits in (10, 12, 16) if most < 2**bits)
    return Decoded((values.astype(np.int64) >> (bits - 8)).astype(np.uint8), (f"values of {bits} bits",))


def _decode_any(raw: bytes, name: str, conversion: str) -> Decoded:
    """By Pillow; raises what it raises. Looks at the header before the pixels are unpacked."""
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(name)
            if raw.startswith(b"\xff\xd8") and raw.count(b"\xff\xda") > MAX_SCANS:
                raise InputError(f"{name}: a JPEG of more than {MAX_SCANS} scans; save it as PNG")
            image.load()
            frames = getattr(image, "n_frames", 1) if image.format != "TIFF" else 1
            return _merged_frames(image, frames, conversion) if frames > 1 else grey(_upright(image), conversion)
    except Image.DecompressionBombError:
        raise _too_large(name) from None


def _merged_frames(image: Image.Image, count: int, conversion: str) -> Decoded:
    """An animation as one picture: of each pixel the value furthest from the background, which is the median."""
    frames = []
    for i in range(min(count, MAX_FRAMES, 4 * MAX_PIXELS // (image.width * image.height))):
        image.seek(i)
        frames.append(grey(image, conversion))
    stack = np.stack([frame.pixels for frame in frames])
    if (stack == stack[0]).all():
        return frames[0]
    merged = stack.min(0) if np.median(stack) >= 128 else stack.max(0)
    return Decoded(merged, (*frames[0].notes, "the frames of an animation merged"))


def _too_large(name: str) -> InputError:
    side = int(MAX_PIXELS**0.5)
    return InputError(f"{name}: the picture is larger than {side:,} x {side:,} px, no captcha; crop it or remove it")


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; where the EXIF data are damaged, the pixels need not be."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # its parser raises many kinds
        return image


def _without_side_chunks(raw: bytes) -> bytes:
    """A PNG without the chunks that do not change its pixels; all else as it is."""
    if not raw.startswith(_PNG_START):
        return raw
    kept, place = [raw[:8]], 8
    while place + 12 <= len(raw):
        end = place + 12 + int.from_bytes(raw[place : place + 4], "big")
        kind = raw[place + 4 : place + 8]
        if kind[:1].isupper() or kind in _PNG_SIDE:
            kept.append(raw[place:end])
        place = end
    return b"".join(kept)


def _decode_plain_png(raw: bytes, conversion: str) -> np.ndarray | None:
    """The quick way for the common PNG: 8 bits, grey or colour, opaque. None for all else, which Pillow looks at."""
    if load_png is None or not raw.startswith(_PNG_START) or len(raw) < 29:
        return None
    if b"tRNS" in raw or b"eXIf" in raw or b"acTL" in raw:
        return None
    width, height, depth, colour = struct.unpack(">IIBB", raw[16:26])
    if depth != 8 or colour == 3 or width * height > MAX_PIXELS:  # 3: a palette
        return None
    try:
        pixels = load_png(raw)  # (H, W) or (H, W, C)
    except Exception:  # its errors share no class; Pillow says what is wrong with the file
        return None
    if pixels.ndim == 2 and conversion == GREY:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and pixels[..., -1].min() < 255:
        return None
    return convert(Image.fromarray(pixels), conversion)
