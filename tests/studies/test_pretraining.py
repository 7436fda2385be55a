"""The weights that read at first sight, and that small sets start from."""

from dataclasses import replace

from captcha_lib.training import Session
from studies.makers.families import CHARACTERS
from studies.pretraining import RECIPE, Makers, learn_general


def test_they_know_letters_digits_and_signs(tmp_path):
    small = {"channels": (4, 4, 8), "hidden": 16, "blocks": 1}
    tiny = replace(RECIPE, epochs=1, per_epoch=16, batch_size=8, warmup_epochs=0, **small)
    said: list[str] = []
    session = Session(checkpoint=tmp_path / "general.checkpoint", resume=True, report=said.append)
    reader = learn_general(tiny, session=session)
    assert set(reader.alphabet.characters) == set(CHARACTERS)
    assert (reader.image_size, reader.length) == (Makers(16).size, None)
    learn_general(tiny, session=session)
    assert said[-1] == "resumed after epoch 1"
