"""A reader that teaches itself from pictures without labels, and one that is taught by a few."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from captcha_lib import adapt, adapting
from captcha_lib.adapting import LEAST, Adapted, Lesson, _agrees, _expected, find_kind
from captcha_lib.alphabet import Alphabet
from captcha_lib.commands.main import main
from captcha_lib.config import WEIGHTS_DIR, InputError
from captcha_lib.decode import Reading
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import DEJAVU, KAPTCHA
from captcha_lib.reading.torch_reader import TorchReader, load_start
from captcha_lib.reading.votes import Kind, Vote

# Larger glyphs with wider gaps than the reference weights know: they read some of these, and not all.
STYLE = replace(KAPTCHA, fonts=(DEJAVU.with_name("DejaVuSerif-Bold.ttf"),), size=(34, 34), ripple=(1.4, 1.4))
CHARACTERS = "".join(sorted(set(KAPTCHA.characters)))


@pytest.fixture(scope="module")
def kaggle() -> TorchReader:
    return load_start("kaggle")


@pytest.fixture(scope="module")
def drawn() -> tuple[list[str], torch.Tensor]:
    return generate_captchas(80, 5, STYLE)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(adapting, "BELIEVED", (0.5, 0.9, 0.95))
    monkeypatch.setattr(adapting, "STEPS", replace(adapting.STEPS, epochs=2, per_epoch=320))


class Fixed(TorchReader):
    """A reader whose readings are given."""

    def decode(self, logits, length=None, allowed=None, others=0, characters=False):
        return READINGS


READINGS = [Reading("AB12", 0.9)] * 30 + [Reading("CD3", 0.2)] * 60 + [Reading("x", 0.1)] * 10


def exact(reader: TorchReader, images: torch.Tensor, texts: list[str]) -> int:
    return sum(one.text == text for one, text in zip(reader.read(images, 5), texts, strict=True))


def test_a_reader_learns_what_it_half_knows(kaggle, drawn, quick):
    texts, images = drawn
    said: list[str] = []
    adapted = adapt(images, kaggle, length=5, report=said.append)
    assert exact(adapted.reader, images, texts) > exact(kaggle, images, texts)
    assert 0 < adapted.expected <= 1
    assert adapted.rounds["round"].tolist() == [1, 2, 3]
    assert said[0].startswith("texts of 5 characters of 2345678")
    first = adapted.rounds.iloc[0]
    assert said[1] == f"round 1: {first.believed:.0f} of 400 characters believed, views agree on {first.agreed:.0%}"
    assert 100 <= first.believed < 400, "half of the characters, less those of texts of which few are believed"
    assert said[-1] == adapted.belief


def test_labels_of_a_few_teach_more(kaggle, drawn, quick):
    texts, images = drawn
    labels = {i: texts[i] for i in range(0, 80, 4)}
    adapted = adapt(images, kaggle, length=5, labels=labels)
    assert exact(adapted.reader, images, texts) >= exact(adapt(images, kaggle, length=5).reader, images, texts)
    assert sum(adapted.read(images)[i].text == text for i, text in labels.items()) >= len(labels) - 1


def test_what_has_learnt_goes_on_with_the_last_rounds(kaggle, drawn, quick, monkeypatch):
    monkeypatch.setattr(adapting, "AGAIN", 1)
    texts, images = drawn
    once = adapt(images[:LEAST], kaggle, length=5)
    again = adapt(images[:LEAST], once, length=5, labels={0: texts[0]})
    assert (len(once.rounds), len(again.rounds)) == (3, 1)
    untaught = Adapted(kaggle, once.kind)
    assert len(adapt(images[:LEAST], untaught, length=5).rounds) == 3


def test_a_label_may_hold_a_character_that_nobody_knew(kaggle, drawn, quick):
    _, images = drawn
    adapted = adapt(images, kaggle, labels={0: "Ж2345", 1: "2345Ж"})
    assert "Ж" in adapted.kind.characters
    assert "Ж" in adapted.reader.alphabet.characters


def test_it_comes_out_the_same_again(kaggle, drawn, quick):
    _, images = drawn
    one, again = (adapt(images[:LEAST], kaggle, length=5).reader.model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_a_few_pictures_are_refused(kaggle, drawn):
    with pytest.raises(InputError, match="19 pictures are too few to learn from; give 20 or more"):
        adapt(drawn[1][:19], kaggle)


def test_what_is_not_given_is_found_out(kaggle):
    reader = Fixed(Alphabet("ABCD123xyz"), (50, 200), None, model=kaggle.model)
    images = torch.zeros(100, 1, 50, 200, dtype=torch.uint8)
    kind = find_kind(reader, images, None, None, {})
    assert kind == Kind("123ABCD", 4), "the surest readings tell; small letters are rare"


def test_what_is_given_is_taken(kaggle, drawn):
    kind = find_kind(kaggle, drawn[1], "2345678", (4, 6), {})
    assert (kind.characters, kind.length) == ("2345678", (4, 6))


def test_a_length_that_is_wrong_shows_in_what_is_said(kaggle, drawn):
    assert find_kind(kaggle, drawn[1], None, 5, {}).sure > 0.9
    assert find_kind(kaggle, drawn[1], None, 4, {}).sure < 0.1


def test_what_contradicts_the_surest_readings_is_not_kept(kaggle, drawn, quick, monkeypatch):
    """What a reader believes is made nonsense: it learns that, and the old one is kept."""
    images = drawn[1]
    nonsense = Vote(["22222"] * 40, [np.ones(5)] * 40, np.ones(40))
    monkeypatch.setattr(adapting, "vote", lambda *given: nonsense)
    said: list[str] = []
    adapted = adapt(images, kaggle, length=5, report=said.append)
    assert adapted.reader is kaggle
    assert not adapted.learnt
    assert "what it learnt contradicts what it was sure of before; the old reader is kept" in said


@pytest.mark.parametrize(("forgotten", "agrees"), [(0, True), (15, True), (30, False)])
def test_a_reader_that_forgot_a_character_is_not_kept(monkeypatch, forgotten, agrees):
    """The surest texts lack the character that it forgot: all that were certain are compared."""
    before = [Reading("AAAA", 0.999)] * 20 + [Reading("AAAB", 0.98)] * 40 + [Reading("CCCC", 0.5)] * 40
    after = before[: 60 - forgotten] + [Reading("AAA", 0.9)] * forgotten + [Reading("DDDD", 0.9)] * 40
    readings = iter([before, after])
    monkeypatch.setattr(adapting, "read", lambda *given: next(readings))
    assert _agrees(None, None, Lesson(None, None, {}, np.arange(100), ())) is agrees


def test_what_is_expected_is_the_product_of_how_sure_the_characters_are():
    vote = Vote(["ab", "c", ""], [np.array([0.5, 0.8]), np.array([1.0]), np.array([])], np.ones(3))
    assert _expected([vote]) == pytest.approx((0.4 + 1 + 0) / 3)


def test_the_command_writes_weights_and_readings(drawn, quick, tmp_path, capsys):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for i, image in enumerate(drawn[1][:30]):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:02}.png")
    said = ["adapt", str(folder), "--weights", "kaggle", "--length", "5", "--out", str(out)]
    assert main(said) == 0
    assert "believed to read" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"weight.pth", "readings.csv", "rounds.csv", "pseudo_labels.csv"}
    assert TorchReader.load(out / "weight.pth").length == 5
    assert len((out / "readings.csv").read_text().splitlines()) == 31


def test_all_pictures_that_cannot_be_read_are_named(kaggle, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match="2 files cannot be read; remove them"):
        adapt(tmp_path, WEIGHTS_DIR / "kaggle.pth")
