"""Where several processes train one network, as torchrun starts them: which of them this one is."""

from torch import distributed

from captcha_lib.data.batches import Rank


def own_rank() -> Rank:
    """This process's rank and the world size; rank 0 of 1 where nothing is distributed."""
    return Rank(distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else Rank()


def leads() -> bool:
    """Whether this process is the one that writes files and reports: rank 0."""
    return own_rank().rank == 0
