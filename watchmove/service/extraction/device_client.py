"""Client side of the device process: a video's process sends it shots and receives their masks."""

from collections.abc import Sequence
from functools import cached_property
from multiprocessing.connection import Client, Connection

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.service.extraction.shot_messages import Masks, MasksHeader, receive_masks, send_shot


class DeviceClient:
    """`ShotSegmenter` that sends shots to the process listening at `address`; it connects at the first call."""

    def __init__(self, address: str) -> None:
        self._address = address

    @cached_property
    def _connection(self) -> Connection:
        return Client(self._address, family="AF_UNIX")

    def __call__(
        self,
        windows: Sequence[Sequence[Image]],
        wanted: Sequence[Sequence[int]] | None = None,
        stages: StageSeconds | None = None,
    ) -> Masks:
        """Soft masks of the moving objects in one shot, as `segmentation.segment_shot` computes them.

        Raises:
            Unavailable: the process has ended, or its device has too little memory.
            RuntimeError: the process failed on this shot.
        """
        stages = stages or StageSeconds()
        chosen = [range(len(window)) for window in windows] if wanted is None else wanted
        # a message of masks has at least one frame, from which it takes their size
        if not any(chosen):
            return tuple(() for _ in windows)
        try:
            with stages("device"):
                send_shot(self._connection, windows, chosen)
                found = receive_masks(self._connection, chosen)
        except (EOFError, OSError) as error:
            raise Unavailable(f"extract.device: its process closed the connection ({error!r}); run again") from error
        if isinstance(found, MasksHeader):
            # a RuntimeError ends this process, so that only this video is lost
            raise Unavailable(found.problem) if found.machine else RuntimeError(found.problem)
        return found
