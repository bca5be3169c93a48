"""What was measured of every examined frame of a video and how each was decided, as compressed JSON lines.

A part of a shard has one file with the verdicts of all its videos one after the other, each a gzip stream of its own;
the record of the part says where those of a video are, so that one ranged request reads them.
"""

import gzip
import math
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.outcomes import ShardRecord, VideoOutcome
from watchmove.service.records.record import FINITE, Count, from_json_lines, json_lines
from watchmove.service.store.store import ObjectChanged, Store

if TYPE_CHECKING:
    # Not when it runs: it loads OpenCV, which reading verdicts does not need.
    from watchmove.pipeline.extraction.sampled_video import Frame

VERDICTS = ".verdicts.json.gz"
"""What the names of files of verdicts end in."""


class FrameVerdict(BaseModel):
    """The verdict on one examined frame.

    `frame`, `time_seconds`, `shot`, `confidence`, `reject_reason`, `conditions` and `window_frames` are those of the
    frame that was examined. `facts` are its MaskFacts by name, without any where no mask was computed, and `change` is
    that of Pruned; their numbers are not rounded, so that each gives the same verdict again.
    """

    model_config = FINITE

    frame: Count
    time_seconds: float
    shot: Count
    confidence: float
    reject_reason: str | None
    conditions: tuple[str, ...] = ()
    window_frames: Count = 0
    facts: dict[str, float] = {}
    change: float | None = None


def verdict_on(frame: "Frame") -> FrameVerdict:
    """Return the verdict on an examined frame as it is recorded."""
    facts = vars(frame.facts) if frame.facts else {}
    return FrameVerdict(
        frame=frame.index,
        time_seconds=round(frame.time_seconds, 4),
        shot=frame.shot,
        confidence=frame.confidence,
        reject_reason=frame.reject_reason,
        conditions=frame.conditions,
        window_frames=frame.window_frames,
        # JSON has no number for what is not finite
        facts={name: float(value) for name, value in facts.items() if math.isfinite(value)},
        change=frame.change,
    )


def verdict_bytes(frames: Iterable["Frame"]) -> bytes:
    """Return the verdicts on the examined frames of one video as they are stored; equal frames give equal bytes."""
    return gzip.compress(json_lines([verdict_on(frame) for frame in frames]), mtime=0)


def read_verdicts(store: Store, part: ShardRecord, row: VideoOutcome) -> tuple[FrameVerdict, ...]:
    """Return the verdicts on a video's frames; none where the record has none, as of versions without them.

    Raises:
        InvalidInput: the file that the record names is absent, changed or damaged.
        Unavailable: the store cannot be reached.
    """
    offset, size_bytes = row.verdicts
    if not size_bytes:
        return ()
    where = f"{store.uri}/{part.verdicts_key}"
    remedy = "remove the shard's record to extract it again"
    item = store.head(part.verdicts_key)
    if item is None or offset + size_bytes > item.size_bytes:
        raise InvalidInput(f"{where}: not there, or too short; {remedy}")
    try:
        lines = gzip.decompress(store.read_range(item, offset, size_bytes))
    except (OSError, EOFError, zlib.error, ObjectChanged) as error:
        raise InvalidInput(f"{where}: damaged or changed ({error}); {remedy}") from error
    return tuple(from_json_lines(lines, FrameVerdict, where))
