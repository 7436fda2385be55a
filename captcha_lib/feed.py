"""Where training gets its batches from: images in memory, or a stream of captchas that are drawn as they are needed.

A feed gives the batches of one epoch after the other. What an epoch holds depends on the seed and the epoch's number
alone, so a run that was cut off goes on with the same images.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data import Captchas, repeated
from captcha_lib.generate import count_texts, draw, draw_texts
from captcha_lib.share import Share
from captcha_lib.style import KAPTCHA, Style

BLOCK = 256  # captchas drawn together and then mixed: a batch holds pictures of several warps
AHEAD = 3  # blocks that the drawing process may be ahead of the training


class Batch(NamedTuple):
    """Labelled images: (B, 1, H, W) uint8, padded class ids (B, max L), lengths (B,)."""

    images: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class Stream:
    """Captchas that are drawn while they are trained on, none twice, none kept.

    Attributes:
        per_epoch: how many the epochs hold, all processes together.
        style: what they look like.
        seed: another seed, other captchas.
        without: texts that are never drawn, such as those of the test.
        workers: processes that draw beside each training process; 0 draws in the training process itself.
        scrambled: gives each picture another one's text: a control, from which nothing is to be learnt.

    Raises:
        InputError: no text is left to draw.
    """

    per_epoch: int
    style: Style = KAPTCHA
    seed: int = 0
    without: frozenset[str] = frozenset()
    workers: int = 1
    scrambled: bool = False

    def identity(self) -> str:
        """Tells this stream from others."""
        drawn = self.style.identity(), self.seed, self.scrambled, sorted(self.without)
        return f"a stream of {self.per_epoch} an epoch ({hashlib.sha256(repr(drawn).encode()).hexdigest()[:8]})"

    def __post_init__(self) -> None:
        if len(self.without) >= count_texts(self.style):
            raise InputError(f"stream: {len(self.without)} texts are kept out, and there are no more; allow some")


class MemoryFeed:
    """All the images of a data set once an epoch, or as often as it takes to fill one, in an order of the epoch's own.

    Attributes:
        size: (H, W) of the images in px.
        length: of all the texts, or None if they have several.
        steps: batches an epoch.
        named_texts: the texts that have to be spelt, each with where it stands.
    """

    def __init__(self, captchas: Captchas, alphabet: Alphabet, config: Config) -> None:
        captchas = repeated(captchas, config.per_epoch)
        self.images, self.batch_size = captchas.images, config.batch_size
        self.ids, self.lengths = alphabet.encode_batch(captchas.labels)
        self.size, self.length = tuple(captchas.images.shape[2:]), captchas.length
        self.steps = -(-len(captchas) // config.batch_size)
        self.named_texts = list(zip(captchas.manifest["file"], captchas.labels, strict=True))

    def epoch(self, epoch: int, chance: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch; `chance` draws their order."""
        for batch in torch.randperm(len(self.images), generator=chance).split(self.batch_size):
            rows = Share.own().of_rows(batch)
            yield Batch(self.images[rows], self.ids[rows], self.lengths[rows])


class StreamFeed:
    """The captchas of a stream, drawn in a process of their own, a little ahead of the training.

    Its attributes are those of a MemoryFeed.
    """

    def __init__(self, stream: Stream, alphabet: Alphabet, config: Config) -> None:
        self.stream, self.alphabet = stream, alphabet
        self.batch_size = -(-config.batch_size // Share.own().of)
        self.size, (shortest, longest) = (stream.style.height, stream.style.width), stream.style.length
        self.length = longest if shortest == longest else None
        self.steps = -(-stream.per_epoch // (self.batch_size * Share.own().of))
        self.named_texts = [("stream", stream.style.characters[0] * longest)]  # none needs more time steps
        self._batches: Iterator[Batch] | None = None

    def epoch(self, epoch: int, chance: torch.Generator) -> Iterator[Batch]:
        """The batches of an epoch, which is the one after that of the last call."""
        if self._batches is None:
            drawing = _Drawing(self.stream, self.alphabet, self.batch_size, self.steps, epoch)
            # a generator of its own, or starting it would move the chance of the epoch that it starts in
            more = {"generator": torch.Generator(), "prefetch_factor": AHEAD if self.stream.workers else None}
            # whole blocks, cut up here: handing a tensor from process to process costs half a millisecond
            blocks = DataLoader(drawing, batch_size=None, num_workers=self.stream.workers, **more)
            self._batches = (batch for block in blocks for batch in _cut(block, self.batch_size))
        return islice(self._batches, self.steps)


class _Drawing(IterableDataset):
    """Draws one process's share of a stream in blocks of whole batches, epoch after epoch without end."""

    def __init__(self, stream: Stream, alphabet: Alphabet, batch_size: int, steps: int, first_epoch: int) -> None:
        self.stream, self.alphabet, self.first_epoch = stream, alphabet, first_epoch
        batches = max(1, BLOCK // batch_size)
        self.sizes = [batch_size * min(batches, steps - done) for done in range(0, steps, batches)]
        self.share = Share.own()  # asked here: the process that draws does not know

    def __iter__(self) -> Iterator[Batch]:
        for epoch in count(self.first_epoch):
            for i, n in enumerate(self.sizes):
                # every process has blocks of its own
                texts, images = draw_block(self.stream, n, epoch, i * self.share.of + self.share.rank)
                yield Batch(images, *self.alphabet.encode_batch(texts))


def _cut(block: Batch, batch_size: int) -> Iterator[Batch]:
    return map(Batch, *(part.split(batch_size) for part in block))


def draw_block(stream: Stream, n: int, epoch: int, block: int) -> tuple[list[str], torch.Tensor]:
    """Draws `n` captchas of a stream, always the same ones for an epoch and a block: texts, (n, 1, H, W) uint8."""
    rng = np.random.default_rng([stream.seed, epoch, block])
    texts: list[str] = []
    while len(texts) < n:
        texts += [text for text in draw_texts(n - len(texts), rng, stream.style) if text not in stream.without]
    images = draw(texts, rng, stream.style)
    order = rng.permutation(n)
    texts_order = np.roll(order, 1) if stream.scrambled else order
    return [texts[i] for i in texts_order], images[order]


def open_feed(source: Captchas | Stream, alphabet: Alphabet, config: Config) -> MemoryFeed | StreamFeed:
    """The feed of a data set or a stream; the batch size of `config` is that of all processes together."""
    kind = StreamFeed if isinstance(source, Stream) else MemoryFeed
    return kind(source, alphabet, config)
