"""The child process of one video: extract it, write its samples and then, last, its verdict."""

import errno
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.errors import Unavailable, UnreadableVideo
from watchmove.pipeline.extraction.sampled_video import Extraction, Frame, extract_video
from watchmove.pipeline.files.atomic import write_bytes
from watchmove.pipeline.files.resource_limits import limit_resources, mapped_bytes
from watchmove.pipeline.masks.chain import WORKING_SCALE
from watchmove.pipeline.masks.choice import ShotSegmenter
from watchmove.pipeline.masks.motion_cues import cues_png
from watchmove.pipeline.masks.motion_network import load_motion_network, masks_provenance
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.extraction.device_client import DeviceClient
from watchmove.service.extraction.stage_pictures import STAGES, most_confident, stage_strip
from watchmove.service.extraction.stage_times import ENCODE, EXTRACT, timed_segmenter, with_times
from watchmove.service.records.frame_verdicts import verdict_bytes
from watchmove.service.records.outcomes import Outcome, Video, VideoOutcome
from watchmove.service.records.shard_index import frame_key
from watchmove.service.runner.child_process import end_with_parent

JPEG_QUALITY = 95
"""OpenCV's default quality, stated because it decides the bytes of a dataset."""
UNAVAILABLE_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: the machine was at fault, and the video may be tried again."""
_READING_SHARE = 0.8
"""Part of a video's time limit after which no more of it is read, so that the rest is enough to write what was found.

Set by hand; not tuned.
"""
TIMED_OUT_REASONS = ("decoder-timeout", "time-limit")
"""Reasons for which a video that gives no frame has timed out."""
VERDICT, KEPT, AUDIT = "verdict.json", "kept.tar", "audit.tar"
STAGES_OF_A_FRAME = "stages.tar"
FRAME_VERDICTS = "frames.json.gz"


@dataclass(frozen=True)
class VideoJob:
    """A fetched video at `path`, the empty folder that its results are written to, and how long the fetch took."""

    video: Video
    path: Path
    folder: Path
    fetch_seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """Upper limits on the time, memory and output of one video."""

    timeout_seconds: float
    memory_mebibytes: int
    output_mebibytes: int


def work(job: VideoJob, settings: ExtractionSettings, limits: Limits, device_address: str = "") -> None:
    """Main function of the child; it exits with UNAVAILABLE_EXIT_CODE if the cause is the machine and not the video.

    If `device_address` is given, the process that listens there computes the masks; otherwise this process does.
    """
    _lead_process_group()
    if settings.motion_network and not device_address:
        load_motion_network(settings)
        own_bytes = mapped_bytes()  # torch and the weights do not count towards the video's limit
    else:
        own_bytes = 0
    limit_resources(own_bytes + limits.memory_mebibytes * 2**20, limits.output_mebibytes * 2**20)
    began = time.monotonic()
    deadline = began + _READING_SHARE * limits.timeout_seconds
    try:
        client = DeviceClient(device_address) if device_address else None
        stages = StageSeconds()
        outcome = extract_to_folder(job, settings, client, deadline, stages)
        seconds = round(time.monotonic() - began, 3)
        # Renamed when complete: the parent takes an existing verdict as the proof that extraction ended.
        partial = job.folder / f"{VERDICT}.partial"
        timed = with_times(outcome.model_copy(update={"seconds": seconds}), job.fetch_seconds, stages)
        partial.write_text(timed.model_dump_json(), encoding="utf-8")
        partial.replace(job.folder / VERDICT)
    except (OSError, Unavailable) as error:
        if isinstance(error, Unavailable) or error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(f"watchmove: {job.video.key!r}: {error}", file=sys.stderr)
            sys.exit(UNAVAILABLE_EXIT_CODE)
        raise


def _lead_process_group() -> None:
    """Lead a process group with the decoder in it, which only the parent may end and which ends with the parent."""
    os.setsid()
    # 0 is the own group: ending this process alone would leave its decoder running
    end_with_parent(lambda: os.killpg(0, signal.SIGKILL))


def extract_to_folder(
    job: VideoJob,
    settings: ExtractionSettings,
    segment: ShotSegmenter | None = None,
    deadline: float | None = None,
    stages: StageSeconds | None = None,
) -> VideoOutcome:
    """Extract a video, write its kept frames and a few rejected ones to the job's folder, and return its outcome.

    Reading ends at `deadline`, in seconds of `time.monotonic`, with what was found by then. The times of the stages are
    added to `stages`.
    """
    stages = stages or StageSeconds()
    try:
        with stages(EXTRACT):
            extraction = extract_video(job.path, settings, timed_segmenter(segment, settings, stages), deadline)
        with stages(ENCODE):
            _write(job, extraction, settings)
    except UnreadableVideo as error:
        outcome = Outcome.TIMED_OUT if error.reason in TIMED_OUT_REASONS else Outcome.UNREADABLE
        detail = error.detail.replace(str(job.path), job.video.key)
        return VideoOutcome(video=job.video, outcome=outcome, reason=error.reason, detail=detail)
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and "Insufficient memory" not in str(error):  # OpenCV's form of MemoryError
            raise
        return VideoOutcome(video=job.video, outcome=Outcome.UNREADABLE, reason="out-of-memory")
    except Unavailable as error:
        # EFBIG is the limit that this process has set on itself, so the video is at fault and not the disk
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EFBIG:
            return VideoOutcome(video=job.video, outcome=Outcome.UNREADABLE, reason="output-limit")
        raise
    return _verdict(job.video, extraction)


def _write(job: VideoJob, extraction: Extraction, settings: ExtractionSettings) -> None:
    """Write the kept frames, a few rejected ones, the verdicts on all, and the stages of the most confident frame."""
    flow = masks_provenance(settings)
    kept = (_sample(job.video, frame, flow) for frame in extraction.frames if frame.reject_reason is None)
    write_shard(job.folder / KEPT, kept)
    audited = _audited(extraction.frames, settings.audited_frames_per_reason)
    write_shard(job.folder / AUDIT, (_sample(job.video, frame, flow) for frame in audited))
    write_bytes(job.folder / FRAME_VERDICTS, verdict_bytes(extraction.frames))
    shown = most_confident(extraction.frames)
    if shown is not None and shown.stages is not None:
        sample = _sample(job.video, shown, flow)
        of_stages = {**sample.metadata, "stages": list(STAGES)}
        strip = replace(sample, jpeg=stage_strip(shown, shown.stages), metadata=of_stages)
        write_shard(job.folder / STAGES_OF_A_FRAME, [strip])


def _verdict(video: Video, extraction: Extraction) -> VideoOutcome:
    reasons = [frame.reject_reason for frame in extraction.frames if frame.reject_reason is not None]
    # sorted, so that neither the record's bytes nor the choice between equal counts depends on the order of a set
    rejected = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    kept = len(extraction.frames) - len(reasons)
    commonest = max(rejected, key=lambda reason: rejected[reason], default="nothing-sampled")
    return VideoOutcome(
        video=video,
        outcome=Outcome.KEPT if kept else Outcome.REJECTED,
        reason="" if kept else commonest,
        frames_seen=extraction.frames_seen,
        frames_kept=kept,
        frames_rejected=rejected,
        ended_early=extraction.ended_early,
        stream=extraction.stream,
        # only frames that are kept can be repeated in a dataset
        fingerprint=extraction.fingerprint if kept else "",
    )


def _audited(frames: Iterable[Frame], limit: int) -> Iterator[Frame]:
    """Yield the first `limit` rejected frames of each reason."""
    seen: dict[str, int] = {}
    for frame in frames:
        if frame.reject_reason is None:
            continue
        seen[frame.reject_reason] = seen.get(frame.reject_reason, 0) + 1
        if seen[frame.reject_reason] <= limit:
            yield frame


def _sample(video: Video, frame: Frame, flow: Mapping[str, str]) -> Sample:
    """A frame as the dataset stores it: JPEG, 8-bit soft mask and motion as PNG, provenance and credit."""
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)  # OpenCV writes channels in the order blue, green, red
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    _, png = cv2.imencode(".png", np.rint(frame.soft_mask * 255).astype(np.uint8))  # astype alone truncates
    metadata: dict[str, object] = {
        "video": video.key,
        "video_id": video.id,
        "frame": frame.index,
        "time_seconds": round(frame.time_seconds, 4),
        "shot": frame.shot,
        "confidence": round(float(frame.confidence), 4),
        "reject_reason": frame.reject_reason,
        "conditions": list(frame.conditions),
        **flow,
        "title": video.credit.title,
        "owner": video.credit.owner,
        "licence": video.credit.licence,
        "licence_url": video.credit.licence_url,
        "page_url": video.credit.page_url,
    }
    return Sample(frame_key(video.id, frame.index), jpeg.tobytes(), png.tobytes(), metadata, _motion_png(frame))


def _motion_png(frame: Frame) -> bytes:
    """The maps of a kept frame's motion; empty for a rejected one, which teaches nothing."""
    if frame.stages is None or frame.reject_reason is not None:
        return b""
    maps, rows, columns = frame.stages
    height, width = (-(-side // WORKING_SCALE) for side in frame.image.shape[:2])
    inside = (slice(round(part.start / WORKING_SCALE), round(part.stop / WORKING_SCALE)) for part in (rows, columns))
    return cues_png(maps.cues.astype(np.float32), (height, width), *inside)
