"""Several ranks against one: by NCCL, a rank for each GPU, where there are two or more, and by gloo on the CPU."""

from collections.abc import Callable, Iterator

import torch

from tests.bench import ranks
from tests.bench.gpu_check.rows import Figure, Row, skipped
from tests.bench.gpu_check.setup import Setup
from tests.bench.gpu_check.trainings import drawn_shard
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.watching.checks import State
from watchmove.service.watching.gpu_checks import all_reduce_check

WEIGHT = 1e-4
"""Most difference of a weight after the compared steps. Set by hand; by gloo on a CPU it is 1.4e-5 at full size."""
_STEPS = 4


def rank_rows(setup: Setup) -> Iterator[tuple[str, Callable[[], Row]]]:
    """NCCL's all-reduce as `watchmove doctor` checks it, and trainings by NCCL and by gloo."""
    gpus = torch.cuda.device_count() if setup.device == "cuda" else 0
    what = f"nccl, {gpus} ranks" if gpus > 1 else "nccl"
    if gpus < 2:
        reason = f"it needs two GPUs, and {gpus or 'none'} is here; it was not seen"
        yield what, lambda: skipped(what, reason)
    else:
        yield what, lambda: nccl_row(setup, what, gpus)
    yield "gloo, 2 ranks on the CPU", lambda: ranks_row(setup, "gloo, 2 ranks on the CPU", "cpu", 2)


def nccl_row(setup: Setup, what: str, gpus: int) -> Row:
    """Compare a training by a rank on each GPU with one on one GPU, if the GPUs can exchange anything."""
    check = all_reduce_check(gpus)
    if check.state is not State.OK:
        return Row(what, reason=f"{check.finding} → {check.remedy}")
    return ranks_row(setup, what, "cuda", gpus)


def ranks_row(setup: Setup, what: str, device: str, count: int) -> Row:
    """Compare the weights of a training by several ranks with those by one, which has the same batches."""
    given = {"trunk": setup.sizes.trunk, "batch_size": setup.sizes.rank_batch, "iterations": _STEPS, "device": device}
    settings = PretrainingSettings.model_validate(given | {"validation_frames": 2, "crop_on": "cpu"})
    folder = drawn_shard(setup.folder, setup.sizes.videos).parent
    names = [f"{device}-rank{rank}" for rank in range(count)]
    for together in ([f"{device}-alone"], names):
        ranks.run(folder, settings, together)
    apart = ranks.difference(folder, f"{device}-alone", names[0])
    return Row(what, (Figure(f"largest difference of a weight after {_STEPS} steps", apart, WEIGHT),))
