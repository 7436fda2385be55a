"""Image files to pixels; what each kind of file is decoded to stands in test_load.py, too."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from captcha_lib.config import InputError
from captcha_lib.data import images
from captcha_lib.data.images import decode_image
from captcha_lib.data.sizes import fit_images, reading_size


def png(image: Image.Image) -> bytes:
    raw = io.BytesIO()
    image.save(raw, "PNG")
    return raw.getvalue()


def rgba(alpha: np.ndarray) -> Image.Image:
    colour = np.random.default_rng(0).integers(0, 256, (*alpha.shape, 3), dtype=np.uint8)
    return Image.fromarray(np.dstack([colour, alpha]))


def test_a_single_transparent_pixel_is_seen_on_white():
    alpha = np.full((12, 18), 255, np.uint8)
    alpha[2, 3] = 0
    pixels = decode_image(png(rgba(alpha)), "x")
    assert pixels[2, 3] == 255
    opaque = decode_image(png(rgba(np.full((12, 18), 255, np.uint8))), "x")
    assert (np.delete(pixels.ravel(), 2 * 18 + 3) == np.delete(opaque.ravel(), 2 * 18 + 3)).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
@pytest.mark.parametrize("transparent", [False, True])
def test_the_quick_way_and_pillow_see_the_same_pixels(mode, transparent, monkeypatch):
    alpha = np.full((12, 18), 255, np.uint8)
    alpha[1, 2] = 100 if transparent else 255
    source = rgba(alpha)
    picture = source.convert("L").convert("I;16") if mode == "I;16" else source.convert(mode)
    options = {"transparency": 0} if transparent and mode in ("L", "P") else {}
    raw = io.BytesIO()
    picture.save(raw, "PNG", **options)
    quick = decode_image(raw.getvalue(), "x")
    monkeypatch.setattr(images, "load_png", None)
    assert (quick == decode_image(raw.getvalue(), "x")).all()


def test_the_quick_way_is_taken(monkeypatch):
    raw = png(rgba(np.full((12, 18), 255, np.uint8)))
    monkeypatch.setattr(images.Image, "open", None)
    assert decode_image(raw, "x").shape == (12, 18)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_cut_off_png_is_refused_in_one_line(share):
    raw = png(rgba(np.random.default_rng(1).integers(200, 256, (40, 90), dtype=np.uint8)))
    with pytest.raises(InputError, match=r"^x\.png: ") as caught:
        decode_image(raw[: int(len(raw) * share)], "x.png")
    assert "\n" not in str(caught.value)


def test_a_huge_png_is_refused_before_it_is_opened():
    raw = bytearray(png(Image.new("L", (4, 4))))
    raw[16:24] = (50_000).to_bytes(4, "big") * 2
    with pytest.raises(InputError, match=r"^x\.png: "):
        decode_image(bytes(raw), "x.png")


@pytest.mark.parametrize("size", [(10, 20), (5, 7), (50, 200)])
def test_pictures_of_another_size_are_resized(size):
    fitted = fit_images([np.full((8, 30), 90, np.uint8)], size)
    assert fitted.shape == (1, 1, *size)
    assert (fitted == 90).all()


def test_no_pictures():
    assert fit_images([], (5, 7)).shape == (0, 1, 5, 7)


@pytest.mark.parametrize(
    ("size", "longest", "read_at"),
    [
        ((50, 200), 5, (50, 200)),  # Kaggle's
        ((60, 160), 4, (60, 160)),  # the default of the package captcha
        ((60, 160), 6, (60, 300)),
        ((41, 198), 6, (56, 300)),
        ((47, 127), 6, (56, 300)),
        ((50, 130), 1, (50, 50)),
        ((120, 400), 4, (56, 200)),
        ((16, 16), 3, (56, 150)),
    ],
)
def test_the_size_that_pictures_are_read_at(size, longest, read_at):
    assert reading_size(size, longest) == read_at


@pytest.mark.parametrize(("size", "longest", "says"), [((40, 90), 19, "too few time steps")])
def test_pictures_that_nobody_could_read(size, longest, says):
    with pytest.raises(InputError, match=says):
        reading_size(size, longest)


def test_an_import_changes_no_warnings():
    """Fault 13: Pillow's warnings were silenced for everybody who imported this module."""
    code = "import warnings, numpy, PIL.Image; before = list(warnings.filters); import captcha_lib.data.images; "
    code += "assert warnings.filters == before"
    subprocess.run([sys.executable, "-c", code], check=True)
