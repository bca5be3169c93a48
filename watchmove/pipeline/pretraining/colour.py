"""The objective `colour`: to predict the colours of a crop from its grey image (Larsson et al., ECCV 2016).

It is a rival of the objective `masks`: another target without labels, of the same years, trained on the same crops by
the same loop. Among its rivals it is the one that trains all layers which are transferred, on whole crops: context
prediction (Doersch et al., ICCV 2015) and jigsaw puzzles (Noroozi and Favaro, ECCV 2016) train on small patches, for
which fc6 has another shape.

Hue and chroma are predicted as histograms of 32 bins each, and the loss of hue is weighted by five times the chroma, as
in the code of Larsson et al., "Colorization as a Proxy Task for Visual Understanding", CVPR 2017
(github.com/gustavla/self-supervision, `colorize_hypercolumn.py`). In contrast to the class weights of Zhang et al.
(ECCV 2016), these weights need no statistics of a dataset. One thing differs from the paper: histograms are predicted
by the head of the objective `masks` from the trunk's output, for 7x7 squares of a crop, and not for single pixels from
all layers, so that both objectives train the same layers through the same head.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import IGNORED
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS, example_of
from watchmove.pipeline.pretraining.mask_network import dense_head
from watchmove.pipeline.settings.pretraining import PretrainingSettings

COLOUR_BINS = 32
"""Number of bins of hue and of chroma, each over [0, 1] (the authors' code)."""
COLOUR_SQUARES = 7
"""Number of squares on a crop's side: 2 x 32 x 7 x 7 logits are the 56 x 56 of the head of masks."""
_HUE_WEIGHT = 5.0
"""Weight of the loss of hue per unit of chroma (the authors' code)."""
_PER_SQUARE = TARGET_PIXELS // COLOUR_SQUARES


class ColourNetwork(nn.Module):
    """Network that predicts the colours of grey crops: a trunk, and the head of the mask network.

    The weights of conv1 begin equal for red, green and blue, because differences between them would never be trained
    by grey images and would be random responses to colours when the trunk is transferred.
    """

    def __init__(self, trunk: Trunk, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.colours = dense_head(trunk, generator)
        with torch.no_grad():
            # the mean of the three, with which responses to grey images stay as they are
            trunk.conv1.weight.copy_(trunk.conv1.weight.mean(dim=1, keepdim=True).expand_as(trunk.conv1.weight))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 2, 32, 7, 7) of hue and chroma, of normalised grey images (N, 3, S, S)."""
        logits: Tensor = self.colours(self.trunk(images))
        # axes: (N, 3136) -> (N, hue and chroma, bins, rows, columns)
        return logits.view(-1, 2, COLOUR_BINS, COLOUR_SQUARES, COLOUR_SQUARES)


def colour_example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]] | None:
    """Make the crop of the mask's example, uint8 RGB, and its bins of colours, (2, 56, 56) int8.

    Returns None if the frame has no example of a mask, so that all objectives are trained on the same frames.
    """
    example = example_of(sample, settings, rng)
    if example is None:
        return None
    # axes: (H, W, C) -> (1, C, H, W)
    return example.image, colour_bins(torch.from_numpy(example.image).permute(2, 0, 1)[None])[0].numpy()


def colour_bins(images: Tensor, _trimaps: Tensor | None = None) -> Tensor:
    """Return bins (N, 2, 56, 56) int8 of the hue and the chroma of images (N, 3, S, S) uint8 RGB.

    Chroma is the largest of the three values less the smallest, and hue that of HSV, in turns. Colours are averaged
    over each target pixel. Where chroma is in its first bin, hue is ignored: it is undefined or noise there.
    """
    pixels = functional.adaptive_avg_pool2d(images.float() / 255, TARGET_PIXELS)
    red, green, blue = pixels.unbind(1)
    largest, chroma = pixels.amax(1), pixels.amax(1) - pixels.amin(1)
    divisor = chroma.clamp(min=1e-6)  # no division by zero; hue is ignored there
    sixths = torch.where(
        largest == red,
        ((green - blue) / divisor) % 6,
        torch.where(largest == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    hue_bin, chroma_bin = (
        (COLOUR_BINS * value).long().clamp(0, COLOUR_BINS - 1).to(torch.int8) for value in (sixths / 6, chroma)
    )
    return torch.stack([torch.where(chroma_bin > 0, hue_bin, IGNORED), chroma_bin], dim=1)


def shown_grey(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Replace red, green and blue of images (N, 3, S, S) uint8 by their mean, as the authors do; targets are kept."""
    grey = images.float().mean(dim=1, keepdim=True).round().to(images.dtype)
    return grey.expand_as(images).contiguous(memory_format=torch.channels_last), targets


def colour_loss(logits: Tensor, bins: Tensor) -> Tensor:
    """Return the mean over entries that are not ignored of the weighted cross-entropy in nats, 0 if all are ignored.

    `logits` are (N, 2, 32, 7, 7) and `bins` (N, 2, 56, 56) int8. The weight of a chroma is 1, and that of a hue five
    times the chroma of its pixel. The mean over a square's 64 entries is the cross-entropy with their histogram.
    """
    certain = bins != IGNORED
    chroma = (bins[:, 1] + 0.5) / COLOUR_BINS  # the middle of each bin
    weights = torch.stack([_HUE_WEIGHT * chroma, torch.ones_like(chroma)], dim=1) * certain
    known = logits.log_softmax(dim=2).gather(2, _by_square(bins.clamp(min=0).long()))
    return -(known * _by_square(weights)).sum() / certain.sum().clamp(min=1)


def colour_hits(logits: Tensor, bins: Tensor) -> Tensor:
    """Return (N,): the share of each image's entries, ignored ones left out, whose most probable bin is the true one.

    `logits` are (N, 2, 32, 7, 7) and `bins` (N, 2, 56, 56) int8.
    """
    hits = logits.argmax(dim=2, keepdim=True) == _by_square(bins)
    return hits.flatten(1).sum(1) / (bins != IGNORED).flatten(1).sum(1).clamp(min=1)


def _by_square(entries: Tensor) -> Tensor:
    """Reorder entries of pixels, (N, 2, 56, 56), by the squares they are in: (N, 2, 64, 7, 7)."""
    # axes: (N, 2, rows, 8, columns, 8) -> (N, 2, 8, 8, rows, columns) -> (N, 2, 64, rows, columns)
    parts = entries.reshape(len(entries), 2, COLOUR_SQUARES, _PER_SQUARE, COLOUR_SQUARES, _PER_SQUARE)
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(2, 3)
