"""Extract: the videos of one shard to soft masks of what moved, committed in parts."""

import hashlib
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path, PurePosixPath

from pipeline.errors import InvalidInput
from pipeline.tar_dataset import Sample, read_shard, write_shard
from service import layout
from service.outcomes import ShardRecord, Video, VideoOutcome
from service.records import commit, find, from_json_lines, need, origin
from service.runner import StepContext
from service.settings import worker_count
from service.shard_index import index_bytes, index_key
from service.steps.plan import PlanRecord
from service.store import Store, open_store
from service.video_worker import AUDIT, KEPT, Limits, VideoJob, VideoWorkers

_POLL_SECONDS = 0.5


def extract(context: StepContext, run: str, shard: int) -> tuple[VideoOutcome, ...]:
    """Extract what is left of a shard and commit it; a shard that is finished costs one listing.

    Told to stop, it commits the videos that are finished and raises Stopped.

    Raises:
        InvalidInput: the run has no such shard.
        Unavailable: a store cannot be reached or the disk is full; finished videos are committed first.
    """
    plan = need(context.store, layout.run_record(run, "plan"), PlanRecord, "plan")
    if not 0 <= shard < plan.shards:
        raise InvalidInput(f"shard {shard}: run {run} has {plan.shards} shards, counted from 0; name one of them")
    key = layout.shard_list(plan.recipe, plan.plan, shard)
    listed: list[Video] = from_json_lines(context.store.read(key) or b"", Video, f"{context.store.uri}/{key}")
    while True:
        parts = list(_parts(context.store, plan, shard))
        done = {row.video.id for part in parts for row in part.videos}
        left = [video for video in listed if video.id not in done]
        if not left:
            return tuple(row for part in parts for row in part.videos)
        _extract_part(context, plan, shard, len(parts), left)
        context.check_stop()


def _parts(store: Store, plan: PlanRecord, shard: int) -> Iterator[ShardRecord]:
    for item in store.list(layout.shard_parts(plan.recipe, plan.plan, shard)):
        if item.key.endswith(".json"):
            record = find(store, item.key, ShardRecord)
            if record is not None:
                yield record


def _extract_part(context: StepContext, plan: PlanRecord, shard: int, part: int, videos: Sequence[Video]) -> None:
    """Extract until all is done, it is time to commit, or the process is told to stop; then commit what is finished."""
    began = time.monotonic()
    folder = context.scratch / f"shard-{shard}-{part}"
    finished: dict[str, VideoOutcome] = {}
    try:
        for outcome in _outcomes(context, videos, folder):
            finished[outcome.video.id] = outcome
            _tell(context, shard, list(finished.values()), len(videos), time.monotonic() - began)
    finally:
        rows = [finished[video.id] for video in videos if video.id in finished]
        if rows:
            _commit_part(context, plan, (shard, part), rows, folder, time.monotonic() - began)
        shutil.rmtree(folder, ignore_errors=True)


def _outcomes(context: StepContext, videos: Sequence[Video], folder: Path) -> Iterator[VideoOutcome]:
    """Outcomes as they come, the next videos being fetched while the current ones are computed."""
    settings = context.settings
    count = worker_count(settings)
    limits = Limits(settings.work.video_timeout_seconds, settings.work.video_memory_mebibytes)
    deadline = time.monotonic() + settings.work.commit_every_seconds
    waiting = deque(videos)
    fetched: deque[Future[VideoJob]] = deque()
    source = open_store(settings.videos)
    with ThreadPoolExecutor(count) as fetchers, VideoWorkers(settings.extract, count, limits) as workers:
        try:
            while not context.stop.is_set():
                in_time = time.monotonic() < deadline
                while in_time and waiting and len(fetched) < count:
                    fetched.append(fetchers.submit(_fetch, source, waiting.popleft(), folder))
                while in_time and fetched and workers.has_room():
                    workers.start(fetched.popleft().result())
                if workers.is_idle():
                    return
                for job, outcome in workers.finished(_POLL_SECONDS):
                    if context.stop.is_set():
                        return  # whoever stops us may have stopped the child too: its verdict is not the video's
                    _drop_fetched(job, folder)
                    yield outcome
        finally:
            fetchers.shutdown(wait=True, cancel_futures=True)


def _fetch(source: Store, video: Video, folder: Path) -> VideoJob:
    """Bring one video near. Its local name is its id: keys from outside never become local paths."""
    results = folder / video.id
    results.mkdir(parents=True, exist_ok=True)
    target = folder / f"{video.id}{PurePosixPath(video.key).suffix.lower()}"
    return VideoJob(video, source.local(video.key, target), results)


def _drop_fetched(job: VideoJob, folder: Path) -> None:
    if job.path is not None and job.path.is_relative_to(folder):
        job.path.unlink(missing_ok=True)


def _tell(context: StepContext, shard: int, rows: Sequence[VideoOutcome], total: int, seconds: float) -> None:
    """Metrics and progress after one more video."""
    latest = rows[-1]
    context.metrics.count_video(latest.outcome.value, latest.reason)
    context.metrics.count_frames("kept", "", latest.frames_kept)
    for reason, count in latest.frames_rejected.items():
        context.metrics.count_frames("rejected", reason, count)
    kept = sum(row.frames_kept for row in rows)
    sampled = kept + sum(sum(row.frames_rejected.values()) for row in rows)
    rate = sampled / max(seconds, 1e-9)
    context.metrics.set_rate(rate)
    facts = f"{rate:.1f} frames/s, yield {kept}/{sampled}"
    context.progress.update(f"extract shard {shard}", len(rows), total, facts)


def _commit_part(
    context: StepContext,
    plan: PlanRecord,
    place: tuple[int, int],
    rows: Sequence[VideoOutcome],
    folder: Path,
    seconds: float,
) -> None:
    """Upload the frames under a name made of their content, then create the record; the second of two writers loses."""
    shard, part = place
    stem = layout.shard_part(plan.recipe, plan.plan, shard, part)
    data, audit = folder / "data.tar", folder / AUDIT
    write_shard(data, chain.from_iterable(_samples(folder / row.video.id / KEPT) for row in rows))
    write_shard(audit, _thinned(chain.from_iterable(_samples(folder / row.video.id / AUDIT) for row in rows)))
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    data_key, audit_key = f"{stem}-{digest[:12]}.tar", f"{stem}-{digest[:12]}.audit.tar"
    context.store.upload(data_key, data)
    context.store.upload(audit_key, audit)
    context.store.write(index_key(data_key), index_bytes(data))
    inputs = {f"{context.settings.videos}/{row.video.key}": row.video.etag for row in rows}
    record = ShardRecord(
        made_by=origin(context.settings, inputs),
        plan=plan.plan,
        shard=shard,
        part=part,
        data_key=data_key,
        data_sha256=digest,
        data_bytes=data.stat().st_size,
        index_key=index_key(data_key),
        audit_key=audit_key,
        seconds=round(seconds, 3),
        videos=tuple(rows),
    )
    commit(context.store, f"{stem}.json", record)


def _samples(path: Path) -> Iterator[Sample]:
    if path.is_file():
        yield from read_shard(path)


def _thinned(samples: Iterator[Sample], per_reason: int = 8) -> Iterator[Sample]:
    """A few rejected frames of each reason are enough to look at."""
    seen: Counter[object] = Counter()
    for sample in samples:
        reason = sample.metadata.get("reject_reason")
        seen[reason] += 1
        if seen[reason] <= per_reason:
            yield sample
