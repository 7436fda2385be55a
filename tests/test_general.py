"""The network to start from, and when it is taken."""

from dataclasses import replace

import pytest
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import generated_captchas
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import CHARACTERS, GENERAL, choose_start
from captcha_lib.training import fit
from studies.pretraining import general_style, learn_general

TINY = Config(epochs=1, per_epoch=16, batch_size=8, warmup_epochs=0, channels=(4, 4, 8), hidden=16)
STILL = replace(TINY, learning_rate=1e-12, ema_decay=0.0)
UPPER = Alphabet("ABC123")


def test_it_reads_captchas_of_its_kind():
    texts, images = generate_captchas(100, 77, general_style())
    reader = TorchReader.load(GENERAL)
    assert reader.alphabet.characters == CHARACTERS
    assert sum(a == b for a, b in zip(reader.spell(reader.logits(images)), texts, strict=True)) >= 60


@pytest.mark.parametrize(
    ("alphabet", "height", "images", "taken"),
    [
        (UPPER, 50, 300, True),
        (UPPER, 50, 3000, False),
        (UPPER, 64, 300, False),
        (Alphabet("AБЖГ"), 50, 300, False),
        (Alphabet("ABC#"), 50, 300, True),
    ],
)
def test_when_it_is_taken(alphabet, height, images, taken):
    start, said = choose_start(None, alphabet, height, images)
    assert (start is not None) == taken
    assert said.startswith("general" if taken else "at random")


def test_it_can_be_asked_for_or_not(weights):
    assert choose_start("none", UPPER, 50, 300)[0] is None
    assert choose_start("general", UPPER, 50, 5000)[0] is not None
    start, said = choose_start(str(weights), Alphabet("2b#"), 50, 5000)
    assert start.alphabet.characters == "".join(sorted(set(KAPTCHA.characters)))
    assert said.endswith("which knows 2 of 3 characters")


def test_weights_that_know_nothing_of_it(weights):
    with pytest.raises(InputError, match="it knows no character of 'ЖЯ'"):
        choose_start(str(weights), Alphabet("ЖЯ"), 50, 5000)


def test_another_alphabet_keeps_what_it_shares():
    """Scores of shared characters are those of the start; a character that is new has weights of its own."""
    captchas = generated_captchas(8, 1)
    alphabet = Alphabet.of(captchas.labels)
    first, _ = fit(captchas, None, alphabet, TINY, report=str)
    more = Alphabet(alphabet.characters[::-1] + "#")
    second, _ = fit(captchas, None, more, STILL, report=str, start=first)
    ours, theirs = (reader.model.classify[1].weight.detach() for reader in (second, first))
    place = [0, *more.encode(alphabet.characters)]
    assert torch.allclose(ours[place], theirs, atol=1e-3)
    assert not torch.allclose(ours[-1], theirs[-1], atol=1e-3)


def test_a_start_of_another_network_is_refused(reader):
    captchas = generated_captchas(8, 1)
    with pytest.raises(InputError, match="start: its network has other layers"):
        fit(captchas, None, reader.alphabet, TINY, report=str, start=reader)


def test_it_learns_from_a_stream(tmp_path):
    reader = learn_general(tmp_path / "checkpoint.pth", TINY, report=str)
    assert reader.alphabet.characters == CHARACTERS
    assert reader.image_size == (56, 288)
