"""One rank of an all-reduce: `python -m watchmove.service.watching.gpu_exchange DEVICE SECONDS`.

The ranks are processes of their own, because NCCL can block the process that uses it for ever. torchrun's variables say
which rank this one is. Each stage that it reaches is a line of its output, so that the process that started it knows
where it stands.
"""

import sys

from watchmove.pipeline.errors import WatchmoveError

LOADED, JOINED, EXCHANGED = "stage: exchange of addresses", "stage: all-reduce", "stage: end"
"""The stages that a rank names when it begins them; before the first one, it loads PyTorch."""
_NUMBERS = 4 * 2**20
"""Numbers that each rank adds, 16 MiB: enough for all channels of NCCL. Set by hand: sums are exact in float32."""


def exchange(device: str, timeout_seconds: float) -> None:
    """Sum a tensor over all ranks, on the device that a training's rank would have: see `joined_ranks`.

    Raises:
        InvalidInput: the environment describes no rank, or there is no such GPU.
        Unavailable: the ranks do not find each other, or one is lost.
        RuntimeError: the exchange fails in another way, or computes something wrong.
    """
    import torch

    from watchmove.pipeline.training.ranks import joined_ranks

    print(LOADED, flush=True)
    with joined_ranks(device, timeout_seconds) as ranks:
        print(JOINED, flush=True)
        total = ranks.total_of(torch.full((_NUMBERS,), ranks.share.rank + 1.0, device=ranks.device))
        if not bool((total == ranks.share.ranks * (ranks.share.ranks + 1) / 2).all()):
            raise RuntimeError(f"the all-reduce of rank {ranks.share.rank} computes wrong sums")
        print(EXCHANGED, flush=True)


if __name__ == "__main__":
    try:
        exchange(sys.argv[1], float(sys.argv[2]))
    except WatchmoveError as error:
        # without what would do, which is meant for trainings
        sys.exit(str(error).rpartition("; ")[0] or str(error))
