"""What becomes of a video: the closed list, and the row that a shard's record keeps of it."""

import hashlib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from watchmove.service.records.record import Record


class Outcome(StrEnum):
    """How one video ended. None of these stops a run."""

    KEPT = "kept"
    REJECTED = "rejected"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    TIMED_OUT = "timed-out"


FAILED = frozenset({Outcome.UNREADABLE, Outcome.MISSING, Outcome.TIMED_OUT})


MISSING_REASONS = ("not-in-store", "changed", "refused", "outside-prefix")
"""Why a video did not come: no such object, not the one that was planned, not to be read, a key that climbs out."""

WORKER_REASONS = ("crashed", "out-of-memory", "output-limit", "over-scratch-limit")
"""Why a video is unreadable beside the decoder's UNREADABLE_REASONS: what its worker or its size ran into."""


class Credit(BaseModel):
    """Who made a video and what they allow, as its list says; empty where the list is silent.

    `licence` is a name like "Attribution-ShareAlike License" and `taken` a date as the list writes it; `longitude` and
    `latitude` are degrees east and north.
    """

    model_config = ConfigDict(frozen=True)

    owner: str = ""
    licence: str = ""
    licence_url: str = ""
    page_url: str = ""
    title: str = ""
    taken: str = ""
    longitude: float | None = None
    latitude: float | None = None


_NO_CREDIT = Credit()


class Video(BaseModel):
    """A video's identity is where it is and its ETag; `id` stands for both in sixteen hex digits.

    Where nobody has looked at the object yet, `etag` is empty and `size_bytes` is 0; `duration_seconds` is 0 where no
    list says it. What is not known is not written.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    key: str
    etag: str
    size_bytes: int
    duration_seconds: float = Field(0.0, ge=0, allow_inf_nan=False, exclude_if=lambda seconds: not seconds)
    credit: Credit = Field(_NO_CREDIT, exclude_if=lambda credit: vars(credit) == vars(_NO_CREDIT))


class VideoOutcome(BaseModel):
    """How one video ended, with the frames it gave: seen by the decoder, kept, and rejected by reason."""

    model_config = ConfigDict(frozen=True)

    video: Video
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    seconds: float = 0.0
    frames_seen: int = 0
    frames_kept: int = 0
    frames_rejected: dict[str, int] = {}


class DeviceUse(BaseModel):
    """Wall seconds of the process that computes masks for all videos: at work, and waiting for the next shot."""

    model_config = ConfigDict(frozen=True)

    busy_seconds: float = Field(0.0, ge=0)
    waiting_seconds: float = Field(0.0, ge=0)

    def since(self, earlier: "DeviceUse") -> "DeviceUse":
        """What came after `earlier`, in whole milliseconds."""
        return DeviceUse(
            busy_seconds=round(self.busy_seconds - earlier.busy_seconds, 3),
            waiting_seconds=round(self.waiting_seconds - earlier.waiting_seconds, 3),
        )


NO_DEVICE = DeviceUse()


class ShardRecord(Record):
    """The commit of one part of a shard: the files it names are whole, and every video it lists has ended.

    `device` says how well the processes that decode feed the one that computes masks, where there is such a one.
    """

    plan: str
    shard: int
    part: int
    data_key: str
    data_sha256: str
    data_bytes: int
    index_key: str
    audit_key: str
    seconds: float
    device: DeviceUse = Field(NO_DEVICE, exclude_if=lambda use: vars(use) == vars(NO_DEVICE))
    videos: tuple[VideoOutcome, ...]


def video_id(uri: str, key: str, etag: str) -> str:
    """Sixteen hex digits of where a video is and its ETag."""
    return hashlib.sha256(f"{uri}/{key}\n{etag}".encode()).hexdigest()[:16]
