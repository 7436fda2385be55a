"""A picture in any form to grey pixels: each form that people have gives the same ones, or is refused in one line."""

import base64
import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from captcha_lib.config import InputError
from captcha_lib.data.images import decode, decode_image
from captcha_lib.data.pixels import pixels
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading.read import read

(TEXT, SECOND), IMAGES = generate_captchas(2, 2026)
GREY = IMAGES[0, 0].numpy()
IMAGE = Image.fromarray(GREY)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    raw = io.BytesIO()
    image.save(raw, kind, **options)
    return raw.getvalue()


RAW = saved(IMAGE)
ENCODED = base64.b64encode(RAW).decode()
COLOUR = np.asarray(IMAGE.convert("RGB"))
SAME = {
    "bytes": RAW,
    "bytearray": bytearray(RAW),
    "memoryview": memoryview(RAW),
    "base64": ENCODED,
    "a data URL": f"data:image/png;base64,{ENCODED}",
    "a data URL in lines": "data:image/PNG;base64,"
    + "\n".join(ENCODED[i : i + 76] for i in range(0, len(ENCODED), 76)),
    "a batch of one": GREY[None, None],
    "channels first": COLOUR.transpose(2, 0, 1),
    "one channel first": GREY[None],
    "floats to 1": GREY / 255,
    "half floats to 1": (GREY / 255).astype(np.float16),
    "floats to 255": GREY.astype(np.float32),
    "colour floats to 1": COLOUR / 255,
    "opaque floats to 1": np.dstack([COLOUR / 255, np.ones(GREY.shape)]),
    "16 bits that hold 8": GREY.astype(np.uint16),
    "16 bits": GREY.astype(np.uint16) * 257,
    "12 bits": GREY.astype(np.int32) * 16 + 15,
    "10 bits": GREY.astype(np.int64) * 4 + 3,
    "a tensor": torch.from_numpy(GREY),
    "a tensor with channels": torch.from_numpy(COLOUR).permute(2, 0, 1),
    "a tensor to 1": torch.from_numpy(GREY)[None] / 255,
    "a tensor with a gradient": (torch.from_numpy(GREY)[None] / 255).requires_grad_(),
    "a view": np.asfortranarray(COLOUR)[::1],
    "a 16-bit image that holds 8": Image.fromarray(GREY.astype(np.uint16)),
    "a 16-bit image": Image.fromarray(GREY.astype(np.uint16) * 257),
    "a 32-bit image": Image.fromarray(GREY.astype(np.int32)),
    "a float image": Image.fromarray(GREY.astype(np.float32)),
    "a float image to 1": Image.fromarray((GREY / 255).astype(np.float32)),
    "a file of 16 bits that hold 8": saved(Image.fromarray(GREY.astype(np.uint16))),
    "a file of 12 bits": saved(Image.fromarray(GREY.astype(np.uint16) * 16 + 15)),
    "a TIFF": saved(IMAGE, "TIFF"),
    "a TIFF of floats to 1": saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
    "a PGM": saved(IMAGE, "PPM"),
    "a DIB": saved(IMAGE, "DIB"),
    "a palette": saved(IMAGE.convert("P")),
    "an animation of equal frames": saved(IMAGE, "GIF", save_all=True, append_images=[IMAGE]),
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_gives_the_same_pixels(form):
    assert np.abs(pixels(SAME[form]).astype(int) - GREY).max() <= ("half" in form), form


def test_files_and_file_objects(tmp_path):
    (tmp_path / "x").write_bytes(RAW)
    with (tmp_path / "x").open("rb") as file:
        file.read(7)
        for picture in (tmp_path / "x", str(tmp_path / "x"), file, io.BytesIO(RAW)):
            assert (pixels(picture) == GREY).all()


@pytest.mark.parametrize("values", [GREY > 128, (GREY > 128).astype(np.uint8), (GREY > 128).astype(float)])
def test_black_and_white(values):
    assert (pixels(values) == np.where(GREY > 128, 255, 0)).all()


def test_several_pictures_at_once():
    batch = IMAGES.numpy()
    for pictures in (list(batch[:, 0]), tuple(batch[:, 0]), batch, torch.from_numpy(batch), batch / 255):
        assert [one.text for one in read(pictures)] == [TEXT, SECOND]


INK = np.where(GREY < 128, 255, 0).astype(np.uint8)
CLEAR = {
    "black ink in the alpha channel alone": np.dstack([np.zeros((*GREY.shape, 3), np.uint8), INK]),
    "white ink in the alpha channel alone": np.dstack([np.full((*GREY.shape, 3), 255, np.uint8), INK]),
    "pale ink on transparent": np.dstack([np.full((*GREY.shape, 3), 240, np.uint8), INK]),
}


@pytest.mark.parametrize("kind", CLEAR)
@pytest.mark.parametrize("form", ["array", "image", "file"])
def test_ink_on_transparent_is_seen(kind, form):
    image = Image.fromarray(CLEAR[kind])
    seen = pixels({"array": CLEAR[kind], "image": image, "file": saved(image)}[form]).astype(int)
    assert abs(seen[INK == 255].mean() - seen[INK == 0].mean()) > 200


def frames_of(ink: int, background: int, kind: str) -> bytes:
    """An animation whose first frame is empty, and whose other three hold a third of a picture each."""
    whole = Image.fromarray(np.where(INK == 255, ink, background).astype(np.uint8))
    frames = [Image.new("L", whole.size, background)]
    for left in (0, 70, 140):
        frame = Image.new("L", whole.size, background)
        frame.paste(whole.crop((left, 0, left + 70, 50)), (left, 0))
        frames.append(frame)
    return saved(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize(("ink", "background"), [(0, 255), (255, 0)])
def test_a_text_that_is_spread_over_frames(kind, ink, background):
    seen = decode(frames_of(ink, background, kind), "x")
    expected = np.where(INK == 255, ink, background)
    assert np.abs(seen.pixels.astype(int) - expected).max() <= 2
    assert seen.notes == ("the frames of an animation merged",)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return len(data).to_bytes(4, "big") + kind + data + crc.to_bytes(4, "big")


@pytest.mark.parametrize(
    "side", [chunk(b"tEXt", b"a\0b", 7), chunk(b"iCCP", b"no profile"), chunk(b"zTXt", b"a\0\0b", 1)]
)
@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_damaged_side_information_costs_no_pixels(side, mode):
    raw = saved(IMAGE.convert(mode))
    seen = decode(raw[:33] + side + raw[33:], "x")  # behind IHDR
    assert np.abs(seen.pixels.astype(int) - GREY).max() <= 1
    damaged = bytearray(raw)
    damaged[raw.index(b"IDAT") + 20] ^= 1
    with pytest.raises(InputError, match="damaged"):
        decode_image(raw[:33] + side + bytes(damaged[33:]), "x")


def cut_off_image() -> Image.Image:
    return Image.open(io.BytesIO(saved(IMAGE, "BMP")[:2000]))


def closed_file() -> io.BytesIO:
    file = io.BytesIO(RAW)
    file.close()
    return file


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((1, 1)), "too small"),
        (Image.new("L", (7, 50)), "too small"),
        (saved(Image.new("L", (50, 7))), "too small"),
        (np.full((50, 200), 70_000), "scale them"),
        (np.full((50, 200), 1 + 2j), "is not a picture"),
        (np.full((50, 200), "a"), "is not a picture"),
        (np.zeros((2, 1, 50, 200)), "is not a picture"),
        (np.zeros((9, 50, 200)), "give 1, 3 or 4 channels"),
        (np.zeros((0, 200)), "is not a picture"),
        (torch.full((50, 200), torch.nan), "scale them"),
        (cut_off_image(), "cannot be read"),
        (closed_file(), "cannot be read"),
        (io.StringIO("text"), "open it in binary mode"),
        (io.BytesIO(b""), "not an image"),
        ("data:image/png;base64,!!!", "not an image"),
        ("A" * 6000, "neither a path nor"),
        ({"a": 1}, "a dict is not a picture"),
        (7, "a int is not a picture"),
    ],
)
def test_what_is_no_picture(picture, says):
    with pytest.raises(InputError, match=says) as caught:
        pixels(picture)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_picture_of_one_colour_keeps_it():
    for value in (0, 77, 255):
        image = Image.new("RGBA", (60, 20), (value,) * 3)
        assert (pixels(image) == value).all()
        assert (pixels(np.asarray(image)) == value).all()
