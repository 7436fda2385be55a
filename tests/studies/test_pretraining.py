"""The weights that small sets start from."""

from dataclasses import replace

from captcha_lib.recipe import CHARACTERS
from captcha_lib.training import Session
from studies.pretraining import RECIPE, general_style, learn_general


def test_they_know_letters_and_digits(tmp_path):
    tiny = replace(RECIPE, epochs=1, per_epoch=16, batch_size=8, warmup_epochs=0, channels=(4, 4, 8), hidden=16)
    said: list[str] = []
    session = Session(checkpoint=tmp_path / "general.checkpoint", resume=True, report=said.append)
    reader = learn_general(tiny, session)
    assert (reader.alphabet.characters, reader.length) == (CHARACTERS, None)
    assert reader.image_size == (general_style().height, general_style().width)
    learn_general(tiny, session)
    assert said[-1] == "resumed after epoch 1"
