"""The closed list of outcomes of a video, and the records of a shard and its videos."""

import hashlib
from enum import StrEnum

from pydantic import BaseModel, Field, NonNegativeInt

from watchmove.service.records.record import FINITE, Count, Record, Seconds


class Outcome(StrEnum):
    """How one video ended. None of these stops a run."""

    KEPT = "kept"
    REJECTED = "rejected"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    TIMED_OUT = "timed-out"


FAILED = frozenset({Outcome.UNREADABLE, Outcome.MISSING, Outcome.TIMED_OUT})
"""Outcomes after which a retry may extract the video."""

MISSING_REASONS = ("not-in-store", "changed", "refused", "outside-prefix")
"""Why a video is missing: no such object, another version than planned, no permission, a key outside the store."""

WORKER_REASONS = ("crashed", "out-of-memory", "output-limit", "over-scratch-limit")
"""Why a video is unreadable, besides the decoder's UNREADABLE_REASONS: the limits and failures of its worker."""


class Credit(BaseModel):
    """Who made a video and under which licence, copied from its list; a field that the list lacks is empty.

    `licence` is a name like "Attribution-ShareAlike License" and `taken` a date as the list writes it; `longitude` and
    `latitude` are degrees east and north.
    """

    model_config = FINITE

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
    """A video to extract; its identity is its URI and its ETag, and `id` is their hash in sixteen hex digits.

    Until the object has been listed, `etag` is empty and `size_bytes` is 0; `duration_seconds` is 0 if no list has it.
    An unknown duration or credit is not written.
    """

    model_config = FINITE

    id: str
    key: str
    etag: str
    size_bytes: Count
    # an unknown duration or credit is not written, so that the listing of a folder stays short
    duration_seconds: Seconds = Field(0.0, exclude_if=lambda seconds: not seconds)
    credit: Credit = Field(_NO_CREDIT, exclude_if=lambda credit: vars(credit) == vars(_NO_CREDIT))


class VideoOutcome(BaseModel):
    """How one video ended, with the frames it gave: seen by the decoder, kept, and rejected by reason.

    `stream` is the index of the decoded stream in the file, `ended_early` says why the video was not decoded to its end
    (ENDED_EARLY), and `fingerprint` has at most 32 hashes of what changes in the video, each of sixteen hex digits, if
    frames of it are kept. `verdicts` is the first byte and the length of the verdicts on its frames in the part's file.
    Each of these is written only where it differs from 0 or from nothing.
    """

    model_config = FINITE

    video: Video
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    seconds: Seconds = 0.0
    frames_seen: int = 0
    frames_kept: int = 0
    frames_rejected: dict[str, int] = {}
    stream: int = Field(0, ge=0, exclude_if=lambda index: not index)
    ended_early: str = Field("", exclude_if=lambda reason: not reason)
    fingerprint: str = Field("", pattern="^([0-9a-f]{16}){0,32}$", exclude_if=lambda hashes: not hashes)
    verdicts: tuple[NonNegativeInt, NonNegativeInt] = Field((0, 0), exclude_if=lambda place: not place[1])


class DeviceUse(BaseModel):
    """Wall-clock seconds of the process that computes masks for all videos, at work and waiting for the next shot."""

    model_config = FINITE

    busy_seconds: Seconds = 0.0
    waiting_seconds: Seconds = 0.0

    def since(self, earlier: "DeviceUse") -> "DeviceUse":
        """Return the use since `earlier`, rounded to milliseconds."""
        return DeviceUse(
            busy_seconds=round(self.busy_seconds - earlier.busy_seconds, 3),
            waiting_seconds=round(self.waiting_seconds - earlier.waiting_seconds, 3),
        )


NO_DEVICE = DeviceUse()


class MachineUse(BaseModel):
    """What a training or an evaluation had of its machines: wall-clock seconds, and the cores and GPUs of all ranks.

    It is that of the processes that wrote the record: if others began the work, their time is not in it.
    """

    model_config = FINITE

    seconds: Seconds
    cores: Count
    gpus: Count

    @property
    def core_hours(self) -> float:
        """Hours of all cores together, whether they were busy or not."""
        return self.seconds * self.cores / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of all GPUs together, whether they were busy or not."""
        return self.seconds * self.gpus / 3600


STAGES_TAR = ".stages.tar"
"""What the names of tars with the stages of one frame end in."""


class ShownStages(BaseModel):
    """Where the stages of a part's most confident kept frame are, the id of its video, and its confidence.

    The tar at `key` has one frame, whose picture is a strip: what its metadata name `stages`, from top to bottom.
    """

    model_config = FINITE

    key: str
    video: str
    confidence: float


class ShardRecord(Record):
    """The commit of one part of a shard: the files it names are complete, and every video it lists has an outcome.

    `device` is the use of the process that computes masks, if masks are computed by a process of their own.
    `verdicts_key` has the verdicts on all examined frames, and is empty in records without them. `stages` is None where
    no frame is kept, and in records of earlier versions.
    """

    plan: str
    shard: int
    part: int
    data_key: str
    data_sha256: str
    data_bytes: Count
    index_key: str
    audit_key: str
    verdicts_key: str = Field("", exclude_if=lambda key: not key)
    stages: ShownStages | None = Field(None, exclude_if=lambda stages: stages is None)
    seconds: Seconds
    device: DeviceUse = Field(NO_DEVICE, exclude_if=lambda use: vars(use) == vars(NO_DEVICE))
    videos: tuple[VideoOutcome, ...]


def video_id(uri: str, key: str, etag: str) -> str:
    """Return the first sixteen hex digits of the SHA-256 of a video's URI and ETag."""
    return hashlib.sha256(f"{uri}/{key}\n{etag}".encode()).hexdigest()[:16]
