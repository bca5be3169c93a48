"""Extract: compute soft masks of moving objects in the videos of one shard, and commit them in parts."""

import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.motion_network import masks_provenance
from watchmove.service.extraction.fetcher import ScratchSpace
from watchmove.service.extraction.pipeline import VideoPipeline
from watchmove.service.extraction.recipe import recipe_of, with_local_weights
from watchmove.service.extraction.shard_part import OpenPart, committed_parts
from watchmove.service.extraction.stage_times import TimedOutcome
from watchmove.service.records import layout
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.outcomes import FAILED, Video, VideoOutcome
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import need, need_lines
from watchmove.service.runner.events import log_facts, log_step
from watchmove.service.runner.progress import ProgressReport
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import Settings
from watchmove.service.steps.failures import record_failure
from watchmove.service.store.store import Store

_VIDEO_ID = re.compile(r"[0-9a-f]{16}")
"""The form of a video's id, as `records.outcomes.video_id` makes it."""
_TRACED_VIDEOS = 5000
"""Most videos of a run with a span of their own, if none is extracted twice; as many of those that have failed.

Set by hand: with all 800,000 of YFCC100M, no backend would show the trace. Grafana Tempo takes 5 MB for one by default.
"""


@log_step
@record_failure
def extract(context: StepContext, run: str, shard: int) -> tuple[VideoOutcome, ...]:
    """Extract and commit the remaining videos of a shard, and return the outcomes of all its videos.

    Works that are forgotten are left out, also those that are forgotten while this runs. A finished shard costs two
    listings of the store.

    Raises:
        InvalidInput: the run has no such shard, or masks cannot be computed as the settings say.
        Unavailable: a store cannot be reached or the disk is full; finished videos are committed first.
        Stopped: stopped by a signal; finished videos are committed first.
    """
    plan = need(context.store, layout.run_record(run, "plan"), PlanRecord, "plan")
    if plan.masks_from != "motion":
        raise InvalidInput(f"run {run}: its masks are annotations; run `watchmove import-coco` again to finish it")
    if not 0 <= shard < plan.shards:
        raise InvalidInput(f"shard {shard}: run {run} has {plan.shards} shards, counted from 0; name one of them")
    # The recipe is a hash of the bytes of the motion network, wherever the file is stored, so it is fetched first.
    local = with_local_weights(context.settings, context.scratch)
    if local.extract.device == "cpu":
        # Settings that cannot work are refused before any video is fetched. With another device, the
        # process that holds the device checks them.
        shot_segmenter(local.extract)
    recipe = recipe_of(local)
    if recipe != plan.recipe:
        raise InvalidInput(
            f"run {run}: planned as recipe {plan.recipe}, but these settings give {recipe}; extract with the settings "
            "of the plan, its motion network included, or plan a new run"
        )
    listed = _listed_videos(context.store, layout.shard_list(plan.recipe, plan.plan, shard))
    # Another process may extract the same shard, for example in place of a pod that was only reported lost, so each
    # round begins with what is committed by now.
    while True:
        parts = list(committed_parts(context.store, plan, shard))
        done = {row.video.id for part in parts for row in part.videos}
        forgotten, place = forgotten_works(context.store), context.settings.videos
        remaining = [video for video in listed if video.id not in done and not forgotten.has(place, video.key)]
        if not remaining:
            return tuple(row for part in parts for row in part.videos)
        # Parts are numbered without gaps, so their count is the number of the next one.
        _extract_rest(context, local, plan, (shard, len(parts)), remaining)
        # After a signal `_extract_rest` commits and returns; Stopped is raised only now, when the work is saved.
        context.check_stop()


def extract_shards(context: StepContext, run: str, shards: range) -> None:
    """Extract consecutive shards of a run, one after another.

    Raises the errors of `extract`. A shard with invalid input does not keep the shards after it from being extracted;
    the first such error is raised at the end.
    """
    plan = need(context.store, layout.run_record(run, "plan"), PlanRecord, "plan")
    if len(shards) > 1 and shards.stop > plan.shards:
        raise InvalidInput(f"shard {shards[-1]}: run {run} has {plan.shards} shards, counted from 0")
    progress = _ShardsProgress(context.progress, shards)
    first_error: InvalidInput | None = None
    for shard in shards:
        try:
            extract(replace(context, progress=progress) if len(shards) > 1 else context, run, shard)
        except InvalidInput as error:
            first_error = first_error or error
        progress.next_shard()
    if first_error is not None:
        raise first_error


def _listed_videos(store: Store, key: str) -> list[Video]:
    """A shard's videos, from the list that the plan has written.

    Their ids become names of local files, so an altered list with other ids is refused.
    """
    videos: list[Video] = need_lines(store, key, Video)
    for video in videos:
        if not _VIDEO_ID.fullmatch(video.id):
            raise InvalidInput(f"{store.uri}/{key}: {video.id!r} is not a video's id; remove the file to plan again")
    return videos


def _extract_rest(
    context: StepContext, local: Settings, plan: PlanRecord, place: tuple[int, int], videos: Sequence[Video]
) -> None:
    """Extract and commit part after part, until no video remains, a signal stops it, or another process is ahead.

    `place` holds the numbers of the shard and of its next part. Another process is ahead if it has committed that part.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"shard-{place[0]}-", dir=context.scratch))
    space = ScratchSpace(context.settings.work.scratch_mebibytes * 2**20)
    part = OpenPart(context.settings, context.store, plan, place, folder, space, masks_provenance(local.extract))
    progress = _ExtractionProgress(context, f"extract shard {place[0]}", len(videos))
    log = _VideoLog(max(1, _TRACED_VIDEOS // plan.shards))
    pipeline = VideoPipeline(local, videos, folder, space)
    try:
        with pipeline:
            for row in pipeline.outcomes(context.stop):
                if row is not None:
                    part.add(row)
                    progress.add(row)
                    log.add(row)
                # Stuck: finished results fill the scratch space, and nothing can be fetched until a commit releases it.
                if (part.is_due() or pipeline.is_stuck()) and not _commit(context, part, pipeline):
                    return
    finally:
        # After an error too: videos that are finished are not lost to a full disk or an unreachable store of videos.
        try:
            _commit(context, part, pipeline)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _commit(context: StepContext, part: OpenPart, pipeline: VideoPipeline) -> bool:
    """Commit a part unless it is empty, and publish how long that took; false if another process is ahead."""
    if part.is_empty():
        return True
    began = time.monotonic()
    won = part.commit(pipeline.device_use())
    context.metrics.observe_stages({"commit": time.monotonic() - began})
    return won


class _VideoLog:
    """Logs videos that have ended; the first of them, and the first that have failed, have spans too."""

    def __init__(self, most_spans: int) -> None:
        """At most `most_spans` videos that have failed have spans, and as many of the others."""
        self._most_spans = most_spans
        self._count: Counter[bool] = Counter()

    def add(self, row: VideoOutcome) -> None:
        """Log one video."""
        has_failed = row.outcome in FAILED
        self._count[has_failed] += 1
        frames = {"frames_kept": row.frames_kept, "frames_rejected": sum(row.frames_rejected.values())}
        ending = {"outcome": row.outcome.value, "reason": row.reason, "seconds": row.seconds}
        log_facts(
            "video",
            {"video": row.video.id, "key": row.video.key, **ending, **frames},
            error=": ".join(filter(None, (row.outcome.value, row.reason, row.detail))) if has_failed else "",
            is_traced=self._count[has_failed] <= self._most_spans,
        )


class _ShardsProgress:
    """The progress of several shards as one; each shard that has not begun counts as many videos as the current one."""

    def __init__(self, progress: ProgressReport, shards: range) -> None:
        self._progress = progress
        self._name = f"extract shards {shards[0]}-{shards[-1]}"
        self._shards_left = len(shards)
        self._before = self._current = 0

    def update(self, step: str, done: int, total: int, facts: str) -> None:  # noqa: ARG002
        """Report the progress of the current shard as a part of that of all."""
        self._current = done
        self._progress.update(self._name, self._before + done, self._before + total * self._shards_left, facts)

    def next_shard(self) -> None:
        """The current shard has ended."""
        self._before, self._current = self._before + self._current, 0
        self._shards_left -= 1

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """Announce a stage."""
        self._progress.stage(name, number, total, estimate)

    def close(self) -> None:
        """End the report."""
        self._progress.close()


class _ExtractionProgress:
    """Counts of ended videos and sampled frames; publishes them as metrics and as a line of progress."""

    def __init__(self, context: StepContext, name: str, total: int) -> None:
        self._context = context
        self._name = name
        self._total = total
        self._began = time.monotonic()
        self._videos = self._kept = self._sampled = 0

    def add(self, row: VideoOutcome) -> None:
        """Count one more video that has ended."""
        metrics = self._context.metrics
        metrics.count_video(row.outcome.value, row.reason)
        if isinstance(row, TimedOutcome):
            metrics.observe_stages(row.stages.model_dump())
        metrics.count_frames("kept", "", row.frames_kept)
        for reason, count in row.frames_rejected.items():
            metrics.count_frames("rejected", reason, count)
        self._videos += 1
        self._kept += row.frames_kept
        self._sampled += row.frames_kept + sum(row.frames_rejected.values())
        rate = self._sampled / max(time.monotonic() - self._began, 1e-9)
        metrics.set_rate(rate)
        facts = f"{rate:.1f} frames/s, yield {self._kept}/{self._sampled}"
        self._context.progress.update(self._name, self._videos, self._total, facts)
