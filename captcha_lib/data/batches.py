"""Where training gets its batches from: images in memory, or another `Source`, such as one that draws captchas.

What an epoch holds depends on the seed and the epoch's number alone, so a run that was interrupted goes on with the
same images. Of a distributed training each process takes the batches of its rank.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from captcha_lib.config import Config

if TYPE_CHECKING:
    from captcha_lib.alphabet import Alphabet
    from captcha_lib.data.captchas import Captchas


class Batch(NamedTuple):
    """Labelled images: (B, 1, H, W) uint8, padded class ids (B, max L), lengths (B,)."""

    images: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor


class Rank(NamedTuple):
    """Of a distributed training: this process's rank, from 0, and the world size."""

    rank: int = 0
    world: int = 1


class Batches(Protocol):
    """What a `Source` gives to one training.

    Attributes:
        steps: batches an epoch.
        named_texts: the texts that have to be spelt, each with the name of its file.
        measured: columns for the history that the last epoch filled, such as the share of time spent waiting.
    """

    steps: int
    named_texts: list[tuple[str, str]]
    measured: dict[str, float]

    def epoch(self, epoch: int, rng: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch; `rng` draws their order."""


class Source(Protocol):
    """Labelled images to train on. (H, W) in px; the length of all the texts, None if they have several."""

    @property
    def alphabet(self) -> "Alphabet": ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def length(self) -> int | None: ...
    def identity(self) -> str: ...
    def batches(self, config: Config, rank: Rank = Rank()) -> Batches: ...


class MemoryBatches:
    """All the images of a data set once an epoch, or as often as it takes to fill one, in an order of the epoch's own.

    The batch size of `config` is that of all processes together.
    """

    def __init__(self, captchas: "Captchas", config: Config, rank: Rank = Rank()) -> None:
        self.captchas = captchas.repeated(config.per_epoch)
        self.batch_size, self.rank = config.batch_size, rank
        self.ids, self.lengths = captchas.alphabet.encode_batch(self.captchas.labels)
        self.steps = -(-len(self.captchas) // config.batch_size)
        self.named_texts = captchas.named_labels()
        self.measured: dict[str, float] = {}

    def epoch(self, epoch: int, rng: torch.Generator) -> Iterator[Batch]:
        """See `Batches`."""
        rank, world = self.rank
        for batch in torch.randperm(len(self.captchas), generator=rng).split(self.batch_size):
            rows = batch[rank % len(batch) :: world]  # never none, so that all processes take the same number of steps
            yield Batch(self.captchas.images_at(rows), self.ids[rows], self.lengths[rows])
