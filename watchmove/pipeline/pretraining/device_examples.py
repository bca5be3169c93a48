"""Crops and masks cut in batches on the network's device: readers only decode frames and draw random numbers.

The random numbers of a frame are those of `examples`, and so are its pixels up to the rounding of bilinear weights:
images differ by less than half a level (of 255) on average, and trimaps in less than a thousandth of their pixels.
torchvision's geometric transforms apply one transform to a batch; here every frame has its own crop, so grid_sample is
called directly.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from watchmove.pipeline.dataset.trimap import BACKGROUND, FOREGROUND, IGNORED
from watchmove.pipeline.networks.choice import input_pixels_of
from watchmove.pipeline.pretraining.colour_jitter import ColourChange, changed
from watchmove.pipeline.pretraining.examples import FINE, TARGET_PIXELS, UncutExample
from watchmove.pipeline.settings.pretraining import PretrainingSettings

_FRAMES_AT_ONCE = 8
"""Number of frames sampled at once: a bound on memory, as a batch of large frames in float32 could fill a device."""


class UncutBatch(NamedTuple):
    """N frames of different sizes with their masks, padded to the largest at the right and at the bottom."""

    frames: Tensor
    """uint8 (N, 3, H, W) RGB."""
    masks: Tensor
    """Soft masks, uint8 (N, H, W), 255 for 1."""
    sizes: Tensor
    """Height and width of each frame without padding, float32 (N, 2)."""
    squares: Tensor
    """Crop of each frame: centre x, centre y and side in pixels of the frame, float32 (N, 3)."""
    flips: Tensor
    """Whether each crop is mirrored, bool (N,)."""
    colours: tuple[ColourChange | None, ...]
    """Change of each crop's colours; None: no change."""
    unusable: int
    """Number of frames of the batch that were left out because they cannot be used."""

    def pinned(self) -> "UncutBatch":
        """Return the batch in page-locked memory, from which a GPU copies while it computes."""
        return self._moved(Tensor.pin_memory)

    def on(self, device: torch.device) -> "UncutBatch":
        """Return the batch on a device."""
        return self._moved(lambda part: part.to(device, non_blocking=True))

    def pieces(self) -> Iterator["UncutBatch"]:
        """Yield parts of at most eight frames; an empty batch gives one empty part."""
        for start in range(0, max(len(self.frames), 1), _FRAMES_AT_ONCE):
            rows = slice(start, start + _FRAMES_AT_ONCE)
            yield self._moved(itemgetter(rows))._replace(colours=self.colours[rows])

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "UncutBatch":
        frames, masks, sizes, squares, flips = map(
            move, (self.frames, self.masks, self.sizes, self.squares, self.flips)
        )
        return UncutBatch(frames, masks, sizes, squares, flips, self.colours, self.unusable)


def stack_uncut(examples: Sequence[UncutExample | None]) -> UncutBatch:
    """Build a batch of the usable examples; those that are None are counted as unusable."""
    usable = [example for example in examples if example is not None]
    height, width = (max((example.mask.shape[axis] for example in usable), default=1) for axis in (0, 1))
    frames = np.zeros((len(usable), height, width, 3), np.uint8)
    masks = np.zeros((len(usable), height, width), np.uint8)
    for number, (image, mask, *_) in enumerate(usable):
        rows, columns = mask.shape
        frames[number, :rows, :columns], masks[number, :rows, :columns] = image, mask
    return UncutBatch(
        # axes: (N, H, W, C) -> (N, C, H, W)
        torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(masks),
        torch.tensor([example.mask.shape for example in usable], dtype=torch.float32).view(-1, 2),
        torch.tensor([example.square for example in usable], dtype=torch.float32).view(-1, 3),
        torch.tensor([example.flip for example in usable], dtype=torch.bool),
        tuple(example.colours for example in usable),
        len(examples) - len(usable),
    )


def cut_on_device(batch: UncutBatch, settings: PretrainingSettings) -> tuple[Tensor, Tensor]:
    """Cut images uint8 (N, 3, 227, 227) and trimaps int8 (N, 56, 56) on the batch's device, as `examples.cut` does."""
    pixels = input_pixels_of(settings.trunk)
    if not len(batch.frames):
        return batch.frames.new_zeros((0, 3, pixels, pixels)), torch.zeros(
            (0, TARGET_PIXELS, TARGET_PIXELS), dtype=torch.int8, device=batch.frames.device
        )
    parts = list(batch.pieces())
    return torch.cat([_images(part, pixels) for part in parts]), torch.cat([_trimaps(part, settings) for part in parts])


def _images(batch: UncutBatch, pixels: int) -> Tensor:
    places = _places(batch, pixels)
    # Beyond the frame its border is repeated: a place there is replaced by the nearest one inside.
    last = (batch.sizes.flip(1) - 1).view(-1, 1, 1, 2)
    # rounded first, because byte() truncates
    images = _sampled(batch.frames.float(), torch.minimum(places.clamp(min=0), last)).round().clamp(0, 255).byte()
    images = torch.where(batch.flips.view(-1, 1, 1, 1), images.flip(-1), images)
    if any(batch.colours):
        rows = zip(images, batch.colours, strict=True)
        images = torch.stack([image if change is None else changed(image, change) for image, change in rows])
    return images


def _trimaps(batch: UncutBatch, settings: PretrainingSettings) -> Tensor:
    """Average soft masks over each target pixel and apply the thresholds; pixels beyond the frame are ignored."""
    # grid_sample reads 0 beyond a frame. Subtracting a value between the thresholds first makes 0 mean "ignored".
    unsure = (settings.foreground_threshold + settings.background_threshold) / 2
    # the padding of a batch counts as beyond the frame
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
    """Return the places in the frames of the crops' pixels: (N, pixels, pixels, 2), x then y, in pixels."""
    steps = (torch.arange(pixels, device=batch.squares.device) + 0.5) / pixels - 0.5
    x, y, side = batch.squares.unbind(1)
    # pixel centres are at half-integers of the square's continuous coordinates
    columns = x[:, None] + steps * side[:, None] - 0.5
    rows = y[:, None] + steps * side[:, None] - 0.5
    shape = (len(side), pixels, pixels)
    return torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)


def _sampled(values: Tensor, places: Tensor) -> Tensor:
    """Sample `values` (N, C, H, W) bilinearly at places (N, h, w, 2) in pixels, 0 beyond the frame: (N, C, h, w)."""
    size = torch.tensor([values.shape[3], values.shape[2]], device=values.device)
    # -1 and 1 are the outer edges of the image, half a pixel beyond the outer pixel centres
    grid = (2 * places + 1) / size - 1
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
