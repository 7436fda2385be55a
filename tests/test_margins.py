"""Captchas within larger pictures; and what is none: confidence has to tell."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from captcha_lib import Reader, generate_captchas, read
from captcha_lib.data.sizes import without_margins
from captcha_lib.generator.style import DEJAVU_MONO, Style
from captcha_lib.reading.predict import ImageFile, read_files
from captcha_lib.reading.read import views

COUNT = 40
TEXTS, DRAWN = generate_captchas(COUNT, 3)
PICTURES = list(DRAWN[:, 0].numpy())
READER = Reader.from_pretrained("kaggle")


def on_page(picture: np.ndarray, height: int, width: int, page: int, seed: int) -> np.ndarray:
    """A picture anywhere on a page of one brightness."""
    h, w = picture.shape
    y, x = np.random.default_rng(seed).integers(0, (height - h + 1, width - w + 1))
    out = np.full((height, width), page, np.uint8)
    out[y : y + h, x : x + w] = picture
    return out


@pytest.mark.parametrize("page", [255, 200, 0])
@pytest.mark.parametrize(("height", "width"), [(100, 400), (600, 800), (54, 210)])
def test_margins_are_cut_and_that_is_said(page, height, width):
    pictures = [on_page(picture, height, width, page, i) for i, picture in enumerate(PICTURES)]
    readings = read(pictures)
    plain = sum(reading.text == text for reading, text in zip(read(PICTURES), TEXTS, strict=True))
    found = sum(reading.text == text for reading, text in zip(readings, TEXTS, strict=True))
    assert found >= plain - 2
    noted = [reading.note for reading in readings if reading.note]
    assert height < 60 or len(noted) >= COUNT - 2
    assert all(note.startswith("margins cut: ") and f"of {width} x {height} px" in note for note in noted)


def test_a_screenshot_at_twice_the_size():
    twice = [np.asarray(Image.fromarray(picture).resize((400, 100))) for picture in PICTURES]
    readings = read([on_page(picture, 300, 900, 255, i) for i, picture in enumerate(twice)])
    assert sum(reading.text == text for reading, text in zip(readings, TEXTS, strict=True)) >= 0.9 * COUNT


def test_usual_pictures_are_read_as_they_are():
    assert all(len(views(picture, READER)) == 1 for picture in PICTURES)
    assert {reading.note for reading in read(PICTURES)} == {""}


def test_without_margins_by_hand():
    picture = np.full((40, 100), 250, np.uint8)
    assert without_margins(picture, (10, 30)) == []
    picture[10:22, 50:70] = 90
    tight, around = without_margins(picture, (20, 30))
    assert (tight.shape, int(tight.max())) == ((12, 20), 90)
    assert around.shape == (20, 30)
    assert np.array_equal(around, picture[6:26, 45:75])
    noise = np.random.default_rng(0).integers(0, 256, (40, 100)).astype(np.uint8)
    assert without_margins(noise, (20, 30)) == []


def test_predict_says_what_was_cut(tmp_path, capsys):
    from captcha_lib.commands.main import main

    for i, (text, picture) in enumerate(zip(TEXTS[:3], PICTURES[:3], strict=True)):
        Image.fromarray(on_page(picture, 200, 640, 255, i)).save(tmp_path / f"{text}.png")
    rows = list(read_files([ImageFile(path) for path in sorted(tmp_path.iterdir())], READER))
    assert [row["text"] for row in rows] == sorted(TEXTS[:3])
    assert all("margins cut" in row["note"] for row in rows)
    assert main(["predict", str(tmp_path)]) == 0
    assert "3 of 3 images had margins, which were left out." in capsys.readouterr().err


# What is no captcha of the kind


def shapes(rng: np.random.Generator, size=(200, 50)) -> np.ndarray:
    image = Image.new("L", size, int(rng.integers(150, 256)))
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        pen.ellipse((x, y, x + rng.integers(5, 60), y + rng.integers(5, 30)), outline=int(rng.integers(0, 120)))
    return np.asarray(image)


def lines(rng: np.random.Generator) -> np.ndarray:
    image = Image.new("L", (200, 50), 255)
    for _ in range(12):
        ImageDraw.Draw(image).line(rng.integers(0, 200, 4).tolist(), fill=int(rng.integers(0, 150)), width=2)
    return np.asarray(image)


def written(rng: np.random.Generator, words: str, size: int, ink: int, paper: int) -> np.ndarray:
    image = Image.new("L", (180, 60), paper)
    text = "".join(rng.choice(list(words), rng.integers(3, 9)))
    ImageDraw.Draw(image).text((10, 10), text, fill=ink, font=ImageFont.load_default(size))
    return np.asarray(image)


STYLE = Style("ABCDEF0123", (6, 6), (DEJAVU_MONO,), (24, 30), rotation=(-20, 20), lines=(0, 1), width=160, height=60)
OTHER = generate_captchas(100, 9, STYLE)[1][:, 0].numpy()
FOREIGN = {
    "one brightness": lambda rng: np.full((50, 200), rng.integers(0, 256), np.uint8),
    "noise": lambda rng: rng.integers(0, 256, (50, 200)).astype(np.uint8),
    "dots": lambda rng: ((rng.random((50, 200)) > 0.1) * 255).astype(np.uint8),
    "gradient": lambda rng: np.tile(np.linspace(*rng.integers(0, 256, 2), 200), (50, 1)).astype(np.uint8),
    "stripes": lambda rng: np.tile((np.arange(200) // rng.integers(2, 20) % 2 * 255).astype(np.uint8), (50, 1)),
    "shapes": shapes,
    "lines": lines,
    "a page": lambda rng: written(rng, "the quick brown fox ", 11, 0, 255),
    "other letters": lambda rng: written(rng, "ABCDEFGHIJKLQRSTUVZ", 30, 0, 255),
    "digits, light on dark": lambda rng: written(rng, "0123456789", 28, 240, 30),
    "captchas of another style": lambda rng: OTHER[rng.integers(100)],
    "half a captcha": lambda rng: PICTURES[rng.integers(COUNT)][:, :80],
    "blurred captchas": lambda rng: np.asarray(Image.fromarray(PICTURES[rng.integers(COUNT)]).resize((20, 9))),
}


def test_pictures_of_other_kinds_get_little_confidence_and_own_ones_much():
    rng = np.random.default_rng(1)
    sure = {kind: [r.confidence > 0.5 for r in read([draw(rng) for _ in range(60)])] for kind, draw in FOREIGN.items()}
    assert np.mean([share for found in sure.values() for share in found]) <= 0.01, {k: sum(v) for k, v in sure.items()}
    own = [reading.confidence for reading in read(PICTURES)]  # by a generator like that of the weights' pictures
    assert np.mean([confidence > 0.9 for confidence in own]) > 0.6
