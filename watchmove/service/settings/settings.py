"""The settings of a run: one frozen object with a section for each subject."""

import hashlib
import json
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from watchmove.pipeline.settings import Section, Seed
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.service.settings.evaluate import URI_SCHEMES, EvaluateSettings
from watchmove.service.settings.pretrain import PretrainSettings

LicenceWord = Literal[
    "commercial", "derivatives", "by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "cc0", "publicdomain"
]
_HASH_DIGITS = 16
"""64 bits, which makes an accidental collision among millions of settings improbable. Part of the store's layout."""


class PlanSettings(Section):
    """Which videos are used, and how they are divided into shards."""

    manifest: str = Field(
        "",
        description=(
            "URI of a file that lists videos, with `*` as a wildcard for several files; empty: all videos in "
            "the folder `videos`."
        ),
    )
    manifest_format: Literal["auto", "yfcc100m", "sqlite", "csv", "jsonl"] = Field(
        "auto",
        description=(
            "Format of the list: YFCC100M's metadata as text or SQLite, CSV, or JSON lines; `auto` goes by the "
            "file name."
        ),
    )
    licences: tuple[LicenceWord, ...] = Field(
        (),
        description=(
            "Permissions (`commercial`, `derivatives`) or Creative Commons licences (`by`, `by-sa`) that "
            "videos must have. Empty: any."
        ),
    )
    min_video_seconds: float = Field(
        0.0, ge=0, description="Shortest duration of a video, in seconds, where the list gives durations."
    )
    max_video_seconds: float = Field(
        0.0, ge=0, description="Longest duration of a video, in seconds, where the list gives durations; 0: no limit."
    )
    sample_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description=(
            "Fraction of the videos that is sampled; a smaller sample is part of every larger one of the same seed."
        ),
    )
    sample_seed: Seed = Field(0, description="Seed of the sample of videos.")
    target_shard_seconds: float = Field(
        3600.0, gt=0, description="Estimated processing time of one shard on one worker, in seconds."
    )
    seconds_per_video_second: float = Field(
        0.2,
        gt=0,
        description=(
            "Estimated processing time per second of video, in seconds; it only affects the division into shards."
        ),
    )
    max_shard_videos: int = Field(400, ge=1, description="Largest number of videos in one shard.")
    max_shard_mebibytes: int = Field(8192, ge=1, description="Largest total size of the videos in one shard, in MiB.")

    @field_validator("manifest")
    @classmethod
    def _is_a_file_uri(cls, uri: str) -> str:
        if uri and (not uri.startswith(URI_SCHEMES) or "/" not in uri.partition("://")[2] or uri.endswith("/")):
            raise ValueError("a list of videos is file:///FOLDER/FILE or s3://BUCKET/KEY")
        return uri


class WorkSettings(Section):
    """How a step uses the machine that it runs on. These settings do not change results."""

    workers: int = Field(
        0, ge=0, description="Number of worker processes; 0: one for each core that the process may use."
    )
    scratch: str = Field("", description="Folder for temporary files; empty: the system's.")
    video_timeout_seconds: float = Field(
        1800.0, gt=0, description="Longest extraction of one video, in seconds; beyond it the outcome is `timed-out`."
    )
    video_memory_mebibytes: int = Field(
        6144,
        ge=512,
        description="Address space of the extraction of one video, in MiB; beyond it the video is `unreadable`.",
    )
    commit_every_seconds: float = Field(
        600.0,
        gt=0,
        description=(
            "Longest time between two commits of finished videos, in seconds; a lost node loses at most this work."
        ),
    )
    scratch_mebibytes: int = Field(
        12288,
        ge=1,
        description="Largest scratch space of an extraction, in MiB, for fetched videos and frames not yet committed.",
    )
    video_output_mebibytes: int = Field(
        512,
        ge=1,
        description="Largest output of the extraction of one video, in MiB; beyond it the video is `unreadable`.",
    )
    unsigned_videos: bool = Field(
        False, description="Whether to read `videos` without credentials, as from a public bucket."
    )
    requester_pays: bool = Field(False, description="Whether to accept charges for requests to the bucket of `videos`.")
    training_cache_mebibytes: int = Field(
        16384,
        ge=64,
        description="Largest scratch space of pretraining on one machine, in MiB, for cached parts of shards.",
    )
    rank_timeout_seconds: float = Field(
        300.0,
        gt=0,
        description="Longest time, in seconds, that a rank of a training waits for another before it aborts.",
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="Port on which Prometheus metrics are served; 0: none.")
    max_extract_pods: int = Field(
        128,
        ge=1,
        description=(
            "Largest number of pods among which a workflow divides the shards of a run; each adds about 3 KiB to the "
            "object of the workflow."
        ),
    )
    price_per_core_hour: float = Field(
        0.0,
        ge=0,
        description="Price of a core for one hour, in any currency, by which the exporter estimates costs; 0: unknown.",
    )
    price_per_gpu_hour: float = Field(
        0.0, ge=0, description="Price of a GPU for one hour, in the same currency; 0: unknown."
    )
    hours_between_runs: float = Field(
        24.0,
        gt=0,
        le=744,
        description="Hours from one scheduled run to the next, by which the alert `WatchmoveNightMissing` waits.",
    )


class GatherSettings(Section):
    """Conditions that extraction must meet before training starts, or without which there is none."""

    max_failed_fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Largest fraction of videos that may be unreadable, missing or timed out; the step fails above it.",
    )
    min_kept_frames: int = Field(1, ge=1, description="Smallest number of kept frames; the step fails below it.")
    min_new_frames: int = Field(
        0,
        ge=0,
        description="Smallest number of frames that the newest backbone has not learnt from; with fewer, the run ends "
        "after gather, without training. 0: every run trains.",
    )
    leave_out_near_duplicates: bool = Field(
        False,
        description="Whether of several copies of one video, such as its uploads, only the one with most kept frames "
        "is used.",
    )


class Settings(Section):
    """All settings of a run. Only credentials and endpoints come from the environment, under the AWS SDK's names."""

    store: str = Field(
        "file://out/store",
        description="URI of the store to which everything is written: `file://FOLDER` or `s3://BUCKET/PREFIX`.",
    )
    videos: str = Field("file://out/world/videos", description="URI of the folder of videos.")
    voc: str = Field("file://out/world/voc", description="URI of a detection set in the folder layout of PASCAL VOC.")
    truth: str = Field(
        "file://out/world/truth",
        description="URI of a folder of true masks, `NAME.npz` for video `NAME.SUFFIX`; `claims` draws it.",
    )
    plan: PlanSettings = PlanSettings()
    extract: ExtractionSettings = ExtractionSettings()
    gather: GatherSettings = GatherSettings()
    pretrain: PretrainSettings = PretrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    world: WorldSettings = WorldSettings()
    work: WorkSettings = WorkSettings()

    @model_validator(mode="after")
    def _classification_fits_the_trunk(self) -> Self:
        if self.evaluate.classification and self.pretrain.trunk == "alexnet-small":
            raise ValueError(
                "evaluate.classification has the published windows of pretrain.trunk alexnet, not of alexnet-small; "
                "set one of the two"
            )
        return self

    @field_validator("store", "videos", "voc", "truth")
    @classmethod
    def _is_a_store_uri(cls, uri: str) -> str:
        if not uri.startswith(URI_SCHEMES) or uri in URI_SCHEMES:
            raise ValueError("a store URI is file://FOLDER or s3://BUCKET/PREFIX")
        return uri.rstrip("/")


def settings_hash(*parts: object) -> str:
    """A hash of `parts` (settings models or plain JSON values), as 16 hexadecimal digits."""
    plain = [part.model_dump(mode="json") if isinstance(part, Section) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))  # any other form would change every id in a store
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def worker_count(settings: Settings) -> int:
    """Number of worker processes to start: `work.workers`, or the number of usable cores if it is 0."""
    return settings.work.workers or usable_cores()


def usable_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Number of cores that this process may use, by its CPU affinity and its control group's CPU quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_in_cores(control_groups)
    return affinity if quota is None else max(1, min(affinity, round(quota)))


def _quota_in_cores(control_groups: Path) -> float | None:
    """The CPU quota in cores, None if there is none; of control groups of version 2, or else of version 1."""
    version_1 = control_groups / "cpu"
    places = ((control_groups / "cpu.max",), (version_1 / "cpu.cfs_quota_us", version_1 / "cpu.cfs_period_us"))
    for files in places:
        try:
            quota, period = " ".join(file.read_text() for file in files).split()
            # without a quota, version 2 has the word `max` and version 1 a negative number
            return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
