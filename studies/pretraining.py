"""The weights that small sets start from: a network that has learnt Latin letters and digits from generated captchas.

A small set of labelled images teaches a network what its own captchas look like; what an "R" is, it can know before. So
small sets start from these weights where their alphabet allows it (`captcha_lib.recipe.GENERAL`), and need no fonts.
"""

from dataclasses import replace

from captcha_lib.config import Config
from captcha_lib.generator.style import Style
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import CHARACTERS
from captcha_lib.training import Session, fit
from studies.fonts import free_fonts, matplotlib_fonts
from studies.stream import Stream

RECIPE = replace(Config(), epochs=40, per_epoch=10_000, batch_size=32, augment_strength=0.5, ema_decay=0.99)


def general_style() -> Style:
    """Everything varied as far as people could still read it, at the size that small sets are read at."""
    return Style(
        characters=CHARACTERS,
        length=(4, 6),
        fonts=(*matplotlib_fonts(), *free_fonts()),
        size=(28, 42),
        start=(4, 40),
        baseline=(38, 48),
        spacing=(-3, 6),
        glyph_width=(1.1, 1.7),
        weight=(0.0, 0.5),
        rotation=(-25.0, 25.0),
        ink=(60, 255),
        lines=(0, 3),
        dots=(0, 150),
        water=(0.0, 1.5),
        ripple=(0.0, 1.2),
        height=56,
        width=288,
    )


def learn_general(config: Config = RECIPE, session: Session = Session()) -> TorchReader:
    """Trains these weights; the session names the checkpoint."""
    return fit(Stream(config.per_epoch, general_style(), config.seed), None, config, session=session)[0]
