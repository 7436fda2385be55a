"""Image files to grey pixels: folder or zip -> files -> bytes -> (H, W) uint8 -> (N, 1, H, W).

The files may come from anybody. What is read of each has bounds, before anything is unpacked; only the formats below
are decoded, and a link is followed no further than the folder that it lies in.
"""

import io
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from captcha_lib.config import MIN_SIDE, InputError

try:
    from pyspng import load as load_png  # opens a PNG in two thirds of Pillow's time, to the same pixels
except ImportError:  # it has no wheel for every machine; Pillow opens everything
    load_png = None

AnyPath = Path | zipfile.Path
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
SUFFIXES_IN_WORDS = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")  # EPS, for one, would start Ghostscript
MAX_BYTES, MAX_PIXELS = 32 * 2**20, 2**22  # of a file, and of its picture: 2,048 x 2,048 px
MAX_SCANS = 100  # a progressive JPEG has about ten; each goes over the whole picture, however few bytes it has
# How pictures are read that are not like Kaggle's: the height that the network has most experience with, and room for
# six time steps a character. Where there is room for five already, and the height is near, they are left as they are.
HEIGHTS, HEIGHT = (48, 62), 56  # px
ROOMS, ROOM, LEAST_ROOM = (40, 80), 50, 5  # px a character; with less than the least nobody could read it
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def find_images(folder: AnyPath) -> Iterator[AnyPath]:
    """All the image files under a folder, in a fixed order: a folder's own files first, by name, then its folders.

    Links to folders are given, too, and not gone into: `read_bytes` says so of each.
    """
    folders: list[AnyPath] = []
    entries: list[AnyPath] = sorted(folder.iterdir(), key=lambda entry: entry.name)
    for entry in entries:
        if not entry.is_dir():
            # "._" begins the shadow files of macOS; ".png" is an image whose label is empty, and is to be found
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("._"):
                yield entry
        elif isinstance(entry, Path) and entry.is_symlink():
            yield entry
        elif not entry.name.startswith((".", "__")):
            folders.append(entry)
    for inner in folders:
        yield from find_images(inner)


def relative_name(path: AnyPath, root: AnyPath) -> str:
    """The path inside the folder or zip, with forward slashes."""
    return path.at if isinstance(path, zipfile.Path) else path.relative_to(str(root)).as_posix()


def read_bytes(path: AnyPath, name: str, root: AnyPath | None = None) -> bytes:
    """Reads a file, in a folder or a zip.

    Errors call it `name`. A link must not lead out of the folder `root`; without that links are followed anywhere.
    Raises InputError if it cannot be read, is too large for a captcha, or a link that leads elsewhere.
    """
    try:
        size = MAX_BYTES if isinstance(path, zipfile.Path) else _checked_size(path, name, root)
        with path.open("rb") as file:
            raw = file.read(size + 1)
    except InputError:
        raise
    except Exception as error:  # zipfile lets through what any decompressor raises
        raise InputError(f"{name}: cannot be read ({_reason(error)}); check the file or its rights") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{name}: it holds more than {MAX_BYTES // 2**20} MB, too much for a captcha; remove it")
    return raw


def decode_image(raw: bytes, name: str) -> np.ndarray:
    """Turns an image file's bytes into grey pixels (H, W) uint8; raises InputError if they are not a whole captcha.

    Transparent parts are white; of an animation the first frame is taken; the EXIF orientation is applied.
    """
    plain = _decode_plain_png(raw)
    if plain is not None:
        return plain
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            _check_bounds(image, raw, name)
            image.load()
            return grey(_upright(image))
    except InputError:
        raise
    except Image.UnidentifiedImageError:
        raise InputError(f"{name}: not an image; remove it or save it as PNG or JPEG") from None
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged bytes
        said = f"{name}: the image is damaged or truncated ({_reason(error)})"
        raise InputError(f"{said}; get it again or remove it") from None


def grey(image: Image.Image) -> np.ndarray:
    """A Pillow image as grey pixels (H, W) uint8; transparent parts are white."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which "L" would clip instead of scale
        return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def reading_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size at which pictures are read: their own, or one with more room for each character.

    The network's time steps are eight pixels apart, whatever the picture. On captchas of the package `captcha` with 27
    px a character, 400 labels read 77 % as they are, 89 % at 48 px and 90 % at 53 px a character.

    Shape:
        (H, W) in px and the characters of the longest text -> (H, W); raises InputError where nobody could read it.
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
    """Puts N grey pictures into one array, those of another size than (H, W) px resized: (N, 1, H, W) uint8."""
    if not pictures:
        return np.zeros((0, 1, *size), np.uint8)
    return np.stack([fit_image(picture, size) for picture in pictures])[:, None]


def fit_image(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a grey picture that has not (H, W) px: -> (H, W) uint8."""
    if picture.shape == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))


def _checked_size(path: Path, name: str, root: AnyPath | None) -> int:
    """The bytes of a file, at most MAX_BYTES; raises InputError for a link that leads elsewhere, OSError for a pipe."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        if path.is_dir():
            raise InputError(f"{name}: it is a link to a folder; copy the folder there, or give it itself")
        if isinstance(root, Path) and _leads_out(path, root):
            raise InputError(f"{name}: it is a link that leads out of the folder; copy the file there")
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe would wait
        raise OSError("not a file")
    return min(status.st_size, MAX_BYTES)


def _leads_out(link: Path, root: Path) -> bool:
    try:
        return not link.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle, which cannot be opened either
        return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_bounds(image: Image.Image, raw: bytes, name: str) -> None:
    """Looks at the header before the pixels are unpacked."""
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    if raw.startswith(b"\xff\xd8") and raw.count(b"\xff\xda") > MAX_SCANS:
        raise InputError(f"{name}: a JPEG of more than {MAX_SCANS} scans; save it as PNG")


def _too_large(name: str) -> InputError:
    side = int(MAX_PIXELS**0.5)
    return InputError(f"{name}: the picture is larger than {side:,} x {side:,} px, no captcha; crop it or remove it")


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation; where the EXIF data are damaged, the pixels need not be."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # its parser raises many kinds
        return image


def _decode_plain_png(raw: bytes) -> np.ndarray | None:
    """The quick way for the common PNG: 8 bits, grey or colour, opaque. None for all else, which Pillow looks at."""
    if load_png is None or not raw.startswith(_PNG_START) or len(raw) < 29 or b"tRNS" in raw or b"eXIf" in raw:
        return None
    width, height, depth, colour = struct.unpack(">IIBB", raw[16:26])
    if depth != 8 or colour == 3 or width * height > MAX_PIXELS:  # 3: a palette
        return None
    try:
        pixels = load_png(raw)  # (H, W) or (H, W, C)
    except Exception:  # its errors share no class; Pillow says what is wrong with the file
        return None
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4) and pixels[..., -1].min() < 255:
        return None
    return np.asarray(Image.fromarray(pixels).convert("L"))
