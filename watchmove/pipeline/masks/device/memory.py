"""Work on many frames, in parts that fit into a device's memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from watchmove.pipeline.errors import Unavailable


class Parts:
    """How many frames a device takes at once: halved, for good, each time its memory does not suffice."""

    def __init__(self, most: int) -> None:
        self.most = most

    def run(self, work: Callable[[slice], Tensor], count: int) -> Tensor:
        """`work` on frames 0 to `count`, part by part; its results (n, ...) in one tensor (count, ...).

        Where there is nothing to do `work` is asked once, with an empty part.

        Raises Unavailable where the device has not enough memory for a single frame.
        """
        done: list[Tensor] = []
        start = 0
        while start < count or not done:
            end = min(start + self.most, count)
            try:
                done.append(work(slice(start, end)))
            except torch.OutOfMemoryError as error:
                if self.most == 1:
                    raise Unavailable(
                        "extract.device: the GPU has too little memory for one frame; free it, or lower "
                        "extract.shorter_side_pixels"
                    ) from error
            else:
                start = end
                continue
            # outside the handler, as the error holds what it was raised in
            self.most = max(1, min(self.most, end - start) // 2)
            torch.cuda.empty_cache()
        return torch.cat(done)
