"""Pretraining of a network to segment moving objects in single frames (Pathak et al., CVPR 2017, section 5).

For comparison, the settings can name another objective: to predict the rotation or the colours of the same crops. A
training can be stopped at any step and resumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from watchmove.pipeline.dataset.frame_table import FrameTable, LocalShards, ShardBytes, frames_in
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import AlexNet, normalise_images
from watchmove.pipeline.networks.choice import new_trunk, save_trunk
from watchmove.pipeline.networks.rescaling import RESCALING_IMAGES, rescale_to_unit_variance
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.history import CurvePoint, PretrainingProgress
from watchmove.pipeline.pretraining.loop import PretrainingHooks, TrainingLoop
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.pretraining.mask_network_file import MASK_NETWORK_NAME, save_mask_network
from watchmove.pipeline.pretraining.objectives import PretextNetwork, objective_of, why_unusable
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
"""Name of the file of the trunk's weights in the hooks' folder."""


@dataclass(frozen=True)
class PretrainingResult:
    """Result of a finished pretraining. Of several ranks only the first writes the files."""

    curve: tuple[CurvePoint, ...]
    backbone: Path
    """File of the trunk's weights."""
    mask_network: Path | None
    """File of the complete mask network; None if the objective is not masks."""
    images_per_second: float
    """Mean speed of all ranks together since this process began or resumed the training."""
    frames_unusable: int
    """Number of frames read that could not be used."""
    predictions: Path | None
    """File of predictions for a few held-out crops, see `ShownPredictions.write`; None on all ranks but the first."""


def pretrain(shards: Sequence[Path], settings: PretrainingSettings, hooks: PretrainingHooks) -> PretrainingResult:
    """Train on local tar shards of frames with soft masks, as `pretrain_frames` does.

    Raises what `pretrain_frames` raises, and InvalidInput if a shard is not a tar.
    """
    return pretrain_frames(frames_in(shards), LocalShards(), settings, hooks)


def pretrain_frames(
    frames: FrameTable, source: ShardBytes, settings: PretrainingSettings, hooks: PretrainingHooks
) -> PretrainingResult:
    """Train on frames, or resume from the checkpoints in the hooks' folder.

    On the same CPU with the same number of threads, the same frames and settings give the same weights, whether or not
    the training is stopped in between.

    Raises:
        Stopped: the hooks asked to stop; a checkpoint has been saved.
        InvalidInput: a shard is missing, too many frames or all cannot be used, the checkpoints are of another
            training, or the loss is no longer finite.
        Unavailable: a shard cannot be read now, the disk cannot be written, or a rank is lost.
    """
    ranks = hooks.ranks or Ranks(device_of(settings.device, 0))
    data = MaskDataset(frames, source, settings, ranks.share)
    network = new_network(settings, ranks.device)
    if settings.rescale_trunk and isinstance(network.trunk, AlexNet):
        _rescale(network.trunk, frames, source, settings)
    identity = training_identity(settings.deciding(), frames.digest())
    loop = TrainingLoop(network, data, settings, hooks, ranks)
    trained = loop.run(identity)
    if loop.history.frames_unusable == loop.history.frames_read:
        # also where the settings allow it: the weights would be the random ones of the start
        raise InvalidInput(f"all frames {why_unusable(settings)}; extract them again or change these settings")
    backbone = hooks.directory / BACKBONE_NAME
    mask_network = hooks.directory / MASK_NETWORK_NAME if settings.objective == "masks" else None
    metadata = {"identity": identity, "iterations": str(settings.iterations), "objective": settings.objective}
    if ranks.is_first and isinstance(trained, PretextNetwork):
        save_trunk(trained.trunk.cpu(), backbone, metadata)
        if mask_network is not None and isinstance(trained, MaskNetwork):
            save_mask_network(trained, mask_network, metadata)
    return PretrainingResult(
        curve=tuple(loop.history.curve),
        backbone=backbone,
        mask_network=mask_network,
        images_per_second=loop.images_per_second,
        frames_unusable=loop.history.frames_unusable,
        predictions=loop.shown.write() if loop.shown is not None else None,
    )


def new_network(settings: PretrainingSettings, device: torch.device) -> PretextNetwork:
    """Return the network with random weights that a training begins with, on a device."""
    network = objective_of(settings).network(new_trunk(settings), torch.Generator().manual_seed(settings.seed))
    # Channels last makes convolutions a tenth faster on CPUs, and more on GPUs.
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _rescale(trunk: AlexNet, frames: FrameTable, source: ShardBytes, settings: PretrainingSettings) -> None:
    """Rescale the random weights on the first training frames, which are the same for any number of ranks."""
    data = MaskDataset(frames, source, settings.model_copy(update={"batch_size": RESCALING_IMAGES, "crop_on": "cpu"}))
    images = data.training_batch(0).images
    if len(images):
        rescale_to_unit_variance(trunk, normalise_images(images).to(trunk.conv1.weight.device))
