"""Train a linear head on exported weights: `python examples/train_a_head.py backbone.torchvision.safetensors VOC`.

The weights are a file that `watchmove export` writes, loaded into torchvision's AlexNet by the lines of the model card.
The head learns from VOC's split `train` which classes an image shows, on features that stay as they are.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import alexnet

from watchmove.pipeline.classification.classification import image_labels
from watchmove.pipeline.classification.features import squeezed_image
from watchmove.pipeline.voc.annotations import read_image, read_voc


def exported_network(weights: Path) -> nn.Module:
    """torchvision's AlexNet with the exported layers: normalised images (N, 3, 227, 227) to features (N, 4096)."""
    net = alexnet()
    net.features[0] = nn.Conv2d(3, 96, 11, stride=4)
    net.features[3] = nn.Conv2d(96, 256, 5, padding=2)
    net.features[6] = nn.Conv2d(256, 384, 3, padding=1)
    net.features[8] = nn.Conv2d(384, 384, 3, padding=1)
    net.features[10] = nn.Conv2d(384, 256, 3, padding=1)
    net.classifier[6] = nn.Identity()
    net.load_state_dict(load_file(weights))
    return nn.Sequential(net).eval()


def trained_head(features: Tensor, labels: Tensor, steps: int = 200) -> nn.Linear:
    """A head from features (N, D) to logits (N, K), fitted to labels (N, K) in {0, 1}."""
    torch.manual_seed(0)
    head = nn.Linear(features.shape[1], labels.shape[1])
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(head(features), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return head


def main(weights: Path, voc: Path) -> None:
    """Print the share of labels that the head gets right on the images it was fitted to."""
    images = read_voc(voc, "train")
    classes = sorted({one.name for image in images for one in image.objects})
    labels = torch.from_numpy(image_labels(images, classes) > 0).float()
    with torch.no_grad():
        features = exported_network(weights)(torch.stack([squeezed_image(read_image(image.path)) for image in images]))
    features = functional.normalize(features)
    right = (trained_head(features, labels)(features) > 0) == (labels > 0)
    print(f"{len(images)} images, {len(classes)} classes: {float(right.float().mean()):.1%} of the labels are right")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
