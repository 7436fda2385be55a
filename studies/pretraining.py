"""A network to start from: it has learnt Latin letters and digits from generated captchas of all kinds.

A small set of labelled images teaches a network what its own captchas look like; what an "R" is, it can know before. So
small sets start from these weights where their alphabet allows it (`output/reference/general.pth`), and need no fonts.
"""

import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import REFERENCE_DIR, Config, InputError
from captcha_lib.data.batches import Stream
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.images import HEIGHTS
from captcha_lib.data.split import is_official
from captcha_lib.generator.style import Style
from studies.fonts import free_fonts, matplotlib_fonts
from captcha_lib.reading.torch_reader import Reader
from captcha_lib.recipe import MANY, plan
from captcha_lib.training import fit

GENERAL = REFERENCE_DIR / "general.pth"
CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
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


def learn_general(
    checkpoint: Path, config: Config = RECIPE, resume: bool = False, report: Callable[[str], None] = print
) -> Reader:
    """Trains the network to start from; goes on from the checkpoint if `resume` is set."""
    stream = Stream(config.per_epoch, general_style(), config.seed)
    reader, _ = fit(stream, None, Alphabet(CHARACTERS), config, checkpoint, resume, report=report)
    return reader


def prepare(
    captchas: Captchas, alphabet: Alphabet, seed: int = 0, choice: str | None = None
) -> tuple[Config, Reader | None, str]:
    """What a training on a split data set begins with: its hyperparameters, and its start as `choose_start` gives it.

    The generated and the Kaggle images are learnt from scratch unless `choice` says otherwise.
    """
    images = len(captchas.subset("train"))
    choice = choice or ("none" if is_official(captchas) else None)
    start, said = choose_start(choice, alphabet, captchas.images.shape[2], images)
    return replace(plan(images, start is not None), seed=seed), start, said


def choose_start(choice: str | None, alphabet: Alphabet, height: int, images: int) -> tuple[Reader | None, str]:
    """The reader whose weights a training starts from, None for new ones, and that in words.

    Args:
        choice: "general", "none", or a weights file; None takes "general" where there are not too many images, most of
            the alphabet is known to it and the pictures are as high as it knows them.
        alphabet: the characters to learn.
        height: of the pictures in px.
        images: how many there are for training.

    Raises:
        InputError: no such weights, or they know no character of the alphabet.
    """
    if choice == "none":
        return None, "at random"
    if choice is None and not (images < MANY and _suits(alphabet, height)):
        return None, "at random"
    path = GENERAL if choice in (None, "general") else Path(choice)
    start = Reader.load(path)
    known = [character for character in alphabet.characters if character in start.alphabet.characters]
    if not known:
        raise InputError(f"start {path}: it knows no character of {alphabet.characters!r}; give --start none")
    name = "general" if path == GENERAL else str(path)
    return start, f"{name}, which knows {len(known)} of {len(alphabet.characters)} characters"


def _suits(alphabet: Alphabet, height: int) -> bool:
    known = sum(character in CHARACTERS for character in alphabet.characters)
    return HEIGHTS[0] <= height <= HEIGHTS[1] and 2 * known > len(alphabet.characters)
