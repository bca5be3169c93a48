"""The answer to why a video of a run, or one of its frames, was kept or rejected."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.explanation.attempts import Attempt, attempts_at, counting, planned_by
from watchmove.service.explanation.frames import RecordedFrames, recorded_frames
from watchmove.service.explanation.listed_video import NotListed, find_listed
from watchmove.service.explanation.thresholds import MetThreshold, met_thresholds
from watchmove.service.explanation.unlisted import is_forgotten, why_unlisted
from watchmove.service.explanation.what_if import WhatIf, what_if
from watchmove.service.records import layout
from watchmove.service.records.datasets import GatherRecord, dataset_of
from watchmove.service.records.forgotten import FORGOTTEN
from watchmove.service.records.frame_verdicts import FrameVerdict
from watchmove.service.records.outcomes import Video, VideoOutcome
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find, need
from watchmove.service.records.run_settings import recorded_settings
from watchmove.service.records.shard_index import frame_key
from watchmove.service.store.store import Store

PENDING, LEFT_OUT = "pending", "left-out"
"""Outcomes in addition to those of extraction: not attempted yet, and not listed by the plan."""

_NAMED_FRAMES = 8
"""Most frames that a message names. Set by hand; not tuned."""


class FrameAnswer(BaseModel):
    """The verdict on a frame, the thresholds that it met, and what would have kept it."""

    model_config = ConfigDict(frozen=True)

    key: str
    verdict: FrameVerdict
    thresholds: tuple[MetThreshold, ...]
    what_if: WhatIf | None


class Answer(BaseModel):
    """Why a video ended as it did.

    `outcome` is one of Outcome, PENDING or LEFT_OUT, with its `reason` and a sentence, `detail`. `record` is that of
    the attempt that counts, `attempts` are all in the order of time, and `planned_in` names plans and shards.
    `in_snapshot` is whether the run's snapshot has the kept frames, None where there are none or it is not gathered,
    and `not_in_snapshot` says why not. `frame` is the number of a frame that was asked for, and `frames` has that one
    or all of the video; `examined` counts those of the video, of which `recorded` have a verdict. `nearest` is the one
    of them that the smallest change of settings would keep, None where the record shows none.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    name: str
    outcome: str
    reason: str = ""
    detail: str = ""
    video: Video | None = None
    frame: int | None = None
    planned_in: tuple[tuple[str, int], ...] = ()
    attempts: tuple[VideoOutcome, ...] = ()
    record: VideoOutcome | None = None
    in_snapshot: bool | None = None
    not_in_snapshot: str = ""
    examined: int = 0
    recorded: int = 0
    frames: tuple[FrameAnswer, ...] = ()
    nearest: FrameAnswer | None = None


def why(store: Store, scratch: Path, run: str, name: str) -> Answer:
    """Answer why a run kept or rejected the video, or the frame, that `name` means.

    A video is named by its key, its URI or its id, and a frame by one of these, a hyphen and its number.

    Raises:
        InvalidInput: the run has no plan, nothing has the name, the frame was not examined, or a record is damaged.
        Unavailable: a store cannot be reached.
    """
    plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    listed = find_listed(store, plan.recipe, plan.plan, name)
    if isinstance(listed, NotListed):
        return _left_out(store, plan, run, name, listed)
    planned = planned_by(store, plan.recipe, plan.plan, listed)
    attempts = attempts_at(store, plan.recipe, planned, listed.video.id)
    counts = counting(attempts)
    known = {
        "run": run,
        "name": name,
        "video": listed.video,
        "frame": listed.frame,
        "planned_in": tuple(tuple(place) for place in planned),
        "attempts": tuple(attempt.row for attempt in attempts),
    }
    if counts is None:
        detail = f"shard {planned[0].shard} of plan {planned[0].plan} has no record of it" if planned else ""
        return Answer(**known, outcome=PENDING, detail=detail or "no plan of its recipe has it in a shard; plan again")
    recorded = recorded_frames(store, counts, scratch)
    by_motion = plan.masks_from == "motion"
    settings = recorded_settings(counts.part.made_by, run).extract if by_motion else None
    missing = _missing_in_snapshot(store, run, counts)
    frames = _answers(listed.video, _chosen(recorded, listed.frame, listed.video), recorded.frames, settings)
    return Answer(
        **known,
        outcome=counts.row.outcome,
        reason=counts.row.reason,
        detail=counts.row.detail,
        record=counts.row,
        in_snapshot=None if missing is None else not missing,
        not_in_snapshot=missing or "",
        examined=counts.row.frames_kept + sum(counts.row.frames_rejected.values()),
        recorded=len(recorded.frames),
        frames=frames,
        nearest=_nearest(frames),
    )


def _left_out(store: Store, plan: PlanRecord, run: str, name: str, listed: NotListed) -> Answer:
    settings = recorded_settings(plan.made_by, run)
    if is_forgotten(store, [settings.videos], listed.keys):
        return Answer(run=run, name=name, outcome=LEFT_OUT, reason=FORGOTTEN, detail="the store has a receipt of it")
    found = why_unlisted(store, plan, settings, listed.keys)
    if found is None:
        similar = f", such as {', '.join(map(repr, listed.similar))}" if listed.similar else ""
        left_out = sum(plan.filtered.values())
        others = f" and not found among the {left_out:,} left out" if left_out else ""
        raise InvalidInput(
            f"run {run}: no video or frame {name!r} among its {plan.videos_listed:,}{others}; name a video as "
            f"`watchmove videos {run}` prints it{similar}, and a frame as VIDEO-000012"
        )
    return Answer(run=run, name=name, outcome=LEFT_OUT, reason=found[0], detail=found[1])


def _chosen(recorded: RecordedFrames, frame: int | None, video: Video) -> Sequence[FrameVerdict]:
    """All recorded frames, or the one of a number. Raises InvalidInput if that is not recorded."""
    if frame is None:
        return recorded.frames
    chosen = [verdict for verdict in recorded.frames if verdict.frame == frame]
    if not chosen:
        numbers = [str(verdict.frame) for verdict in recorded.frames]
        more = f" and {len(numbers) - _NAMED_FRAMES} more" if len(numbers) > _NAMED_FRAMES else ""
        what = "was examined" if recorded.are_all else "is recorded of those that were examined"
        there = f"frames {', '.join(numbers[:_NAMED_FRAMES])}{more} are there" if numbers else "it has no frames"
        raise InvalidInput(f"video {video.key!r}: no frame {frame} {what}; {there}")
    return chosen


def _answers(
    video: Video, chosen: Sequence[FrameVerdict], frames: Sequence[FrameVerdict], settings: ExtractionSettings | None
) -> tuple[FrameAnswer, ...]:
    """The answers on chosen frames of a video; without settings, its masks were imported and met no threshold."""
    shots: dict[int, list[FrameVerdict]] = {}
    for verdict in frames:
        shots.setdefault(verdict.shot, []).append(verdict)
    return tuple(
        FrameAnswer(
            key=frame_key(video.id, verdict.frame),
            verdict=verdict,
            thresholds=met_thresholds(verdict, shots[verdict.shot], settings) if settings else (),
            what_if=what_if(verdict, shots[verdict.shot], settings) if settings else None,
        )
        for verdict in chosen
    )


def _nearest(frames: Sequence[FrameAnswer]) -> FrameAnswer | None:
    """The frame that the fewest settings would keep; of equal ones, that which is beyond its limits by the least."""

    def distance(frame: FrameAnswer) -> tuple[int, float]:
        failed = [met for met in frame.thresholds if met.passes is False and met.margin is not None]
        return len(failed), sum(abs(met.margin or 0.0) / met.limit for met in failed if met.limit)

    return min((frame for frame in frames if frame.what_if and frame.what_if.keeps), key=distance, default=None)


def _missing_in_snapshot(store: Store, run: str, counts: Attempt) -> str | None:
    """Why the snapshot of a run lacks the kept frames of an attempt; empty if it has them, None if there is none."""
    gathered = find(store, layout.run_record(run, "gather"), GatherRecord) if counts.row.frames_kept else None
    if gathered is None:
        return None
    shards = dataset_of(store, run).shards
    if any(shard.key == counts.part.data_key and counts.row.video.id not in shard.left_out for shard in shards):
        return ""
    if gathered.near_duplicate_videos:
        return "another video has nearly the same pictures; gather.leave_out_near_duplicates=false keeps both"
    return "the snapshot was gathered before this attempt, or from another one"
