"""`Recipe`: the defaults derived from a data set: hyperparameters and initial weights; and a table that shows them."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from captcha_lib.alphabet import count_doubles, named
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.colour import CONVERSIONS, GREY, GREYS
from captcha_lib.data.split import is_official
from captcha_lib.model import ctc_loss, time_steps
from captcha_lib.reading.torch_reader import TorchReader, load_start

# The weights that small sets start from, see studies/pretraining.py, and the px that a character is given then: of a
# noisy set of six characters 100 labels read 50 % with 32 px a character, 62 % with 48.
GENERAL, STARTED_ROOM = "general", 48
# From this number of training images on, the defaults of `Config` hold, which were chosen for 802.
MEDIUM_SET = 800
# A smaller set is repeated until SMALL_SHOWN images were shown in all; each image at most MAX_REPEATS times an epoch,
# every time in another warp.
SMALL_EPOCHS, SMALL_SHOWN, MAX_REPEATS = 48, 38_400, 8
# From weights that can read, images are shown about STARTED_SHOWN times in all. Of 300 others, 30 labels of the package
# `captcha` read 69 % after 8 epochs and 71 % after 16, 300 labels 93 and 91 %, and 100 of `claptcha` 85 and 89 %.
STARTED_SHOWN, STARTED_FEWEST, STARTED_MOST = 9_600, 12, 16  # the last two in epochs
# Where they know fewer than half of the characters, framewise epochs come first: so 800 pictures of 119 Chinese
# characters, which random weights did not learn at all, are read to 96 % of 200 others.
STARTED_WARM_UP = 4
# A set this large feeds a larger network, which takes longer to learn and needs less augmentation. Counted in passes
# over the images, but for very large sets.
LARGE_SET = 3000
LARGE_EPOCHS, MIN_EPOCHS, LARGE_SHOWN = 40, 12, 200_000
LARGE_LAYERS: dict = {"channels": (48, 96, 160), "hidden": 160}
# The conversion of colours is chosen by SAMPLE training images. SURE is large, since two dozen of them are compared.
# Pictures have colours where COLOURED of the pixels have channels that differ by more than CHROMA.
SAMPLE, FEW, SURE, COLOURED, CHROMA = 100, 20, 4.0, 0.005, 32
# A character in fewer images than this can hardly be learnt, and its reading not be tested.
RARE = 3


@dataclass(frozen=True)
class Recipe:
    """How a data set is learnt."""

    config: Config
    start: TorchReader | None = None  # the reader whose weights training starts from; None for random ones
    start_from: str = "random"  # where these weights come from, in words
    conversion: str = GREY  # from colours to the grey that the network sees, see `data.colour`
    size: tuple[int, int] | None = None  # (H, W) in px that the network sees; None leaves the images as they are

    def seen(self, captchas: Captchas) -> Captchas:
        """The captchas as the network sees them."""
        return captchas.seen_through(self.conversion, self.size)


def recipe_for(
    captchas: Captchas,
    seed: int = 0,
    start: str | None = None,
    conversion: str | None = None,
    size: tuple[int, int] | None = None,
) -> Recipe:
    """The recipe of `train` for a split data set.

    The generated and the Kaggle images are learnt from scratch unless `start` says otherwise.

    Args:
        captchas: a split data set.
        seed: of the training.
        start: "general", "none", or a weights file; None takes "general" where there are not too many images.
        conversion: of colours; None chooses, see `conversion_for`.
        size: (H, W) in px; None takes their height and 48 px a character where training starts from weights.

    Raises InputError if there are no such weights.
    """
    general = load_start(GENERAL)
    train, official = captchas.subset("train"), is_official(captchas)
    if conversion is None:
        conversion = captchas.conversion if official else conversion_for(train, general)
    if start is None:
        suits = len(train) < LARGE_SET and not official and size in (None, _started_size(general, captchas))
        start = GENERAL if suits else "none"
    if start == "none":
        return Recipe(replace(config_for(len(train)), seed=seed), conversion=conversion, size=size)
    reader = general if start == GENERAL else TorchReader.load(start)
    characters, known = captchas.alphabet.characters, _known(reader, captchas)
    config = replace(config_for(len(train), reader), seed=seed)
    if 2 * known < len(characters):
        config = replace(config, epochs=config.epochs + STARTED_WARM_UP, warmup_epochs=STARTED_WARM_UP)
    said = f"{start}, which knows {known} of {len(characters)} characters"
    return Recipe(config, reader, said, conversion, size or _started_size(reader, captchas))


def patient(recipe: Recipe) -> Recipe:
    """For another go: twice the epochs, a third of them framewise; and from random weights the layers of large sets."""
    config = recipe.config
    config = replace(config, epochs=2 * config.epochs, warmup_epochs=2 * config.epochs_each // 3)
    if recipe.start is None:
        config = replace(config, **LARGE_LAYERS)
    return replace(recipe, config=config)


def chance_loss(labels: list[str]) -> float:
    """Nats a text for who knows no more than the texts' lengths and how often each character occurs."""
    counts = np.array(list(Counter("".join(labels)).values()))
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() * counts.sum() / len(labels))


def _known(reader: TorchReader, captchas: Captchas) -> int:
    """How many characters of the alphabet a reader knows."""
    return len(set(captchas.alphabet.characters) & set(reader.alphabet.characters))


def _started_size(reader: TorchReader, captchas: Captchas) -> tuple[int, int]:
    """(H, W) in px at which a reader learns captchas: its own height, and room for four characters or more."""
    return reader.image_size[0], STARTED_ROOM * max(4, *map(len, captchas.labels))


def config_for(images: int, start: TorchReader | None = None) -> Config:
    """The hyperparameters for a number of training images.

    Where training starts from a reader there is no plateau, see notebook 03, and the layers are given.
    """
    config, per_epoch = Config(), min(MEDIUM_SET, MAX_REPEATS * images)
    if start is not None:
        epochs = min(STARTED_MOST, max(STARTED_FEWEST, STARTED_SHOWN // per_epoch))
        return replace(config, **start.layers, epochs=epochs, per_epoch=per_epoch, warmup_epochs=0, augment_ramp=0)
    if images >= LARGE_SET:
        epochs = min(LARGE_EPOCHS, max(MIN_EPOCHS, LARGE_SHOWN // images))
        return replace(config, **LARGE_LAYERS, epochs=epochs, dropout=0.2, augment_strength=0.5)
    if images >= MEDIUM_SET:
        return config
    epochs = min(SMALL_EPOCHS, max(config.epochs, SMALL_SHOWN // images))
    return replace(config, epochs=epochs, per_epoch=per_epoch)


def conversion_for(train: Captchas, general: TorchReader) -> str:
    """The conversion of colours by which the general weights find the training labels likeliest.

    It is the first of `CONVERSIONS` than which no other is better by `SURE` standard errors, so grey where in doubt.
    Where they know hardly a label, it is grey unless next to nothing is seen by it.
    """
    if not train.paths:  # drawn, and grey
        return GREY
    sample = train.sample(SAMPLE)
    coloured = (sample.seen_through("colourfulness").images > CHROMA).float().mean() > COLOURED
    names, size = CONVERSIONS if coloured else GREYS, _started_size(general, sample)
    seen = {name: sample.seen_through(name, size).images for name in names}
    rows = [i for i, label in enumerate(sample.labels) if set(label) <= set(general.alphabet.characters)]
    if len(rows) < FEW:
        contrast = {name: float(images.float().std((1, 2, 3)).mean()) for name, images in seen.items()}
        most = max(names, key=lambda name: contrast[name])
        return most if 4 * contrast[GREY] < contrast[most] else GREY
    ids, lengths = general.alphabet.encode_batch([sample.labels[i] for i in rows])
    loss = {
        name: ctc_loss(general.logits(images[rows]), ids, lengths) / lengths  # (N,), nats a character
        for name, images in seen.items()
    }
    least = min(loss.values(), key=lambda one: float(one.mean()))
    return next(name for name in names if not _is_more(loss[name], least))


def _is_more(loss: torch.Tensor, least: torch.Tensor) -> bool:
    """Whether losses (N,) of the same texts are larger by `SURE` standard errors."""
    more = loss - least
    return bool(more.mean() > SURE * more.std() / math.sqrt(len(more)))


def plan_table(captchas: Captchas, recipe: Recipe) -> pd.DataFrame:
    """What a training on these images will be, one row a fact: what, value, follows_from."""
    manifest, train, config = captchas.manifest, captchas.subset("train"), recipe.config
    characters = captchas.alphabet.characters
    (stored, _), *others = Counter(zip(manifest["width"], manifest["height"], strict=True)).most_common()
    more = f", and {len(others)} more" if others else ""
    height, width = captchas.size
    shortest, longest = min(map(len, captchas.labels)), max(map(len, captchas.labels))
    needed = max(len(label) + count_doubles(label) for label in captchas.labels)
    seen = Counter(character for label in captchas.labels for character in set(label))
    rare = ", ".join(f"{named(c)} in {seen[c]}" for c in characters if seen[c] < RARE) or "none"
    subsets = " / ".join(str(len(captchas.subset(name))) for name in ("train", "val", "test"))
    shown = max(config.per_epoch, len(train))
    rows = [
        ("images", f"{len(captchas):,}", captchas.source),
        ("train / val / test", subsets, "--split, --seed"),
        ("size in the files", f"{stored[0]} x {stored[1]} px{more}", "the files"),
        ("read at", f"{width} x {height} px", "the size and the longest label; --size"),
        ("colours", recipe.conversion, "the training images; --conversion"),
        ("time steps", f"{time_steps(width)}, and {needed} are needed", "the width; the longest label and its doubles"),
        ("alphabet", f"{len(characters)}: {characters}", "the labels; --alphabet, --ignore-case"),
        ("rare characters", rare, f"in fewer than {RARE} images; add some"),
        ("length", f"always {longest}" if shortest == longest else f"{shortest} to {longest} characters", "the labels"),
        ("epochs", f"{config.epochs} of {shown:,} images", f"{len(train)} training images; --epochs"),
        ("warps", f"strength {config.augment_strength}", "the number of training images; --warps"),
        ("initial weights", recipe.start_from, "--start"),
        *(("understood", note, "the files") for note in captchas.notes if not note.startswith("split: ")),
    ]
    return pd.DataFrame(rows, columns=["what", "value", "follows_from"])


def show(table: pd.DataFrame) -> str:
    """The table as lines of text."""
    wide = table["what"].str.len().max()
    return "\n".join(f"{row.what:{wide}}  {row.value}  [{row.follows_from}]" for row in table.itertuples())
