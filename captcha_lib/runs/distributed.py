"""Distributed training of one network: torchrun starts the processes, and each takes its part of every batch."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import torch
from torch import distributed

from captcha_lib.data.batches import Rank
from captcha_lib.files import sole_writer


def own_rank() -> Rank:
    """This process's rank and the world size; rank 0 of 1 where nothing is distributed."""
    return Rank(distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else Rank()


def leads() -> bool:
    """Whether this process is the one that writes files and reports: rank 0."""
    return own_rank().rank == 0


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


def sole_run(out: Path) -> AbstractContextManager[None]:
    """Locks a run's folder against other runs; rank 0 holds the lock for all."""
    return sole_writer(out) if leads() else nullcontext()


@contextmanager
def leader_first() -> Iterator[None]:
    """Lets rank 0 through the block before the others, which then find what it has written."""
    rank, world = own_rank()
    if world > 1 and rank:
        distributed.barrier()
    yield
    if world > 1 and not rank:
        distributed.barrier()
