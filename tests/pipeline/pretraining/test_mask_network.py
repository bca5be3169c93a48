"""The mask network: its loss and its measure against hand-computed values, and that it can learn."""

import math

import numpy as np
import pytest
import torch

from tests.pipeline.dataset.mask_samples import drawn_sample
from watchmove.pipeline.networks.alexnet import normalise_images, random_backbone
from watchmove.pipeline.pretraining.examples import example_of
from watchmove.pipeline.pretraining.mask_network import MaskNetwork, mask_iou, mask_loss
from watchmove.pipeline.settings.pretraining import PretrainingSettings

TRIMAP = torch.tensor([[[1, 1], [0, -1]]], dtype=torch.int8)


def test_loss_of_known_logits() -> None:
    """The mean of ln 2, ln 2 and ln(1 + e²) over the three certain pixels."""
    logits = torch.tensor([[[0.0, 0.0], [2.0, 5.0]]])

    expected = (2 * math.log(2) + math.log(1 + math.exp(2))) / 3
    assert float(mask_loss(logits, TRIMAP)) == pytest.approx(expected, rel=1e-6)


def test_loss_and_its_gradient_ignore_the_ignored() -> None:
    """An ignored pixel's logit changes nothing and is not pushed."""
    logits = torch.tensor([[[0.5, -1.0], [2.0, 5.0]]], requires_grad=True)
    other = logits.detach().clone()
    other[0, 1, 1] = -100
    mask_loss(logits, TRIMAP).backward()  # type: ignore[no-untyped-call]

    assert float(mask_loss(other, TRIMAP)) == float(mask_loss(logits.detach(), TRIMAP))
    assert logits.grad is not None
    assert float(logits.grad[0, 1, 1]) == 0
    assert (logits.grad[0].flatten()[:3] != 0).all()


def test_without_a_certain_pixel_the_loss_is_zero() -> None:
    """Not a division by zero."""
    assert float(mask_loss(torch.ones(1, 2, 2), torch.full((1, 2, 2), -1, dtype=torch.int8))) == 0


@pytest.mark.parametrize(
    ("logits", "iou"),
    [([[1, 1], [-1, 9]], 1.0), ([[1, -1], [-1, 9]], 0.5), ([[1, 1], [1, 9]], 2 / 3), ([[-1, -1], [1, -9]], 0.0)],
    ids=["all right", "half missed", "one too many", "all wrong"],
)
def test_iou_of_known_masks(logits: list[list[float]], iou: float) -> None:
    """Over certain pixels only: the ignored one is predicted foreground in all but the last."""
    assert mask_iou(torch.tensor([logits]).float(), TRIMAP).tolist() == pytest.approx([iou])


def test_eight_frames_are_learnt_by_heart() -> None:
    """A network, a loss and gradients that fit together reach an IoU above 0.8 on what they see, in evaluation too."""
    settings = PretrainingSettings()
    examples = [example_of(drawn_sample("video", n), settings, np.random.default_rng(n)) for n in range(8)]
    usable = [example for example in examples if example is not None]
    images = normalise_images(torch.from_numpy(np.stack([example.image for example in usable])).permute(0, 3, 1, 2))
    trimaps = torch.from_numpy(np.stack([example.trimap for example in usable]))
    network = MaskNetwork(random_backbone(0, batch_norm=True), torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, fused=True)
    first = float(mask_loss(network(images), trimaps).detach())
    for _ in range(20):
        optimizer.zero_grad()
        mask_loss(network(images), trimaps).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    with torch.no_grad():
        ious = mask_iou(network(images), trimaps)

    assert len(usable) == 8
    assert first == pytest.approx(math.log(2), abs=0.05)
    assert float(ious.mean()) > 0.8
