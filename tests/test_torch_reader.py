"""Weights files: there and back, or a clear refusal. What nobody vouches for is in hardening/test_weights.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import Reading, decode_greedy, decode_length
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.model import CRNN
from captcha_lib.reading.torch_reader import OLDER_FORMATS, TorchReader, round_weights

ALPHABET = Alphabet.of([KAPTCHA.characters])


def make_reader(channels=(4, 4, 8), hidden=16, length=5) -> TorchReader:
    """A network that was never trained, its weights blown up so that every picture gets a text of its own."""
    torch.manual_seed(4)
    model = CRNN(ALPHABET.num_classes, 50, channels, hidden).eval()
    with torch.no_grad():
        model.columns[0].weight *= 1000
        model.classify[1].weight *= 50
    round_weights(model)
    return TorchReader(ALPHABET, (50, 200), length, model=model)


def same_readings(ours: list[Reading], theirs: list[Reading]) -> bool:
    confidences = [reading.confidence for reading in theirs]
    return [r.text for r in ours] == [r.text for r in theirs] and [r.confidence for r in ours] == pytest.approx(
        confidences, abs=1e-12
    )


@pytest.fixture(scope="module")
def reader() -> TorchReader:
    return make_reader()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return generate_captchas(5, 0)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def saved(reader, folder) -> Path:
    reader.save(folder / "weight.pth")
    return folder / "weight.pth"


def refusal(path: Path) -> str:
    """What loading `path` says; anything but an InputError of one line that names the file is a failure."""
    with pytest.raises(InputError) as caught:
        TorchReader.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_round_trip(reader, images, saved):
    loaded = TorchReader.load(saved)
    assert (loaded.alphabet, loaded.image_size, loaded.length) == (ALPHABET, (50, 200), 5)
    assert not loaded.model.training
    assert torch.equal(loaded.logits(images), reader.logits(images))


def test_round_trip_without_a_length(images, tmp_path):
    reader = make_reader(length=None)
    reader.save(str(tmp_path / "weight.pth"))
    loaded = TorchReader.load(tmp_path / "weight.pth")
    assert loaded.length is None
    assert same_readings(loaded.read(images), decode_greedy(reader.logits(images), ALPHABET))


def test_reading_takes_the_trained_length_unless_told_otherwise(reader, images):
    logits = reader.logits(images)
    assert same_readings(reader.read(images), decode_length(logits, ALPHABET, 5, among_all=True))
    assert same_readings(reader.read(images, length=5), decode_length(logits, ALPHABET, 5))
    assert same_readings(reader.read(images, length=4), decode_length(logits, ALPHABET, 4))
    assert same_readings(reader.read(images, length=0), decode_greedy(logits, ALPHABET))


def test_spelling_takes_the_trained_length_unless_told_otherwise(reader, images):
    logits = reader.logits(images)
    assert {len(text) for text in reader.spell(logits)} == {5}
    assert reader.spell(logits, length=0) == [reading.text for reading in decode_greedy(logits, ALPHABET)]
    assert all(set(text) <= set("2345678") for text in reader.spell(logits, allowed="2345678"))


def test_reading_with_allowed_characters(reader, images):
    texts = [reading.text for reading in reader.read(images, allowed="2345678")]
    assert all(len(text) == 5 and set(text) <= set("2345678") for text in texts)
    with pytest.raises(InputError, match="'Z'"):
        reader.read(images, allowed="2Z")


def test_logits_do_not_depend_on_the_batch_size(reader, images):
    together, in_twos = reader.logits(images), reader.logits(images, batch_size=2)
    assert in_twos.shape == (5, 25, ALPHABET.num_classes)
    assert torch.allclose(together, in_twos, rtol=1e-4, atol=1e-3)


def test_no_pictures_no_readings(reader):
    assert reader.read(torch.zeros(0, 1, 50, 200, dtype=torch.uint8)) == []


def odds(readings: list[Reading]) -> np.ndarray:
    confidence = np.array([reading.confidence for reading in readings])
    return np.log(confidence / (1 - confidence))


@pytest.mark.parametrize(("length", "own"), [(None, True), (5, True), (4, True), (0, False)])
def test_each_decoder_has_its_temperature(reader, images, length, own):
    """Fault 12: that of the known length scaled readings of any length, too."""
    scaled = replace(reader, temperature=2.0, temperature_any=5.0)
    ours, theirs = scaled.read(images, length), reader.read(images, length)
    assert [r.text for r in ours] == [r.text for r in theirs], "it changes no text"
    assert odds(ours) == pytest.approx(odds(theirs) / (2 if own else 5))


def test_without_a_length_of_its_own_there_is_one_temperature(images):
    reader = replace(make_reader(length=None), temperature=2.0, temperature_any=5.0)
    assert odds(reader.read(images)) == pytest.approx(odds(make_reader(length=None).read(images)) / 2)


def test_both_temperatures_are_stored(reader, tmp_path):
    replace(reader, temperature=0.5, temperature_any=1.5).save(tmp_path / "weight.pth")
    loaded = TorchReader.load(tmp_path / "weight.pth")
    assert (loaded.temperature, loaded.temperature_any) == (0.5, 1.5)


@pytest.mark.parametrize(
    ("older", "temperature", "lacking"),
    list(
        zip(
            OLDER_FORMATS,
            ([0.5, 0.25], [0.5, 0.25], 0.5),
            (("blocks",), ("blocks", "conversion", "sizes"), ("blocks", "conversion", "sizes")),
            strict=True,
        )
    ),
)
def test_older_formats_are_still_read(saved, tmp_path, older, temperature, lacking):
    old = torch.load(saved, weights_only=True) | {"format": older, "temperature": temperature}
    torch.save({name: old[name] for name in old if name not in lacking}, tmp_path / "weight.pth")
    loaded = TorchReader.load(tmp_path / "weight.pth")
    assert (loaded.temperature, loaded.temperature_any) == (0.5, 0.25 if isinstance(temperature, list) else 0.5)
    assert loaded.model.blocks == 0
    assert (loaded.conversion, loaded.sizes) == ("grey", ())
