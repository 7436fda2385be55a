"""Conversions of colours: by hand, chosen by the training images, and carried along by the weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from captcha_lib import InputError, Reader, load_data, pixels, read, split_captchas, train
from captcha_lib.data.colour import CONVERSIONS, GREY, convert
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading.export import export_onnx
from captcha_lib.reading.torch_reader import load_start
from captcha_lib.recipe import GENERAL, conversion_for, recipe_for

RED, GREEN, WHITE, DARK = (200, 0, 0), (0, 102, 0), (255, 255, 255), (60, 60, 60)
TEXTS, IMAGES = generate_captchas(60, 5)
INK = 1 - IMAGES[:, 0].numpy()[..., None] / 255  # (N, H, W, 1)


def written(folder, pictures: np.ndarray):
    """Pictures (N, H, W, 3) in a folder, named by their texts."""
    for text, picture in zip(TEXTS, pictures.round().astype(np.uint8), strict=True):
        Image.fromarray(picture).save(folder / f"{text}.png")
    return split_captchas(load_data(str(folder)), seed=0)


def inked(ink, paper) -> np.ndarray:
    return INK * np.array(ink) + (1 - INK) * np.array(paper)


def over(letters: np.ndarray, others) -> np.ndarray:
    """Letters in colours on the letters of other captchas, as a person could read them."""
    beside = np.roll(INK, 1, axis=0)
    return INK * letters + (1 - INK) * (beside * np.array(others) + (1 - beside) * np.array(WHITE))


VIVID = np.random.default_rng(0).permuted(np.tile([220.0, 100.0, 0.0], (60, 1, 1, 1)), axis=3)
SETS = {
    "equally bright": (inked(RED, GREEN), {"red channel", "green channel", "redness", "greenness"}),
    "only the red letters count": (over(np.array(RED), (0, 0, 180)), {"blue channel", "redness"}),
    "vivid letters on grey ones": (over(VIVID, DARK), {"colourfulness"}),
    "light on dark": (inked((230, 230, 230), (20, 20, 20)), {"grey"}),
    "grey is as good": (inked((40, 20, 60), (240, 250, 255)), {"grey"}),
}


@pytest.mark.parametrize("kind", SETS)
def test_the_conversion_is_chosen_by_the_training_images(tmp_path, kind):
    """None is inverted where that changes nothing: the general weights read light on dark, too."""
    pictures, expected = SETS[kind]
    assert conversion_for(written(tmp_path, pictures).subset("train"), load_start(GENERAL)) in expected


@pytest.mark.parametrize("labels", ["\u5929\u5730", "\u4eba\u5c71"])
def test_without_known_characters_contrast_alone_decides(tmp_path, labels):
    captchas = written(tmp_path, inked(RED, GREEN))
    captchas = captchas.replace(manifest=captchas.manifest.assign(label=labels))
    general = load_start(GENERAL)
    assert conversion_for(captchas, general) not in (GREY, "inverted grey")
    assert conversion_for(captchas.rows(range(1)), general) != GREY


def test_drawn_captchas_and_the_official_ones_are_grey():
    captchas = split_captchas(load_data("generated"))
    assert recipe_for(captchas).conversion == GREY
    assert recipe_for(captchas, conversion="inverted grey").conversion == "inverted grey"


@pytest.mark.parametrize(
    ("conversion", "of_red", "of_grey"),
    [("grey", 60, 60), ("red channel", 200, 60), ("inverted green channel", 255, 195), ("redness", 255, 0),
     ("inverted redness", 0, 255), ("cyanness", 0, 0), ("darkest channel", 0, 60), ("brightest channel", 200, 60),
     ("colourfulness", 200, 0), ("inverted colourfulness", 55, 255)],
)  # fmt: skip
def test_conversions_by_hand(conversion, of_red, of_grey):
    image = Image.fromarray(np.array([[RED, DARK]], dtype=np.uint8))
    assert convert(image, conversion).tolist() == [[of_red, of_grey]]


def test_each_conversion_takes_grey_pictures_and_gives_them_back_by_name():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    for conversion in CONVERSIONS:
        seen = convert(grey, conversion)
        assert (seen.shape, seen.dtype) == ((1, 256), np.uint8)
        if not conversion.endswith("ness"):
            assert seen[0, 10] == (245 if "inverted" in conversion else 10)


def test_an_unknown_conversion_is_refused():
    with pytest.raises(InputError, match="conversion 'mauve': not known; give one of grey, inverted grey, red channel"):
        pixels(np.zeros((50, 200), np.uint8), conversion="mauve")
    with pytest.raises(InputError, match="conversion 'mauve'"):
        convert(Image.new("RGB", (9, 9)), "mauve")


def test_weights_carry_their_conversion(tmp_path):
    """Trained through one conversion, a reader sees by it, by torch and ONNX Runtime."""
    (tmp_path / "images").mkdir()
    captchas = written(tmp_path / "images", inked(RED, GREEN))
    result = train(captchas, tmp_path / "out", conversion="inverted red channel", report=lambda line: None, epochs=1)
    assert result.reader.conversion == "inverted red channel"
    assert (result.reader.sizes, result.captchas.conversion) == (((50, 200), (50, 200)), "inverted red channel")
    export_onnx(result.reader, tmp_path / "weight.onnx")
    seen = captchas.seen_through("inverted red channel")
    expected = [reading.text for reading in result.reader.read(seen.images, length=0)]
    for weights in (tmp_path / "out" / "weight.pth", tmp_path / "weight.onnx"):
        assert Reader.load(weights).conversion == "inverted red channel"
        for pictures in (seen.paths, [Image.open(path) for path in seen.paths]):
            assert [reading.text for reading in read(pictures, weights, length=0)] == expected
    assert "colours" in (tmp_path / "out" / "plan.csv").read_text()


def test_captchas_seen_through_another_conversion(tmp_path):
    captchas = written(tmp_path, inked(RED, GREEN))
    some = captchas.rows([3, 1])
    seen = some.seen_through("redness")
    assert seen.labels == some.labels
    assert torch.equal(seen.images, captchas.seen_through("redness").images[[3, 1]])
    assert seen.images.float().std() > 10 * some.images.float().std()
    assert seen.identity() != some.identity() == some.seen_through(GREY).identity()


def test_captchas_at_another_size(tmp_path):
    captchas = written(tmp_path, inked(RED, GREEN))
    seen = captchas.rows([3, 1]).seen_through(GREY, (48, 192))
    assert (seen.size, seen.labels) == ((48, 192), captchas.rows([3, 1]).labels)
    drawn = captchas.replace(paths=[]).rows([3, 1]).seen_through(GREY, (48, 192))
    assert torch.equal(drawn.images, seen.images)


def test_pictures_that_only_colours_tell_apart_are_no_copies(tmp_path):
    """Their grey pixels are equal to the last bit."""
    for text, ink in ("abc", 0.6), ("bcd", 0.2):
        mask = np.random.default_rng(int(100 * ink)).random((30, 90, 1)) < ink
        Image.fromarray((mask * np.array((0, 51, 0)) + ~mask * np.array((100, 0, 0))).astype(np.uint8)).save(
            tmp_path / f"{text}.png"
        )
    greys = [convert(Image.open(path)) for path in sorted(tmp_path.iterdir())]
    assert np.array_equal(*greys)
    assert load_data(str(tmp_path)).labels == ["abc", "bcd"]
