"""Operations on batches of maps in torch, for flow and segmentation: warp, blur, shrink, differences, median.

A batch of maps is (N, C, H, W) float32 on any device; a batch of flow fields is (N, 2, H, W) in the maps' pixels, x
then y. Each operation computes what OpenCV computes for one map, to a tolerance that its test states.
"""

import torch
from torch import Tensor
from torch.nn import functional

_MEDIAN_EXCHANGES = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)
"""Pairs to put in order, in turn, until the middle one of nine is their median (Paeth, Graphics Gems 1990)."""


def warp(maps: Tensor, fields: Tensor, mode: str = "bilinear") -> Tensor:
    """Warp maps (N, C, H, W) to the frames where fields (N, 2, H, W) start; border values are repeated beyond it."""
    height, width = maps.shape[-2:]
    rows = torch.arange(height, dtype=maps.dtype, device=maps.device)[:, None]
    columns = torch.arange(width, dtype=maps.dtype, device=maps.device)
    # grid_sample takes positions from -1 to 1 between the centres of the outer pixels
    # at least 1, because a line of a single pixel would divide by zero
    x = (columns + fields[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + fields[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return functional.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=True)


def lands_inside(fields: Tensor) -> Tensor:
    """Where fields (N, 2, H, W) end inside the image, (N, 1, H, W) bool."""
    height, width = fields.shape[-2:]
    x = torch.arange(width, dtype=fields.dtype, device=fields.device) + fields[:, :1]
    y = torch.arange(height, dtype=fields.dtype, device=fields.device)[:, None] + fields[:, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def gaussian_kernel(sigma: float, size: int, device: torch.device) -> Tensor:
    """A sampled Gaussian (size,) float32 that sums to one."""
    positions = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(positions.square() * (-0.5 / sigma**2))
    return (weights / weights.sum()).to(device=device, dtype=torch.float32)


def opencv_kernel_size(sigma: float) -> int:
    """Number of taps that OpenCV gives a Gaussian on floating-point maps: four sigmas to each side, odd."""
    return round(sigma * 8 + 1) | 1


def filter_rows_and_columns(maps: Tensor, kernel: Tensor) -> Tensor:
    """Correlate maps (N, C, H, W) with `kernel` (taps,) along x, then y, mirrored around the pixels at the border.

    The centre of a kernel with an even number of taps is the later of the two middle ones, as in OpenCV.
    """
    return _correlate(_correlate(maps, kernel, -1), kernel, -2)


def _correlate(maps: Tensor, kernel: Tensor, axis: int) -> Tensor:
    length = maps.shape[axis]
    positions = mirrored(length, len(kernel) // 2, maps.device)
    padded = maps.index_select(axis % 4, positions)
    result = kernel[0] * padded.narrow(axis, 0, length)
    for tap in range(1, len(kernel)):
        result = result + kernel[tap] * padded.narrow(axis, tap, length)
    return result


def mirrored(length: int, margin: int, device: torch.device) -> Tensor:
    """Indices of a line of `length` with `margin` more on each side, reflected as often as needed (dcb|abcd|cba)."""
    positions = torch.arange(-margin, length + margin, device=device)
    # there and back: the two ends occur once in a period, as the border pixel is not repeated
    period = max(2 * (length - 1), 1)
    folded = positions.remainder(period)
    return torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(positions)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps (N, C, H, W) as `cv2.GaussianBlur(map, (0, 0), sigma)` does."""
    return filter_rows_and_columns(maps, gaussian_kernel(sigma, opencv_kernel_size(sigma), maps.device))


def box_mean(maps: Tensor, size: int) -> Tensor:
    """Mean of maps (N, C, H, W) over `size` x `size` pixels, mirrored at the border as in `cv2.blur`."""
    return filter_rows_and_columns(maps, torch.full((size,), 1 / size, device=maps.device))


def area_resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Shrink maps (N, C, H, W) to (height, width); each pixel is the mean of its area, as with INTER_AREA."""
    return _area_lines(_area_lines(maps, -1, width), -2, height)


def _area_lines(maps: Tensor, axis: int, wanted: int) -> Tensor:
    length = maps.shape[axis]
    if length == wanted:
        return maps
    matrix = _coverage(length, wanted).to(maps.device)
    return maps @ matrix if axis == -1 else matrix.T @ maps


def _coverage(length: int, wanted: int) -> Tensor:
    """(length, wanted) float32: the fraction of each new pixel that each old pixel covers."""
    step = length / wanted
    # float64, because overlaps are small differences of large positions
    old = torch.arange(length, dtype=torch.float64)[:, None]
    new = torch.arange(wanted, dtype=torch.float64) * step
    overlap = torch.minimum(old + 1, new + step) - torch.maximum(old, new)
    return (overlap.clamp(min=0) / step).float()


def bilinear_resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Resize maps (N, C, H, W) to (height, width) as INTER_LINEAR does."""
    # corners are not aligned: OpenCV maps the edges of the image, not the centres of its corner pixels
    return functional.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def forward_differences(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of each pixel to the next along x and along y, of the shape of `maps`; 0 at the end of a line."""
    along_x = functional.pad(maps[..., 1:] - maps[..., :-1], (0, 1))
    along_y = functional.pad(maps[..., 1:, :] - maps[..., :-1, :], (0, 0, 0, 1))
    return along_x, along_y


def minus_divergence(along_x: Tensor, along_y: Tensor) -> Tensor:
    """The transpose of `forward_differences`; the last column of `along_x` and row of `along_y` are ignored."""
    from_x = functional.pad(along_x[..., :-1], (1, 0)) - functional.pad(along_x[..., :-1], (0, 1))
    from_y = functional.pad(along_y[..., :-1, :], (0, 0, 1, 0)) - functional.pad(along_y[..., :-1, :], (0, 0, 0, 1))
    return from_x + from_y


def median_of_nine(maps: Tensor) -> Tensor:
    """Median over 3 x 3 pixels of maps (N, C, H, W); beyond the border, its values are repeated."""
    height, width = maps.shape[-2:]
    padded = functional.pad(maps, (1, 1, 1, 1), mode="replicate")
    nine = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]
    for low, high in _MEDIAN_EXCHANGES:
        nine[low], nine[high] = torch.minimum(nine[low], nine[high]), torch.maximum(nine[low], nine[high])
    return nine[4]
