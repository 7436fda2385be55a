"""One picture in, the text out: every form of a picture, both runtimes, several threads."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import captcha_lib
from captcha_lib.config import WEIGHTS_DIR, InputError
from captcha_lib.data.pixels import pixels
from captcha_lib.decode import Reading
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading import read as reading
from captcha_lib.reading.read import read

TEXTS, IMAGES = generate_captchas(6, 2026)
ARRAYS = list(IMAGES[:, 0].numpy())


def png(image: Image.Image) -> bytes:
    raw = io.BytesIO()
    image.save(raw, "PNG")
    return raw.getvalue()


WEIGHTS = {"torch": WEIGHTS_DIR / "kaggle.pth", "onnx": WEIGHTS_DIR / "kaggle.onnx", "by name": "kaggle"}


def forms(array: np.ndarray, folder) -> dict:
    image = Image.fromarray(array)
    image.save(folder / "x.png")
    clear = image.convert("RGBA")
    return {
        "path": folder / "x.png",
        "name": str(folder / "x.png"),
        "bytes": png(image),
        "grey": image,
        "colour": image.convert("RGB"),
        "clear": clear,
        "palette": image.convert("P"),
        "array": array,
        "colour array": np.asarray(image.convert("RGB")),
        "clear array": np.asarray(clear),
        "one channel": array[..., None],
        "floats": array.astype(float),
    }


def test_every_form_of_a_picture_is_read_alike(tmp_path):
    for form, picture in forms(ARRAYS[0], tmp_path).items():
        assert (pixels(picture, "x") == ARRAYS[0]).all(), form
        assert read(picture).text == TEXTS[0], form


def test_a_list_is_read_in_its_order():
    readings = read(ARRAYS)
    assert [r.text for r in readings] == TEXTS
    assert [r.text for r in readings] == [read(array).text for array in ARRAYS]
    assert read([]) == []


def test_more_than_a_batch(monkeypatch):
    monkeypatch.setattr(reading, "_BATCH", 4)
    assert [r.text for r in read(ARRAYS)] == TEXTS


def test_alternatives_are_other_texts_the_likeliest_first():
    found = read(ARRAYS[0], others=4)
    assert isinstance(found, Reading)
    assert len(found.alternatives) == len({a.text for a in found.alternatives} - {found.text}) == 4
    chances = [a.confidence for a in found.alternatives]
    assert chances == sorted(chances, reverse=True)
    assert {len(a.text) for a in found.alternatives} == {5}
    assert read(ARRAYS[0]).alternatives == (), "only when asked for"


def test_length_and_characters_can_be_given():
    assert len(read(ARRAYS[0], length=4).text) == 4
    assert read(ARRAYS[0], length=0).text == TEXTS[0]
    assert read(ARRAYS[0], length=0, others=1).alternatives[0].text != TEXTS[0]
    limited = read(ARRAYS[0], allowed="2345678", others=3)
    assert set(limited.text + "".join(a.text for a in limited.alternatives)) <= set("2345678")


def test_both_runtimes_agree():
    ours, theirs = read(ARRAYS), read(ARRAYS, WEIGHTS["torch"])
    assert [r.text for r in ours] == [r.text for r in theirs]
    assert [r.confidence for r in ours] == pytest.approx([r.confidence for r in theirs], abs=1e-4)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_many_threads_read_the_same(weights):
    reading._load_once.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda i: read(ARRAYS[i % 6], weights).text, range(48)))
    assert texts == [TEXTS[i % 6] for i in range(48)]
    assert reading._load_once.cache_info().misses == 1


def test_weights_that_were_replaced_are_loaded_again(tmp_path):
    path = tmp_path / "weights.onnx"
    path.write_bytes(WEIGHTS["onnx"].read_bytes())
    assert read(ARRAYS[0], path).text == TEXTS[0]
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="not an ONNX file"):
        read(ARRAYS[0], path)


def test_another_size_is_resized():
    large = Image.fromarray(ARRAYS[0]).resize((400, 100), Image.Resampling.BICUBIC)
    assert read(large).text == TEXTS[0]


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (7, "a int is not a picture; give a path, bytes"),
        (None, "a NoneType is not a picture"),
        (b"no image", "picture 0: not an image"),
        (np.zeros(5, np.uint8), r"of shape \(5,\) is not a picture"),
        (np.zeros((0, 7), np.uint8), r"of shape \(0, 7\) is not a picture"),
        (np.zeros((5, 5, 7), np.uint8), r"give 1, 3 or 4 channels"),
        (np.full((50, 200), -1.0), "scale them to 0..1 or 0..255"),
        (np.full((50, 200), np.nan), "scale them to 0..1 or 0..255"),
        ("nowhere.png", "nowhere.png: cannot be read"),
    ],
    ids=["number", "none", "bytes", "line", "empty", "channels", "negative", "nan", "nowhere"],
)
def test_what_is_no_picture_is_refused_in_one_line(picture, says):
    with pytest.raises(InputError, match=says) as caught:
        read(picture)
    assert "\n" not in str(caught.value)


def test_missing_weights(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        captcha_lib.read(ARRAYS[0], tmp_path / "none.pth")
