"""What follows from a data set before anything is learnt from it: how to train, and a table that says all of it."""

from collections import Counter
from dataclasses import replace

import pandas as pd

from captcha_lib.alphabet import Alphabet, count_doubles, named
from captcha_lib.config import Config
from captcha_lib.data import Captchas
from captcha_lib.model import time_steps

# From so many training images on the defaults of `Config` hold, which were chosen for 802.
ENOUGH = 800
# A smaller set, and one that starts from weights that can read, is gone through up to so often that SHOWN images are
# shown in all; each image up to so many times an epoch, every time in another warp.
SMALL_EPOCHS, SHOWN, MOST_REPEATS = 48, 38_400, 8
# So many feed a larger network, which takes longer to learn; less has to be made up by warps. Counted in passes over
# the images, but for very many of them.
MANY, LARGE = 3000, {"channels": (48, 96, 160), "hidden": 160, "dropout": 0.2, "augment_strength": 0.5}
LARGE_EPOCHS, LEAST_EPOCHS, LARGE_SHOWN = 40, 12, 200_000
# A character in fewer images can hardly be learnt, and its reading not be tested.
SEEN = 3


def plan(images: int, started: bool = False) -> Config:
    """The hyperparameters for a number of training images.

    Args:
        images: for training, without validation and test.
        started: whether the network can read already: then there is no plateau to be got over, see notebook 03, and its
            layers are given.
    """
    config = Config(warmup_epochs=0, augment_ramp=0) if started else Config()
    if images >= MANY and not started:
        epochs = min(LARGE_EPOCHS, max(LEAST_EPOCHS, LARGE_SHOWN // images))
        return replace(config, epochs=epochs, **LARGE)
    if images >= ENOUGH and not started:
        return config
    epochs = min(SMALL_EPOCHS, max(config.epochs, SHOWN // images))
    return replace(config, epochs=epochs, per_epoch=min(ENOUGH, MOST_REPEATS * images))


def plan_table(captchas: Captchas, alphabet: Alphabet, config: Config, start: str, streamed: int = 0) -> pd.DataFrame:
    """What a training on these images will be, one row a fact: what, value, follows_from.

    Args:
        captchas: a split data set.
        alphabet: the characters to learn.
        config: the hyperparameters.
        start: where the weights come from, in words.
        streamed: captchas an epoch where a stream is trained on instead of the training images.
    """
    manifest, train = captchas.manifest, captchas.subset("train")
    sizes = Counter(zip(manifest["width"], manifest["height"], strict=True)).most_common()
    height, width = captchas.images.shape[2:]
    lengths = manifest["label"].str.len()
    needed = max(len(label) + count_doubles(label) for label in captchas.labels)
    seen = Counter(character for label in captchas.labels for character in set(label))
    rare = ", ".join(f"{named(c)} in {seen[c]}" for c in alphabet.characters if seen[c] < SEEN) or "none"
    subsets = " / ".join(str(len(captchas.subset(name))) for name in ("train", "val", "test"))
    shown = streamed or max(config.per_epoch, len(train))
    rows = [
        ("images", f"{len(captchas):,}", captchas.source),
        ("train / val / test", subsets, "--split, --seed"),
        ("size in the files", _sizes(sizes), "the files"),
        ("read at", f"{width} x {height} px", "the size and the longest label; --size"),
        ("time steps", f"{time_steps(width)}, and {needed} are needed", "the width; the longest label and its doubles"),
        ("alphabet", f"{len(alphabet.characters)}: {alphabet.characters}", "the labels; --alphabet, --ignore-case"),
        ("rare characters", rare, f"in fewer than {SEEN} images; add some"),
        ("length", _lengths(lengths.min(), lengths.max()), "the labels"),
        ("epochs", f"{config.epochs} of {shown:,} images", f"{len(train)} training images; --epochs"),
        ("warps", f"strength {config.augment_strength}", "the number of training images; --warps"),
        ("weights start", start, "--start"),
    ]
    return pd.DataFrame(rows, columns=["what", "value", "follows_from"])


def show(table: pd.DataFrame) -> str:
    """The table as lines of text."""
    wide = table["what"].str.len().max()
    return "\n".join(f"{row.what:{wide}}  {row.value}  [{row.follows_from}]" for row in table.itertuples())


def _sizes(sizes: list[tuple[tuple[int, int], int]]) -> str:
    (width, height), _ = sizes[0]
    return f"{width} x {height} px" + (f", and {len(sizes) - 1} more" if len(sizes) > 1 else "")


def _lengths(shortest: int, longest: int) -> str:
    return f"always {longest}" if shortest == longest else f"{shortest} to {longest} characters"
