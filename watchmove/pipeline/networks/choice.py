"""The choice of the trunk that is pretrained: AlexNet, or one of torchvision's residual networks."""

from pathlib import Path

from watchmove.pipeline.networks.alexnet import AlexNet, random_backbone, save_backbone
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, SHAPES
from watchmove.pipeline.networks.resnet import ResNetTrunk, random_resnet, save_resnet
from watchmove.pipeline.settings.pretraining import PretrainingSettings

Trunk = AlexNet | ResNetTrunk


def new_trunk(settings: PretrainingSettings) -> Trunk:
    """Return a trunk with random weights, as the settings describe it."""
    shape = SHAPES.get(settings.trunk)
    if shape is None:
        return random_resnet(settings.trunk, settings.seed)
    trunk = random_backbone(settings.seed, shape, batch_norm=settings.batch_norm)
    trunk.drop6.p = trunk.drop7.p = settings.dropout
    return trunk


def kind_of(trunk: Trunk) -> str:
    """Return the trunk's name in the settings."""
    return trunk.kind if isinstance(trunk, ResNetTrunk) else trunk.shape.kind


def input_pixels_of(trunk: str) -> int:
    """Return the side of the square input on which the trunk of a name in the settings is pretrained."""
    return SHAPES.get(trunk, ALEXNET).input_pixels


def save_trunk(trunk: Trunk, path: Path, metadata: dict[str, str]) -> None:
    """Write a trunk's tensors, AlexNet's with normalisation folded in. Raises Unavailable when the disk is full."""
    if isinstance(trunk, ResNetTrunk):
        save_resnet(trunk, path, metadata)
    else:
        save_backbone(trunk, path, metadata)
