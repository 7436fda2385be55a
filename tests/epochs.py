"""What the batches of an epoch hold. Not a test itself; tests of batches in memory and of streams use it."""

from dataclasses import replace

import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.batches import Batch, Rank
from captcha_lib.generator.style import KAPTCHA

ALPHABET = Alphabet.of([KAPTCHA.characters])


def texts_of(batches) -> list[str]:
    return [
        ALPHABET.decode(ids[:n]) for batch in batches for ids, n in zip(batch.ids, batch.lengths.tolist(), strict=True)
    ]


def epoch_of(source, epoch: int = 0, batch_size: int = 16, rank: Rank = Rank()) -> list[Batch]:
    config = replace(Config(), batch_size=batch_size)
    return list(source.batches(config, rank).epoch(epoch, torch.Generator().manual_seed(0)))
