"""Ranks: processes, started by torchrun, that train one network together, each with its share of every batch.

Tensors on GPUs are exchanged by NCCL, those on CPUs by gloo. Counts and other small values are CPU tensors, so that
exchanging them does not wait for a GPU.
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
from watchmove.pipeline.files.numbers import whole_number_of

_MAX_MESSAGE_CHARACTERS = 200
"""Longest part of PyTorch's message that an error repeats. Set by hand."""
_LOST_RANK_WORDS = ("gloo", "nccl", "peer", "timed out", "timeout", "connection", "socket")
"""Words of the RuntimeErrors that gloo and NCCL raise when another rank is lost, in lower case."""


@dataclass(frozen=True)
class Ranks:
    """This process's share of the batches and its device; with a single rank nothing is sent."""

    device: torch.device
    share: Share = ALONE

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only one that reports progress and writes files."""
        return self.share.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there is more than one rank."""
        return self.share.ranks > 1

    def total(self, *values: float) -> list[float]:
        """Return each value summed over the ranks. Raises Unavailable if a rank is lost."""
        if not self.are_several:
            return list(values)
        # float64 keeps counts exact; float32 rounds integers above 2**24
        return [float(value) for value in self.total_of(torch.tensor(values, dtype=torch.float64))]

    def total_of(self, values: Tensor) -> Tensor:
        """Sum a tensor over the ranks in place without a gradient; return it. Raises Unavailable if a rank is lost."""
        if self.are_several:
            with lost_ranks_named():
                torch.distributed.all_reduce(values)
        return values

    def from_first(self, values: Tensor) -> Tensor:
        """Copy the first rank's tensor into this rank's and return it. Raises Unavailable if a rank is lost."""
        if self.are_several:
            with lost_ranks_named():
                torch.distributed.broadcast(values, src=0)
        return values

    def text_from_first(self, text: str) -> str:
        """Return the first rank's text; `text` of other ranks is ignored. Raises Unavailable if a rank is lost."""
        # Broadcasting needs a tensor of equal size on all ranks, so the length is sent first.
        # a bytearray, because torch warns about buffers that it cannot write to
        content = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        size = self.from_first(torch.tensor([len(content)]))
        buffer = content if self.is_first else torch.empty(int(size), dtype=torch.uint8)
        return self.from_first(buffer).numpy().tobytes().decode()


@contextmanager
def joined_ranks(device: str, timeout_seconds: float) -> Iterator[Ranks]:
    """Join the ranks that the environment describes and yield this process's place among them.

    The variables are torchrun's: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; without them the process
    trains alone. `device` is auto, cpu, cuda or cuda:N. If the block ends without error, each rank waits for all.

    Raises:
        InvalidInput: the variables describe no rank, or the GPU does not exist.
        Unavailable: the ranks cannot connect to each other, or one is lost.
    """
    share = share_of_environment()
    if share.ranks == 1:
        yield Ranks(device_of(device, 0))
        return
    # before the ranks connect: a missing GPU is reported without waiting for the others
    ranks = Ranks(device_of(device, _number("LOCAL_RANK", 0)), share)
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)  # the default is GPU 0, where ranks would collide
    backend = "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo"
    with lost_ranks_named("the ranks did not find each other"):
        torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    try:
        yield ranks
        ranks.total(0)  # a barrier: a rank that left early would look lost to the others
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def lost_ranks_named(what: str = "a rank was lost") -> Iterator[None]:
    """Raise Unavailable, with `what` in its message, for the errors that PyTorch raises when another rank is lost."""
    try:
        yield
    except torch.distributed.DistError as error:
        raise _lost(what, error) from error
    except RuntimeError as error:  # gloo has no exception of its own
        if any(word in str(error).lower() for word in _LOST_RANK_WORDS):
            raise _lost(what, error) from error
        raise


def share_of_environment() -> Share:
    """Read this process's share from RANK and WORLD_SIZE. Raises InvalidInput if they are not numbers or contradict."""
    ranks = _number("WORLD_SIZE", 1)
    rank = _number("RANK", 0)
    if rank >= ranks:
        raise InvalidInput(f"RANK ({rank}) is not below WORLD_SIZE ({ranks}); start the ranks with torchrun")
    return Share(rank, ranks)


def ranks_on_this_machine() -> int:
    """Return the number of ranks on this machine, from LOCAL_WORLD_SIZE. Raises InvalidInput if it is not a number."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1))


def device_of(name: str, local_rank: int) -> torch.device:
    """Choose the device of a rank; ranks of one machine use one GPU each. Raises InvalidInput if it does not exist."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    wanted = whole_number_of(name.partition(":")[2] or "0") + local_rank
    if wanted >= found:
        raise InvalidInput(f"pretrain.device {name}: GPU {wanted} is not among the {found} here; set it to auto or cpu")
    return torch.device("cuda", wanted)


def _number(name: str, otherwise: int) -> int:
    word = os.environ.get(name, "")
    try:
        number = whole_number_of(word) if word else otherwise
    except ValueError:
        number = -1
    if number < 0:
        raise InvalidInput(f"{name} ({word}): is not a number; start the ranks with torchrun")
    return number


def _lost(what: str, error: Exception) -> Unavailable:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return Unavailable(f"{what}: {first[:_MAX_MESSAGE_CHARACTERS]}; run it again to continue from the last checkpoint")
