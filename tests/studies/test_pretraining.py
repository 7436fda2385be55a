"""How the weights that small sets start from are learnt."""

from captcha_lib.config import Config
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import count_exact
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import CHARACTERS, GENERAL
from studies.pretraining import general_style, learn_general

TINY = Config(epochs=1, per_epoch=16, batch_size=8, warmup_epochs=0, channels=(4, 4, 8), hidden=16)


def test_they_read_captchas_of_their_kind():
    texts, images = generate_captchas(100, 77, general_style())
    reader = TorchReader.load(GENERAL)
    assert count_exact(reader.spell(reader.logits(images)), texts) >= 60


def test_they_are_learnt_from_a_stream(tmp_path):
    reader = learn_general(tmp_path / "checkpoint.pth", TINY, report=str)
    assert reader.alphabet.characters == CHARACTERS
    assert reader.image_size == (56, 288)
