"""Several processes that train one network: torchrun starts them, and each takes its share of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import torch
from torch import distributed

from captcha_lib.files import sole_writer


class Share(NamedTuple):
    """Which of the processes this one is, from 0, and how many there are."""

    rank: int = 0
    of: int = 1

    @classmethod
    def own(cls) -> "Share":
        """This process's; the whole where nothing is shared."""
        return cls(distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else cls()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.rank == 0

    def of_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's rows of a batch: never none, so that all processes take the same number of steps."""
        return rows[self.rank % len(rows) :: self.of]


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, if it did; yields the device of this one.

    They talk by gloo on processors and by NCCL on graphics cards, of which each process of a machine takes its own.
    Only the leading one prints.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        with Path(os.devnull).open("w") as nowhere, nullcontext() if Share.own().leads else redirect_stdout(nowhere):
            yield device
    finally:
        distributed.destroy_process_group()


@contextmanager
def sole_run(out: Path) -> Iterator[None]:
    """Keeps other runs out of a run's folder; the leading process claims it for all of its run."""
    with sole_writer(out) if Share.own().leads else nullcontext():
        yield


@contextmanager
def leader_first() -> Iterator[None]:
    """Lets the leading process through the block before the others, which then find what it has written."""
    share = Share.own()
    if share.of > 1 and not share.leads:
        distributed.barrier()
    yield
    if share.of > 1 and share.leads:
        distributed.barrier()
