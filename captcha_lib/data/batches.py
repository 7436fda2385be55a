"""Where training gets its batches from: images in memory, or a stream of captchas that are drawn as they are needed.

What an epoch holds depends on the seed and the epoch's number alone, so a run that was interrupted goes on with the
same images. Of a distributed training each process takes the batches of its rank.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.generator.draw import count_texts, draw, draw_texts
from captcha_lib.generator.style import KAPTCHA, Style

BLOCK = 256  # captchas drawn together and then mixed: a batch holds pictures of several warps
AHEAD = 3  # blocks that each drawing process may be ahead of the training


class Batch(NamedTuple):
    """Labelled images: (B, 1, H, W) uint8, padded class ids (B, max L), lengths (B,)."""

    images: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor


class Rank(NamedTuple):
    """Of a distributed training: this process's rank, from 0, and the world size."""

    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Stream:
    """Captchas that are drawn while they are trained on, none twice, none kept. Raises InputError if no text is left.

    Attributes:
        per_epoch: how many an epoch holds, all processes together.
        style: what they look like.
        seed: another seed, other captchas.
        without: texts that are never drawn, such as those of the test.
        workers: processes that draw beside each training process; 0 draws in the training process itself.
        scrambled: gives each picture another one's text: a control, from which nothing can be learnt.
    """

    per_epoch: int
    style: Style = KAPTCHA
    seed: int = 0
    without: frozenset[str] = frozenset()
    workers: int = 1
    scrambled: bool = False

    def __post_init__(self) -> None:
        if len(self.without) >= count_texts(self.style):
            raise InputError(f"stream: all {len(self.without)} texts are excluded; allow some")

    def __len__(self) -> int:
        return self.per_epoch

    @property
    def alphabet(self) -> Alphabet:
        """The characters of the style."""
        return Alphabet.of([self.style.characters])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images in px."""
        return self.style.height, self.style.width

    @property
    def length(self) -> int | None:
        """The length of all the texts, or None if they have several."""
        return self.style.length[0] if len(set(self.style.length)) == 1 else None

    def identity(self) -> str:
        """Identifies this stream."""
        drawn = self.style.identity(), self.seed, self.scrambled, sorted(self.without)
        return f"a stream of {self.per_epoch} an epoch ({hashlib.sha256(repr(drawn).encode()).hexdigest()[:8]})"


class MemoryBatches:
    """All the images of a data set once an epoch, or as often as it takes to fill one, in an order of the epoch's own.

    Attributes:
        steps: batches an epoch.
        named_texts: the texts that have to be spelt, each with the name of its file.
    """

    def __init__(self, captchas: Captchas, config: Config, rank: Rank = Rank()) -> None:
        self.captchas = captchas.repeated(config.per_epoch)
        self.batch_size, self.rank = config.batch_size, rank
        self.ids, self.lengths = captchas.alphabet.encode_batch(self.captchas.labels)
        self.steps = -(-len(self.captchas) // config.batch_size)
        self.named_texts = captchas.named_labels()

    def epoch(self, epoch: int, rng: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch; `rng` draws their order."""
        rank, world = self.rank
        for batch in torch.randperm(len(self.captchas), generator=rng).split(self.batch_size):
            rows = batch[rank % len(batch) :: world]  # never none, so that all processes take the same number of steps
            yield Batch(self.captchas.images_at(rows), self.ids[rows], self.lengths[rows])


class StreamBatches:
    """The captchas of a stream, drawn in processes of their own, a little ahead of the training; see MemoryBatches."""

    def __init__(self, stream: Stream, config: Config, rank: Rank = Rank()) -> None:
        self.stream, self.rank = stream, rank
        self.batch_size = -(-config.batch_size // rank.world)
        self.steps = -(-stream.per_epoch // (self.batch_size * rank.world))
        self.named_texts = [("stream", stream.style.characters[0] * stream.style.length[1])]  # the most time steps
        self._batches: Iterator[Batch] | None = None

    def epoch(self, epoch: int, rng: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch, which is the one after that of the last call."""
        if self._batches is None:
            drawn = StreamBlocks(self.stream, self.batch_size, self.steps, epoch, self.rank)
            # a generator of its own, or starting it would advance the random state of the epoch that it starts in
            own, workers = torch.Generator(), self.stream.workers
            ahead = AHEAD if workers else None
            blocks = DataLoader(drawn, batch_size=None, num_workers=workers, generator=own, prefetch_factor=ahead)
            # whole blocks, split here: handing a tensor from process to process costs half a millisecond
            parts = ([part.split(self.batch_size) for part in block] for block in blocks)
            self._batches = (Batch(*batch) for part in parts for batch in zip(*part, strict=True))
        return islice(self._batches, self.steps)


class StreamBlocks(IterableDataset):
    """A torch data set of one process's blocks of a stream, each of whole batches, epoch after epoch without end.

    The workers of a DataLoader take turns, so their number changes neither the blocks nor their order.
    """

    def __init__(
        self, stream: Stream, batch_size: int = BLOCK, steps: int = 0, first_epoch: int = 0, rank: Rank = Rank()
    ) -> None:
        self.stream, self.first_epoch, self.rank = stream, first_epoch, rank
        steps = steps or -(-stream.per_epoch // batch_size)
        batches = max(1, BLOCK // batch_size)
        self.sizes = [batch_size * min(batches, steps - done) for done in range(0, steps, batches)]

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker else (0, 1)
        for turn in count(first, every):
            epoch, i = divmod(turn, len(self.sizes))
            block = i * self.rank.world + self.rank.rank  # every rank has blocks of its own
            texts, images = draw_block(self.stream, self.sizes[i], self.first_epoch + epoch, block)
            yield Batch(images, *self.stream.alphabet.encode_batch(texts))


def draw_block(stream: Stream, n: int, epoch: int, block: int) -> tuple[list[str], torch.Tensor]:
    """Draws `n` captchas of a stream, always the same ones for an epoch and a block: texts, (n, 1, H, W) uint8."""
    rng = np.random.default_rng([stream.seed, epoch, block])
    texts: list[str] = []
    while len(texts) < n:
        texts += [text for text in draw_texts(n - len(texts), rng, stream.style) if text not in stream.without]
    images = draw(texts, rng, stream.style)
    order = rng.permutation(n)
    return [texts[i] for i in np.roll(order, stream.scrambled)], images[order]


def open_batches(source: Captchas | Stream, config: Config, rank: Rank = Rank()) -> MemoryBatches | StreamBatches:
    """The batches of a data set or a stream; the batch size of `config` is that of all processes together."""
    return StreamBatches(source, config, rank) if isinstance(source, Stream) else MemoryBatches(source, config, rank)
