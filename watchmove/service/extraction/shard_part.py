"""A part of a shard: the frames of finished videos in one tar file, committed by a record that is created last."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.dataset.shard import Sample, read_shard, write_shard
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.extraction.child import AUDIT, FRAME_VERDICTS, KEPT, STAGES_OF_A_FRAME
from watchmove.service.extraction.fetcher import ScratchSpace
from watchmove.service.extraction.worker import folder_bytes
from watchmove.service.records import layout
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.frame_verdicts import VERDICTS
from watchmove.service.records.outcomes import (
    FAILED,
    NO_DEVICE,
    STAGES_TAR,
    DeviceUse,
    ShardRecord,
    ShownStages,
    VideoOutcome,
)
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin, commit, find, origin
from watchmove.service.records.shard_index import index_bytes, index_key
from watchmove.service.runner.events import log_event
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store

_AUDIT_FRAMES_PER_REASON = 8
"""Rejected frames of each reason that a part keeps for inspection. Set by hand; not tuned."""


class OpenPart:
    """Outcomes that are not yet committed, with their frames in `folder`; parts are committed in order.

    A process that commits part N has read all earlier parts, so no two parts of a shard hold the same video.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        plan: PlanRecord,
        place: tuple[int, int],
        folder: Path,
        space: ScratchSpace,
        provenance: Mapping[str, str],
    ) -> None:
        """`place` is (shard, first part); `provenance` names the inputs of the masks other than the videos."""
        self._settings = settings
        self._store = store
        self._plan = plan
        self._shard, self._number = place
        self._folder = folder
        self._space = space
        self._provenance = provenance
        self._rows: list[VideoOutcome] = []
        self._result_bytes = 0
        self._began = time.monotonic()
        self._device = NO_DEVICE

    def add(self, row: VideoOutcome) -> None:
        """Add the outcome of a finished video."""
        size = 2 * folder_bytes(self._folder / row.video.id)  # once in its folder and once in the tar file
        self._rows.append(row)
        self._result_bytes += size
        self._space.add(size)

    def is_empty(self) -> bool:
        """Whether no outcome has been added since the last commit."""
        return not self._rows

    def is_due(self) -> bool:
        """Whether to commit now: the interval has passed, or results fill more than half of the scratch space."""
        seconds = time.monotonic() - self._began
        in_time = seconds < self._settings.work.commit_every_seconds
        # the other half stays free, so that fetches can continue until the commit
        return bool(self._rows) and (not in_time or 2 * self._result_bytes > self._space.limit_bytes)

    def commit(self, device: DeviceUse) -> bool:
        """Commit all added outcomes; false if another process committed this part and these are discarded.

        Works that were forgotten since they were planned are not committed.

        `device` is the use of the device since the extraction began.
        """
        if not self._rows:
            return True
        # by key: the bytes of the tar must not depend on which video was finished first
        rows = sorted(self._remembered(), key=lambda row: row.video.key)
        cost = _Cost(round(time.monotonic() - self._began, 3), device.since(self._device))
        place = (self._shard, self._number)
        inputs = {f"{self._settings.videos}/{row.video.key}": row.video.etag for row in rows}
        made_by = origin(self._settings, inputs | dict(self._provenance))
        won = not rows or _commit(self._store, self._plan, place, rows, self._folder, cost, made_by)
        self._device = device
        for row in self._rows:
            shutil.rmtree(self._folder / row.video.id, ignore_errors=True)
        self._space.add(-self._result_bytes)
        self._rows, self._result_bytes, self._began = [], 0, time.monotonic()
        self._number += bool(rows)  # parts are numbered without gaps
        return won

    def _remembered(self) -> list[VideoOutcome]:
        """The added outcomes of works that are not forgotten."""
        forgotten = forgotten_works(self._store)
        return [row for row in self._rows if not forgotten.has(self._settings.videos, row.video.key)]


class _Cost(NamedTuple):
    """Wall-clock seconds of a part, and the use of the device in them."""

    seconds: float
    device: DeviceUse


def _commit(
    store: Store,
    plan: PlanRecord,
    place: tuple[int, int],
    rows: Sequence[VideoOutcome],
    folder: Path,
    cost: _Cost,
    made_by: Origin,
) -> bool:
    """Upload the frames under names derived from their content, then create the record; false if it already exists."""
    shard, part = place
    stem = layout.shard_part(plan.recipe, plan.plan, shard, part)
    data, audit = folder / "data.tar", folder / "audit.tar"
    # a failed video may have left frames, which are never committed
    read = [folder / row.video.id for row in rows if row.outcome not in FAILED]
    write_shard(data, chain.from_iterable(_samples(results / KEPT) for results in read))
    write_shard(audit, _thinned(chain.from_iterable(_samples(results / AUDIT) for results in read)))
    digest, audit_digest = file_sha256(data), file_sha256(audit)
    # of two processes that extract this part, the loser must not overwrite the winner's files with other bytes
    data_key, audit_key = layout.with_digest(stem, digest, ".tar"), layout.with_digest(stem, audit_digest, ".audit.tar")
    store.upload(data_key, data)
    store.upload(audit_key, audit)
    store.write(index_key(data_key), index_bytes(data))
    stages = _shown_stages(store, stem, read, folder / "stages.tar")
    verdicts, rows = _joined_verdicts(rows, folder)
    verdicts_key = layout.with_digest(stem, sha256(verdicts).hexdigest(), VERDICTS) if verdicts else ""
    if verdicts:
        store.write(verdicts_key, verdicts)
    record = ShardRecord(
        made_by=made_by,
        plan=plan.plan,
        shard=shard,
        part=part,
        data_key=data_key,
        data_sha256=digest,
        data_bytes=data.stat().st_size,
        index_key=index_key(data_key),
        audit_key=audit_key,
        verdicts_key=verdicts_key,
        stages=stages,
        seconds=cost.seconds,
        device=cost.device,
        videos=tuple(rows),
    )
    won = commit(store, f"{stem}.json", record).new
    if won:
        frames_kept = sum(row.frames_kept for row in rows)
        facts = {"data_bytes": record.data_bytes, "seconds": record.seconds}
        log_event("part", key=f"{stem}.json", part=part, videos=len(rows), frames_kept=frames_kept, **facts)
    return won


def _shown_stages(store: Store, stem: str, read: Sequence[Path], tar: Path) -> ShownStages | None:
    """Upload the stages of the most confident of all frames, the first of equals, and return its place, if any."""
    samples = chain.from_iterable(_samples(results / STAGES_OF_A_FRAME) for results in read)
    best = max(samples, key=_confidence, default=None)
    if best is None:
        return None
    write_shard(tar, [best])
    key = layout.with_digest(stem, file_sha256(tar), STAGES_TAR)
    store.upload(key, tar)
    return ShownStages(key=key, video=str(best.metadata["video_id"]), confidence=_confidence(best))


def _confidence(sample: Sample) -> float:
    value = sample.metadata.get("confidence")
    return float(value) if isinstance(value, int | float) else 0.0


def _joined_verdicts(rows: Sequence[VideoOutcome], folder: Path) -> tuple[bytes, list[VideoOutcome]]:
    """The verdicts on the frames of all videos one after the other, and the rows with the place of each in them."""
    joined, placed = bytearray(), []
    for row in rows:
        path = folder / row.video.id / FRAME_VERDICTS
        # an imported image has no verdict on its frame, and a failed video may have left some
        found = path.read_bytes() if row.outcome not in FAILED and path.is_file() else b""
        placed.append(row.model_copy(update={"verdicts": (len(joined), len(found))}) if found else row)
        joined += found
    return bytes(joined), placed


def _samples(path: Path) -> Iterator[Sample]:
    if path.is_file():
        yield from read_shard(path)


def _thinned(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Yield the first rejected frames of each reason, as many as a part keeps for inspection."""
    seen: Counter[object] = Counter()
    for sample in samples:
        reason = sample.metadata.get("reject_reason")
        seen[reason] += 1
        if seen[reason] <= _AUDIT_FRAMES_PER_REASON:
            yield sample


def committed_parts(store: Store, plan: PlanRecord, shard: int) -> Iterator[ShardRecord]:
    """Yield the records of the committed parts of a shard, in the order of their keys."""
    for item in store.list(layout.shard_parts(plan.recipe, plan.plan, shard)):
        if item.key.endswith(".json"):
            record = find(store, item.key, ShardRecord)
            if record is not None:
                yield record
