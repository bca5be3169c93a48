"""torchvision's residual networks (He et al., CVPR 2016) as trunks: ResNet-18 and ResNet-50 without their classifier.

Names and shapes of tensors are torchvision's, so that a file of them loads in plain `torchvision.models`.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.weights import save_tensors

_LAST_BLOCK_CHANNELS = 512
"""Channels of the last stage before a block's expansion (He et al., CVPR 2016, table 1)."""

_LOADING_LINES = """\
import torchvision
from safetensors.torch import load_file
from torch import nn

net = torchvision.models.KIND()
left = net.load_state_dict(load_file("backbone.safetensors"), strict=False)
assert left.missing_keys == ["fc.weight", "fc.bias"] and not left.unexpected_keys
net.fc = nn.Identity()
net.eval()
"""

_BLOCKS = {"resnet18": (BasicBlock, [2, 2, 2, 2]), "resnet50": (Bottleneck, [3, 4, 6, 3])}
"""Kind of block and number of blocks in each of the four stages (He et al., CVPR 2016, table 1)."""
RESNETS = tuple(_BLOCKS)
"""Names of the residual networks in the settings."""


class ResNetTrunk(ResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet up to its last block: `channels` features every `stride` pixels."""

    stride = 32
    """Pixels of the image per feature: conv1, the pooling and three of the four stages halve the size."""

    def __init__(self, kind: str) -> None:
        """`kind` is one of RESNETS."""
        block, layers = _BLOCKS[kind]
        super().__init__(block, layers)
        self.kind = kind
        self.channels: int = _LAST_BLOCK_CHANNELS * block.expansion
        # replaced, so that the state has no tensors of a classifier that is never trained
        self.fc: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return the last block's output (N, channels, ⌈H / 32⌉, ⌈W / 32⌉) of normalised images (N, 3, H, W)."""
        features: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for block in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = block(features)
        return features


def resnet_lines(kind: str) -> str:
    """Return Python that loads backbone.safetensors; `net` returns averaged features (N, C) of normalised images."""
    return _LOADING_LINES.replace("KIND", kind)


def random_resnet(kind: str, seed: int) -> ResNetTrunk:
    """Return a trunk with torchvision's random weights (He et al., ICCV 2015); `kind` is one of RESNETS."""
    # torchvision draws from the global generator, which is put back so that nothing else depends on this call.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNetTrunk(kind)


def save_resnet(trunk: ResNetTrunk, path: Path, metadata: dict[str, str]) -> None:
    """Write all tensors except fc's, and the kind as `trunk` in the header. Raises Unavailable on a full disk."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trunk.state_dict().items()}
    with replacing(path) as temporary:
        save_tensors(tensors, temporary, {**metadata, "trunk": trunk.kind})


def load_resnet(path: Path, kind: str) -> ResNetTrunk:
    """Read a trunk from a safetensors file with torchvision's tensors without fc's.

    Raises:
        InvalidInput: the file is not safetensors, or a tensor is missing, unknown, of another shape, or not finite.
    """
    trunk = ResNetTrunk(kind)
    try:
        with safe_open(path, "pt") as file:
            copy_checked({name: file.get_tensor(name) for name in file.keys()}, trunk.state_dict(), path)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path}: not a safetensors file ({error}); export it again") from error
    return trunk


def copy_checked(tensors: dict[str, Tensor], state: dict[str, Tensor], path: Path) -> None:
    """Copy the tensors of the file `path` into a network's state.

    Raises:
        InvalidInput: names or shapes differ from those of the state, or a value is not finite.
    """
    for names, what in ((state.keys() - tensors.keys(), "is missing"), (tensors.keys() - state.keys(), "is unknown")):
        if names:
            # shortened: names in a file that is not trusted may have any length
            raise InvalidInput(f"{path}: tensor {min(names)[:99]} {what}; give what pretraining wrote")
    for name, target in state.items():
        tensor = tensors[name]
        if tensor.shape != target.shape:
            shapes = f"{tuple(tensor.shape)}, this network's is {tuple(target.shape)}"
            raise InvalidInput(f"{path}: tensor {name} has shape {shapes}; give what pretraining wrote")
        if not torch.isfinite(tensor).all():
            raise InvalidInput(f"{path}: tensor {name} holds values that are not finite; pretrain again")
        # a state dict's tensors share the network's memory, so this changes the network
        target.copy_(tensor)
