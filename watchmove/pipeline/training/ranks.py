"""Ranks: processes that train one network together, each with its share of every batch, as torchrun starts them.

On GPUs they talk by NCCL, on CPUs by gloo. Numbers of the processes rather than of the network go by gloo anyway, so
that no GPU is waited for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor

from watchmove.pipeline.dataset.frame_order import ALONE, Share
from watchmove.pipeline.errors import InvalidInput, Unavailable

_MARKS_OF_LOSS = ("gloo", "nccl", "peer", "timed out", "timeout", "connection", "socket")


@dataclass(frozen=True)
class Ranks:
    """This process's place among all, and where its network runs; alone, nothing is ever sent."""

    device: torch.device
    share: Share = ALONE

    @property
    def is_first(self) -> bool:
        """Whether this is the one rank that tells, writes and stores."""
        return self.share.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.share.ranks > 1

    def total(self, *values: float) -> list[float]:
        """Each value summed over the ranks. Raises Unavailable where one is lost."""
        if not self.are_several:
            return list(values)
        return [float(value) for value in self.total_of(torch.tensor(values, dtype=torch.float64))]

    def total_of(self, values: Tensor) -> Tensor:
        """A tensor summed over the ranks, where it lies, without a gradient. Raises Unavailable where one is lost."""
        if self.are_several:
            with lost_ranks_named():
                torch.distributed.all_reduce(values)
        return values

    def from_first(self, values: Tensor) -> Tensor:
        """What the first rank has in its tensor, put into this one's. Raises Unavailable where one is lost."""
        if self.are_several:
            with lost_ranks_named():
                torch.distributed.broadcast(values, src=0)
        return values

    def text_from_first(self, text: str) -> str:
        """The first rank's text. Raises Unavailable where one is lost."""
        content = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        size = self.from_first(torch.tensor([len(content)]))
        buffer = content if self.is_first else torch.empty(int(size), dtype=torch.uint8)
        return self.from_first(buffer).numpy().tobytes().decode()


@contextmanager
def joined_ranks(device: str, timeout_seconds: float) -> Iterator[Ranks]:
    """The ranks of this process's environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); none: alone.

    `device` is auto, cpu, cuda or cuda:N. Where the block ends without error, ranks wait for each other.

    Raises:
        InvalidInput: variables that name no rank, or a GPU that is not there.
        Unavailable: the others cannot be met, or one is lost.
    """
    share = share_of_environment()
    if share.ranks == 1:
        yield Ranks(device_of(device, 0))
        return
    ranks = Ranks(device_of(device, _number("LOCAL_RANK", 0)), share)
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
    backend = "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo"
    with lost_ranks_named("the ranks did not meet"):
        torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    try:
        yield ranks
        ranks.total(0)
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def lost_ranks_named(what: str = "a rank was lost") -> Iterator[None]:
    """Raise Unavailable for what PyTorch raises when another rank does not answer any more."""
    try:
        yield
    except torch.distributed.DistError as error:
        raise _lost(what, error) from error
    except RuntimeError as error:  # gloo has no exception of its own
        if any(mark in str(error).lower() for mark in _MARKS_OF_LOSS):
            raise _lost(what, error) from error
        raise


def share_of_environment() -> Share:
    """Which rank of how many this process is. Raises InvalidInput where the environment names none of them."""
    ranks = _number("WORLD_SIZE", 1)
    rank = _number("RANK", 0)
    if rank >= ranks:
        raise InvalidInput(f"RANK ({rank}) is not below WORLD_SIZE ({ranks}); start the ranks with torchrun")
    return Share(rank, ranks)


def ranks_on_this_machine() -> int:
    """How many ranks share this machine's cores and disk. Raises InvalidInput where the environment says no number."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1))


def device_of(name: str, local_rank: int) -> torch.device:
    """Where a rank's network runs; ranks of one machine take a GPU each. Raises InvalidInput where there is none."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    wanted = int(name.partition(":")[2] or 0) + local_rank
    if wanted >= found:
        raise InvalidInput(f"pretrain.device {name}: GPU {wanted} is not among the {found} here; set it to auto or cpu")
    return torch.device("cuda", wanted)


def _number(name: str, otherwise: int) -> int:
    word = os.environ.get(name, "")
    if word and not word.isdecimal():
        raise InvalidInput(f"{name} ({word}): no number; start the ranks with torchrun")
    return int(word) if word else otherwise


def _lost(what: str, error: Exception) -> Unavailable:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return Unavailable(f"{what}: {first[:200]}; run it again to continue from the last checkpoint")
