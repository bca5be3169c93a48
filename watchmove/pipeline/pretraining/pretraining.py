"""Pretraining: SGD on certain pixels of what moved (Pathak et al., CVPR 2017, section 5), stoppable and resumable.

Or, as a control, on how the same frames are turned: the settings name the objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from watchmove.pipeline.dataset.frame_table import FrameTable, LocalShards, ShardBytes, frames_in
from watchmove.pipeline.networks.alexnet import AlexNet, normalise_images
from watchmove.pipeline.networks.choice import new_trunk, save_trunk
from watchmove.pipeline.networks.rescaling import RESCALING_IMAGES, rescale_to_unit_variance
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.history import CurvePoint
from watchmove.pipeline.pretraining.loop import PretrainingHooks, PretrainingProgress, TrainingLoop
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.pretraining.mask_network_file import MASK_NETWORK_NAME, save_mask_network
from watchmove.pipeline.pretraining.objectives import PretextNetwork, objective_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.identity import training_identity
from watchmove.pipeline.training.ranks import Ranks, device_of

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

    `mask_network` has the backbone and the mask layer; None where masks are not the objective. Of several ranks the
    first alone writes files.
    """

    curve: tuple[CurvePoint, ...]
    backbone: Path
    mask_network: Path | None
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
    if settings.rescale_trunk and isinstance(network.trunk, AlexNet):
        _rescale(network.trunk, frames, source, settings)
    identity = training_identity(settings.deciding(), frames.digest())
    loop = TrainingLoop(network, data, settings, hooks, ranks)
    trained = loop.run(identity)
    backbone = hooks.directory / BACKBONE_NAME
    whole = hooks.directory / MASK_NETWORK_NAME if settings.objective == "masks" else None
    facts = {"identity": identity, "iterations": str(settings.iterations), "objective": settings.objective}
    if ranks.is_first and isinstance(trained, PretextNetwork):
        save_trunk(trained.trunk.cpu(), backbone, facts)
        if whole is not None and isinstance(trained, MaskNetwork):
            save_mask_network(trained, whole, facts)
    history = loop.history
    return PretrainingResult(tuple(history.curve), backbone, whole, loop.images_per_second, history.frames_unusable)


def new_network(settings: PretrainingSettings, device: torch.device) -> PretextNetwork:
    """The network that a training begins with, on a device."""
    network = objective_of(settings).network(new_trunk(settings), torch.Generator().manual_seed(settings.seed))
    # Channels last: a tenth faster on CPUs, more on GPUs.
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _rescale(trunk: AlexNet, frames: FrameTable, source: ShardBytes, settings: PretrainingSettings) -> None:
    """Rescale first weights on the first frames learnt from, the same ones whatever the ranks."""
    data = MaskDataset(frames, source, settings.model_copy(update={"batch_size": RESCALING_IMAGES, "crop_on": "cpu"}))
    images = data.training_batch(0).images
    if len(images):
        rescale_to_unit_variance(trunk, normalise_images(images).to(trunk.conv1.weight.device))
