"""A video's process asks the one that holds the device for masks."""

from collections.abc import Sequence
from functools import cached_property
from multiprocessing.connection import Client, Connection

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.service.extraction.shot_messages import Masks, MasksHeader, receive_masks, send_shot


class DeviceClient:
    """Segments shots, a `ShotSegmenter`, by asking the process that listens at `address`; connects when first asked."""

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
        """Soft masks of what moves in one shot, as `segmentation.segment_shot` finds them.

        Raises:
            Unavailable: the process is not there any more, or its device has too little memory.
            RuntimeError: this shot made it fail.
        """
        stages = stages or StageSeconds()
        chosen = [range(len(window)) for window in windows] if wanted is None else wanted
        if not any(chosen):
            return tuple(() for _ in windows)
        try:
            with stages("device"):
                send_shot(self._connection, windows, chosen)
                found = receive_masks(self._connection, chosen)
        except (EOFError, OSError) as error:
            raise Unavailable(f"extract.device: the process that holds it has gone ({error!r}); run again") from error
        if isinstance(found, MasksHeader):
            raise Unavailable(found.problem) if found.machine else RuntimeError(found.problem)
        return found
