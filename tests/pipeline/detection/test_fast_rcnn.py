"""The detector's network: where regions look, its outputs and its loss."""

import math

import pytest
import torch
from torch import Tensor, nn

from watchmove.pipeline.detection.fast_rcnn import FastRCNN, detection_loss
from watchmove.pipeline.networks.alexnet import random_backbone


@pytest.fixture(scope="module")
def model() -> FastRCNN:
    """A detector of two classes on a random trunk."""
    return FastRCNN(random_backbone(0), ["cat", "dog"], dropout=0.5, seed=0).eval()


def brightness_of(model: FastRCNN, image: Tensor, *boxes: tuple[float, float, float, float]) -> list[float]:
    """How much the pooled features of each box differ from those of an image that is black all over."""
    regions = [torch.tensor(boxes)]
    with torch.no_grad():
        bright, black = (model.pooled(model.features(x), regions) for x in (image, torch.zeros_like(image)))
    return [float(value) for value in (bright - black).abs().mean(dim=(1, 2, 3))]


@pytest.mark.parametrize(("x", "y"), [(64, 64), (128, 64), (96, 160)])
def test_a_region_looks_at_its_own_pixels(model: FastRCNN, x: int, y: int) -> None:
    """A bright square is seen most by the region on it, and alike by those 48 pixels to the left and to the right."""
    image = torch.zeros(1, 3, 272, 272)
    image[..., y : y + 48, x : x + 48] = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 4
    shifts = [(0, 0), (-48, 0), (48, 0), (0, -48), (0, 48)]
    boxes = [(x + dx, y + dy, x + dx + 48.0, y + dy + 48.0) for dx, dy in shifts]
    on, left, right, above, below = brightness_of(model, image, *boxes)

    assert on > 1.3 * max(left, right, above, below)
    assert 0.5 < left / right < 2
    assert 0.5 < above / below < 2


def test_outputs_have_a_row_for_each_region_of_each_image(model: FastRCNN) -> None:
    """Three regions in two images of an odd size: scores of background and two classes, four deltas for each class."""
    regions = [torch.tensor([[0.0, 0.0, 40.0, 50.0], [10.0, 10.0, 11.0, 11.0]]), torch.tensor([[5.0, 5.0, 60.0, 70.0]])]
    with torch.no_grad():
        scores, deltas = model(torch.zeros(2, 3, 71, 93), regions)

    assert scores.shape == (3, 3)
    assert deltas.shape == (3, 2, 4)


def test_normalising_deltas_can_be_undone(model: FastRCNN) -> None:
    """What training asks the network for in a class, testing turns back into deltas; background is no class."""
    model.target_mean.copy_(torch.tensor([[9.0, 9, 9, 9], [0.1, -0.2, 0.0, 0.3]]))
    model.target_deviation.copy_(torch.tensor([[9.0, 9, 9, 9], [0.1, 0.1, 0.2, 0.2]]))
    deltas = torch.tensor([[0.5, 0.5, -0.5, 1.0]]).expand(3, 4)
    background, cat, dog = model.normalised(deltas, torch.tensor([0, 1, 2]))

    assert background.isfinite().all()
    torch.testing.assert_close(model.deltas(torch.stack([cat, dog])), deltas[:2])
    torch.testing.assert_close(dog[0], torch.tensor(4.0))


def test_dropout_is_what_the_settings_say() -> None:
    """The trunk comes with dropout of probability 0; the detector sets its own."""
    detector = FastRCNN(random_backbone(0), ["cat"], dropout=0.25, seed=0)

    assert [layer.p for layer in detector.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.25]


def test_the_loss_of_a_hand_made_case() -> None:
    """Two regions, even scores of 3: log 3 each; one object, whose own class is off by 0.5 and 2: (0.125 + 1.5) / 2."""
    deltas = torch.full((2, 2, 4), 100.0)
    deltas[1, 1] = torch.tensor([0.5, 0.0, 2.0, 0.0])
    loss = detection_loss(torch.zeros(2, 3), deltas, torch.tensor([0, 2]), torch.zeros(2, 4))

    assert loss.item() == pytest.approx(math.log(3) + 1.625 / 2)


def test_background_alone_has_no_localisation_loss() -> None:
    """Where nothing shows an object, only the scores count."""
    loss = detection_loss(torch.zeros(2, 3), torch.full((2, 2, 4), 9.0), torch.tensor([0, 0]), torch.zeros(2, 4))

    assert loss.item() == pytest.approx(math.log(3))
