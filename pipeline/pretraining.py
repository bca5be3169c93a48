"""Pretraining: SGD on certain pixels of what moved (Pathak et al., CVPR 2017, section 5), stoppable and resumable."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.alexnet import random_backbone, save_backbone
from pipeline.frame_table import FrameTable, LocalShards, ShardBytes, frames_in
from pipeline.mask_dataset import MaskDataset
from pipeline.mask_network import MaskNetwork
from pipeline.mask_network_file import MASK_NETWORK_NAME, save_mask_network
from pipeline.ranks import Ranks, device_of
from pipeline.settings.pretraining import PretrainingSettings
from pipeline.training_history import CurvePoint, training_identity
from pipeline.training_hooks import PretrainingHooks, PretrainingProgress
from pipeline.training_loop import TrainingLoop

__all__ = [
    "CurvePoint",
    "PretrainingHooks",
    "PretrainingProgress",
    "PretrainingResult",
    "new_network",
    "pretrain",
    "pretrain_frames",
]

BACKBONE_NAME = "backbone.safetensors"


@dataclass(frozen=True)
class PretrainingResult:
    """The curve, the files, the speed of this process's part of the training, and frames passed over.

    `mask_network` has the backbone and the mask layer. Of several ranks the first alone writes files.
    """

    curve: tuple[CurvePoint, ...]
    backbone: Path
    mask_network: Path
    images_per_second: float
    frames_unusable: int


def pretrain(shards: Sequence[Path], settings: PretrainingSettings, hooks: PretrainingHooks) -> PretrainingResult:
    """`pretrain_frames` on local tar shards of frames with soft masks. Raises InvalidInput where one is no tar, too."""
    return pretrain_frames(frames_in(shards), LocalShards(), settings, hooks)


def pretrain_frames(
    frames: FrameTable, source: ShardBytes, settings: PretrainingSettings, hooks: PretrainingHooks
) -> PretrainingResult:
    """Train on frames, or continue from the checkpoints in the hooks' folder.

    The same frames and settings give the same weights on the same CPU and number of threads, stopped in between or not.

    Raises:
        Stopped: told to stop; a checkpoint has been saved.
        InvalidInput: a shard is gone, too many frames cannot be used, or the loss is no longer finite.
        Unavailable: a shard cannot be read now, the disk refuses, or a rank is lost.
    """
    ranks = hooks.ranks or Ranks(device_of(settings.device, 0))
    data = MaskDataset(frames, source, settings, ranks.share)
    network = new_network(settings, ranks.device)
    identity = training_identity(frames, settings)
    loop = TrainingLoop(network, data, settings, hooks, ranks)
    trained = loop.run(identity)
    backbone, whole = (hooks.directory / name for name in (BACKBONE_NAME, MASK_NETWORK_NAME))
    if ranks.is_first and isinstance(trained, MaskNetwork):
        facts = {"identity": identity, "iterations": str(settings.iterations)}
        save_backbone(trained.trunk.cpu(), backbone, facts)
        save_mask_network(trained, whole, facts)
    history = loop.history
    return PretrainingResult(tuple(history.curve), backbone, whole, loop.images_per_second, history.frames_unusable)


def new_network(settings: PretrainingSettings, device: torch.device) -> MaskNetwork:
    """The network that a training begins with, on a device."""
    trunk = random_backbone(settings.seed, batch_norm=settings.batch_norm)
    trunk.drop6.p = trunk.drop7.p = settings.dropout
    network = MaskNetwork(trunk, torch.Generator().manual_seed(settings.seed))
    # Channels last: a tenth faster on CPUs, more on GPUs.
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
