"""Measures whether several ranks, or kills, change the weights: `python -m tests.bench.ranks [--steps 4] [--kills N]
[--float64] [KEY=VALUE ...]`.

Trains the default network on frames of the drawn world, each time in new processes with one thread: alone; by two ranks
over loopback that share the same batches; alone with each batch's frames in reversed order; and alone again, killed at
N random steps. Prints one line of JSON with the largest difference of a weight of the backbone from the first training,
for each of the others. Sums in another order differ in their last digit. If a ReLU's input is close to 0, that digit
decides whether the unit is on, so differences grow with the number of steps. The reversed order shows how much of the
difference has nothing to do with ranks. With `--float64`, whose last digit is 2^29 times smaller, any large difference
is not rounding.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from tests.bench.pretraining import drawn_samples
from watchmove.pipeline.dataset.shard import write_shard
from watchmove.pipeline.pretraining import pretraining
from watchmove.pipeline.pretraining.batches import Batch, MaskDataset
from watchmove.pipeline.pretraining.pretraining import BACKBONE_NAME, PretrainingHooks, PretrainingProgress, pretrain
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import joined_ranks

REVERSED, FLOAT64 = "reversed", "RANKS_BENCH_FLOAT64"
PROCESSES = multiprocessing.get_context("spawn")


class Reversed(MaskDataset):
    """Dataset with the frames of each batch in reversed order."""

    def training_batch(self, iteration: int) -> Batch:
        """Return the batch of a step, reversed."""
        batch = super().training_batch(iteration)
        return batch._replace(images=batch.images.flip(0), targets=batch.targets.flip(0))


def main() -> None:
    """Train three times, or four with --kills, and compare the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--float64", action="store_true", help="train in 64-bit floating point")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    chosen = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in options.settings)}
    given = {"device": "cpu", "batch_size": 16, "validation_frames": 2, "checkpoint_every_iterations": 1}
    settings = PretrainingSettings.model_validate(given | {"iterations": options.steps} | chosen)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shard(folder / "drawn.tar", drawn_samples(12))
        if options.float64:
            os.environ[FLOAT64] = "1"
        run(folder, settings, ["alone"])
        run(folder, settings, ["rank0", "rank1"])
        run(folder, settings, [REVERSED])
        facts = {"settings": chosen, "steps": options.steps, "two_ranks": difference(folder, "alone", "rank0")}
        facts["one_rank_in_reversed_order"] = difference(folder, "alone", REVERSED)
        if options.kills:
            rng, at = random.Random(0), 0
            for _ in range(options.kills):
                at = min(at + rng.randint(0, 1), options.steps - 2) + 1
                run(folder, settings, ["killed"], kill_at=at)
            run(folder, settings, ["killed"])
            facts[f"killed_{options.kills}_times"] = difference(folder, "alone", "killed")
        print(json.dumps(facts))


def run(folder: Path, settings: PretrainingSettings, names: list[str], kill_at: int = 0) -> None:
    """Run a training with one rank for each name, to its end or until its processes kill themselves.

    Ranks on GPUs take one each. Raises RuntimeError if a process ends in another way.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    places = {"WORLD_SIZE": str(len(names)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{**places, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(len(names))]
    processes = [
        PROCESSES.Process(target=train, args=(folder, name, settings, rank, kill_at))
        for name, rank in zip(names, ranks, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    expected = -signal.SIGKILL if kill_at else 0
    if any(process.exitcode != expected for process in processes):
        raise RuntimeError(f"{names} ended with {[process.exitcode for process in processes]}")


def train(folder: Path, name: str, settings: PretrainingSettings, environment: dict[str, str], kill_at: int) -> None:
    """Train as one rank, whose place the environment describes."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    if FLOAT64 in os.environ:
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    if name == REVERSED:
        vars(pretraining)["MaskDataset"] = Reversed

    def on_progress(progress: PretrainingProgress) -> None:
        if progress.iteration == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with joined_ranks(settings.device, 120) as ranks:
        pretrain([folder / "drawn.tar"], settings, PretrainingHooks(folder / name, on_progress, ranks=ranks))


def difference(folder: Path, first_name: str, second_name: str) -> float:
    """Return the largest difference of a weight between two backbones."""
    first, second = (load_file(folder / name / BACKBONE_NAME) for name in (first_name, second_name))
    return max(float((first[key] - second[key]).abs().max()) for key in first)


if __name__ == "__main__":
    main()
