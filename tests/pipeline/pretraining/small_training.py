"""Trainings of a small network, also in processes of their own: several ranks, or one that is killed."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from watchmove.pipeline.dataset.frame_table import LocalShards, frames_in
from watchmove.pipeline.errors import Stopped, Unavailable
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.history import CurvePoint, PretrainingProgress
from watchmove.pipeline.pretraining.loop import PretrainingHooks, TrainingLoop
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.identity import training_identity
from watchmove.pipeline.training.ranks import Ranks, joined_ranks

STOPPED, LOST = 143, 75
END_SECONDS, RANK_TIMEOUT_SECONDS = 120, 240
"""A training ends in a few seconds, or in a minute on a busy machine. Ranks wait longer for a message than a test waits
for their end, so a rank that ends because another is lost has noticed the loss, and has not just waited for too long.
"""
_WEIGHTS = "weights.safetensors"
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__, "torch._dynamo"])  # which the first optimizer imports: a second of work


class SmallNetwork(nn.Module):
    """Half a million weights between 227-pixel images and masks, with both kinds of normalisation if any.

    It is smooth: at the kink of a ReLU, two sums that differ in their last digit would part for good.
    """

    def __init__(self, *, batch_norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 11, stride=8)
        self.norm2 = nn.BatchNorm2d(8) if batch_norm else nn.Identity()
        self.hidden = nn.Linear(8 * 7 * 7, 128)
        self.norm1 = nn.BatchNorm1d(128) if batch_norm else nn.Identity()
        self.mask = nn.Linear(128, 56 * 56)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 56, 56)."""
        features = nn.functional.avg_pool2d(self.norm2(self.conv(images)).tanh(), 4)
        logits: Tensor = self.mask(self.norm1(self.hidden(features.flatten(1))).tanh())
        return logits.view(-1, 56, 56)


def train_small(
    shard: Path, settings: PretrainingSettings, hooks: PretrainingHooks, ranks: Ranks | None = None
) -> tuple[dict[str, Tensor], list[CurvePoint]]:
    """Train the small network to the end: what counts of its state, and the curve."""
    ranks = ranks or Ranks(torch.device("cpu"))
    frames = frames_in([shard])
    data = MaskDataset(frames, LocalShards(), settings, ranks.share)
    loop = TrainingLoop(SmallNetwork(batch_norm=settings.batch_norm), data, settings, hooks, ranks)
    trained = loop.run(training_identity(settings.deciding(), frames.digest()))
    return {name: tensor.clone() for name, tensor in trained.state_dict().items()}, loop.history.curve


def start(shard: Path, settings: PretrainingSettings, folder: Path, **ends: int | Mapping[str, str]) -> BaseProcess:
    """Start a process that trains and writes its weights in `folder`; `ends` are keywords of `_train_alone`."""
    process = _PROCESSES.Process(target=_train_alone, args=(shard, settings, folder), kwargs=ends)
    process.start()
    return process


def start_ranks(
    shard: Path, settings: PretrainingSettings, folders: list[Path], **ends: Mapping[str, int]
) -> list[BaseProcess]:
    """Start a rank of one training for each folder; `ends` are keywords of `_train_alone`, by rank (`rank1`)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    places = {"WORLD_SIZE": str(len(folders)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        start(shard, settings, folder, environment={**places, "RANK": str(rank)}, **ends.get(f"rank{rank}", {}))
        for rank, folder in enumerate(folders)
    ]


def end(processes: list[BaseProcess]) -> list[int | None]:
    """Wait for processes, kill those that have not ended in time, and return the exit codes."""
    for process in processes:
        process.join(END_SECONDS)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def weights_in(folder: Path) -> dict[str, Tensor]:
    """Read the weights that a finished training has written."""
    return load_file(folder / _WEIGHTS)


def _train_alone(
    shard: Path,
    settings: PretrainingSettings,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    kill_at: int = 0,
    stop_at: int = 0,
    kill_when_asked: int = 0,
    stop_when_asked: int = 0,
) -> None:
    """Train, and exit with the codes of steps.

    The process kills itself after step `kill_at`, or stops after step `stop_at`. `kill_when_asked` and
    `stop_when_asked` count calls of `should_stop` instead, for ranks that report no progress.
    """
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    done, asked = [0], [0]

    def on_progress(progress: PretrainingProgress) -> None:
        done[0] = progress.iteration
        if progress.iteration == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def should_stop() -> bool:
        asked[0] += 1
        if asked[0] == kill_when_asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return bool(stop_at and done[0] >= stop_at) or bool(stop_when_asked and asked[0] >= stop_when_asked)

    hooks = PretrainingHooks(folder, on_progress, should_stop, readers=2)
    try:
        with joined_ranks("cpu", RANK_TIMEOUT_SECONDS) as ranks:
            state, _ = train_small(shard, settings, hooks, ranks)
    except Stopped:
        os._exit(STOPPED)
    except Unavailable as error:
        (folder / "lost").write_text(str(error))
        os._exit(LOST)
    save_file(state, folder / _WEIGHTS)
