"""A stream of captchas that are drawn while they are trained on, in one process or, under torchrun, in several.

What an epoch holds depends on the seed and the epoch's number alone, so a run that was interrupted goes on with the
same images.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.batches import Batch, Rank
from captcha_lib.data.captchas import Captchas
from captcha_lib.files import sole_writer
from captcha_lib.generator.draw import count_texts, draw, draw_texts
from captcha_lib.generator.style import KAPTCHA, Style
from captcha_lib.runs.distributed import leads, own_rank
from captcha_lib.runs.results import Result, read_test, write_run
from captcha_lib.training import Session, fit

AHEAD = 3  # blocks that each drawing process may be ahead of the training
STREAM_EPOCH, MAX_EPOCHS = 5000, 200  # captchas an epoch, where there are enough of them


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
        block: captchas drawn together and then mixed: a batch holds pictures of several warps.
    """

    per_epoch: int
    style: Style = KAPTCHA
    seed: int = 0
    without: frozenset[str] = frozenset()
    workers: int = 1
    scrambled: bool = False
    block: int = 256

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

    @property
    def longest(self) -> str:
        """A text that needs as many time steps as any."""
        return self.style.characters[0] * self.style.length[1]

    def drawn(self, n: int, rng: np.random.Generator) -> tuple[list[str], torch.Tensor]:
        """Draws n captchas: texts, (n, 1, H, W) uint8."""
        texts: list[str] = []
        while len(texts) < n:
            texts += [text for text in draw_texts(n - len(texts), rng, self.style) if text not in self.without]
        return texts, draw(texts, rng, self.style)

    def identity(self) -> str:
        """Identifies this stream."""
        drawn = self.style.identity(), self.seed, self.scrambled, sorted(self.without)
        return f"a stream of {self.per_epoch} an epoch ({hashlib.sha256(repr(drawn).encode()).hexdigest()[:8]})"

    def batches(self, config: Config, rank: Rank = Rank()) -> "StreamBatches":
        """The batches of one process; the batch size of `config` is that of all processes together."""
        return StreamBatches(self, config, rank)


class StreamBatches:
    """The captchas of a stream, drawn in processes of their own, a little ahead of the training; see `Batches`.

    An epoch measures "waited": the share of its time that the training spent waiting for images.
    """

    def __init__(self, stream: Stream, config: Config, rank: Rank = Rank()) -> None:
        self.stream, self.rank = stream, rank
        self.batch_size = -(-config.batch_size // rank.world)
        self.steps = -(-stream.per_epoch // (self.batch_size * rank.world))
        self.named_texts = [("stream", stream.longest)]
        self.measured: dict[str, float] = {}
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
        return self._clocked(islice(self._batches, self.steps))

    def _clocked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        began, waited = time.perf_counter(), 0.0
        for _ in range(self.steps):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            yield batch
        self.measured = {"waited": waited / (time.perf_counter() - began)}


class StreamBlocks(IterableDataset):
    """A torch data set of one process's blocks of a stream, each of whole batches, epoch after epoch without end.

    The workers of a DataLoader take turns, so their number changes neither the blocks nor their order.
    """

    def __init__(
        self, stream: Stream, batch_size: int, steps: int = 0, first_epoch: int = 0, rank: Rank = Rank()
    ) -> None:
        self.stream, self.first_epoch, self.rank = stream, first_epoch, rank
        steps = steps or -(-stream.per_epoch // batch_size)
        batches = max(1, stream.block // batch_size)
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
    texts, images = stream.drawn(n, rng)
    order = rng.permutation(n)
    return [texts[i] for i in np.roll(order, stream.scrambled)], images[order]


def learn_stream(
    captchas: Captchas, n: int, out: Path, epochs: int | None = None, seed: int = 0, session: Session = Session()
) -> Result:
    """Trains on `n` captchas of a stream, validates and tests on split ones, whose texts are not drawn.

    Everything is written to `out`. Under torchrun rank 0 writes for all.
    """
    epochs = epochs or max(Config.epochs, min(n // STREAM_EPOCH, MAX_EPOCHS))
    held = [label for name in ("val", "test") for label in captchas.subset(name).labels]
    stream = Stream(-(-n // epochs), seed=seed, without=frozenset(held))
    config = replace(Config(), epochs=epochs, seed=seed)
    captchas = captchas.replace(notes=[*captchas.notes, f"trained on a stream of {n:,} captchas."])
    session = replace(session, checkpoint=out / "checkpoint.pth")
    with sole_writer(out) if leads() else nullcontext():
        reader, history = fit(stream, captchas.subset("val"), config, session=session)
        result, best_path = read_test(reader, history, captchas, config)
        if leads():
            write_run(out, result, best_path, session.device)
    return result


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, if it did; yields the device of this one.

    They talk by gloo on processors and by NCCL on graphics cards, of which each process of a machine takes its own.
    Only rank 0 prints.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        with Path(os.devnull).open("w") as nowhere, nullcontext() if leads() else redirect_stdout(nowhere):
            yield device
    finally:
        distributed.destroy_process_group()


@contextmanager
def leader_first() -> Iterator[None]:
    """Lets rank 0 through the block before the others, which then find what it has written."""
    rank, world = own_rank()
    if world > 1 and rank:
        distributed.barrier()
    yield
    if world > 1 and not rank:
        distributed.barrier()
