"""Examples cut in batches on the network's device: readers decode and draw, and all that touches pixels happens there.

What is drawn for a frame is the same as where readers cut it, and so are pixels up to the rounding of bilinear weights:
images differ by less than half a level (of 255) on the mean, and trimaps in less than a thousandth of their pixels.
torchvision's geometric transforms move a whole batch alike; here every frame has its own square, so the sampling that
they are made of is called itself.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from watchmove.pipeline.networks.alexnet import INPUT_PIXELS
from watchmove.pipeline.pretraining.colour_jitter import ColourChange, changed
from watchmove.pipeline.pretraining.examples import BACKGROUND, FINE, FOREGROUND, IGNORED, TARGET_PIXELS, UncutExample
from watchmove.pipeline.settings.pretraining import PretrainingSettings

_FRAMES_AT_ONCE = 8
"""Frames that are sampled together: as float32, a whole batch of large ones could fill a device."""


class UncutBatch(NamedTuple):
    """N frames with their masks in the upper left of tensors that hold the largest, and how to cut each.

    `frames` uint8 (N, 3, H, W) RGB; `masks` uint8 (N, H, W), 255 for 1; `sizes` float32 (N, 2), height and width;
    `squares` float32 (N, 3), centre x, centre y and side in pixels of the frame; `flips` bool (N,).
    """

    frames: Tensor
    masks: Tensor
    sizes: Tensor
    squares: Tensor
    flips: Tensor
    colours: tuple[ColourChange | None, ...]
    unusable: int

    def pinned(self) -> "UncutBatch":
        """Where a GPU fetches from while it computes."""
        return self._moved(Tensor.pin_memory)

    def on(self, device: torch.device) -> "UncutBatch":
        """The same on a device."""
        return self._moved(lambda part: part.to(device, non_blocking=True))

    def pieces(self) -> Iterator["UncutBatch"]:
        """Parts of a few frames; one at least."""
        for start in range(0, max(len(self.frames), 1), _FRAMES_AT_ONCE):
            some = slice(start, start + _FRAMES_AT_ONCE)
            yield self._moved(itemgetter(some))._replace(colours=self.colours[some])

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "UncutBatch":
        frames, masks, sizes, squares, flips = map(
            move, (self.frames, self.masks, self.sizes, self.squares, self.flips)
        )
        return UncutBatch(frames, masks, sizes, squares, flips, self.colours, self.unusable)


def together(examples: Sequence[UncutExample | None]) -> UncutBatch:
    """A batch of those that are usable; the others are counted."""
    usable = [example for example in examples if example is not None]
    height, width = (max((one.mask.shape[axis] for one in usable), default=1) for axis in (0, 1))
    frames = np.zeros((len(usable), height, width, 3), np.uint8)
    masks = np.zeros((len(usable), height, width), np.uint8)
    for number, (image, mask, *_) in enumerate(usable):
        rows, columns = mask.shape
        frames[number, :rows, :columns], masks[number, :rows, :columns] = image, mask
    return UncutBatch(
        # axes: (N, H, W, C) -> (N, C, H, W)
        torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(masks),
        torch.tensor([one.mask.shape for one in usable], dtype=torch.float32).view(-1, 2),
        torch.tensor([one.square for one in usable], dtype=torch.float32).view(-1, 3),
        torch.tensor([one.flip for one in usable], dtype=torch.bool),
        tuple(one.colours for one in usable),
        len(examples) - len(usable),
    )


def cut_together(batch: UncutBatch, settings: PretrainingSettings) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, 227, 227) and trimaps int8 (N, 56, 56), on the batch's device; as `mask_examples.cut`."""
    if not len(batch.frames):
        return batch.frames.new_zeros((0, 3, INPUT_PIXELS, INPUT_PIXELS)), torch.zeros(
            (0, TARGET_PIXELS, TARGET_PIXELS), dtype=torch.int8, device=batch.frames.device
        )
    parts = list(batch.pieces())
    return torch.cat([_images(part) for part in parts]), torch.cat([_trimaps(part, settings) for part in parts])


def _images(batch: UncutBatch) -> Tensor:
    places = _places(batch, INPUT_PIXELS)
    # Beyond the frame its border goes on: a place there is the nearest one within.
    last = (batch.sizes.flip(1) - 1).view(-1, 1, 1, 2)
    images = _sampled(batch.frames.float(), torch.minimum(places.clamp(min=0), last)).round().clamp(0, 255).byte()
    images = torch.where(batch.flips.view(-1, 1, 1, 1), images.flip(-1), images)
    if any(batch.colours):
        rows = zip(images, batch.colours, strict=True)
        images = torch.stack([image if change is None else changed(image, change) for image, change in rows])
    return images


def _trimaps(batch: UncutBatch, settings: PretrainingSettings) -> Tensor:
    """Soft masks, unsure beyond the frame, averaged over each target pixel and cut at the thresholds."""
    unsure = (settings.foreground_threshold + settings.background_threshold) / 2
    rows, columns = (torch.arange(size, device=batch.masks.device) for size in batch.masks.shape[1:])
    inside = (rows.view(1, -1, 1) < batch.sizes[:, :1, None]) & (columns.view(1, 1, -1) < batch.sizes[:, 1:, None])
    excess = ((batch.masks.float() / 255 - unsure) * inside)[:, None]
    fine = _sampled(excess, _places(batch, TARGET_PIXELS * FINE))
    soft = functional.avg_pool2d(fine, FINE)[:, 0] + unsure
    soft = torch.where(batch.flips.view(-1, 1, 1), soft.flip(-1), soft)
    trimaps = torch.full_like(soft, IGNORED, dtype=torch.int8)
    trimaps[soft >= settings.foreground_threshold] = FOREGROUND
    trimaps[soft <= settings.background_threshold] = BACKGROUND
    return trimaps


def _places(batch: UncutBatch, pixels: int) -> Tensor:
    """Where the pixels of the cut squares lie in their frames: (N, pixels, pixels, 2), x then y, in pixels."""
    steps = (torch.arange(pixels, device=batch.squares.device) + 0.5) / pixels - 0.5
    x, y, side = batch.squares.unbind(1)
    # pixel centres are at half-integers of the square's continuous coordinates
    columns = x[:, None] + steps * side[:, None] - 0.5
    rows = y[:, None] + steps * side[:, None] - 0.5
    shape = (len(side), pixels, pixels)
    return torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)


def _sampled(values: Tensor, places: Tensor) -> Tensor:
    """`values` (N, C, H, W) at places (N, h, w, 2) in pixels, bilinear, 0 beyond: (N, C, h, w)."""
    size = torch.tensor([values.shape[3], values.shape[2]], device=values.device)
    grid = (2 * places + 1) / size - 1
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
