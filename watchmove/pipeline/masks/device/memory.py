"""Work on many frames in batches that fit into a device's memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from watchmove.pipeline.errors import Unavailable


class AdaptiveBatches:
    """Runs work in batches; their size is halved, permanently, each time the device runs out of memory."""

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[slice], Tensor], count: int) -> Tensor:
        """Call `work` with slices of range(count), and join its results (n, ...) to one tensor (count, ...).

        With a count of 0, `work` is called once with an empty slice, so that the result has its shape.

        Raises Unavailable where the device has not enough memory for a single frame.
        """
        results: list[Tensor] = []
        start = 0
        # the second condition makes one call with an empty slice where the count is 0
        while start < count or not results:
            end = min(start + self.size, count)
            try:
                results.append(work(slice(start, end)))
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise Unavailable(
                        "extract.device: the GPU has too little memory for one frame; free it, or lower "
                        "extract.shorter_side_pixels"
                    ) from error
            else:
                start = end
                continue
            # outside of the handler, because the exception keeps the tensors alive that were in use when it was raised
            self.size = max(1, min(self.size, end - start) // 2)
            torch.cuda.empty_cache()
        return torch.cat(results)
