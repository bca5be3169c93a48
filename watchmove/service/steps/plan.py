"""Plan: find the videos that are new under these settings, and divide them into shards."""

import gzip
from array import array
from collections.abc import Iterator, Sequence
from itertools import compress, islice
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.extraction.recipe import recipe_of, with_local_weights
from watchmove.service.planning.sharding import Load, shard_sizes
from watchmove.service.planning.sources.chosen import Chosen
from watchmove.service.planning.sources.listed import Tally
from watchmove.service.planning.sources.source import Source
from watchmove.service.records import layout
from watchmove.service.records.attempts import Ids, ids_of, number_of
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.listing import listed_ids, listing_lines
from watchmove.service.records.outcomes import Video
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin, commit, find, json_lines, need, origin
from watchmove.service.records.stream import shard_records
from watchmove.service.runner.events import log_step
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import PlanSettings, Settings, settings_hash
from watchmove.service.store.store import Store

_LOGGED_ROWS = 3
"""Malformed rows that the log shows; the store keeps them all. Set by hand; not tuned."""


@log_step
def plan(context: StepContext, run: str) -> PlanRecord:
    """List the videos, leave out those that have ended, and divide the rest into shards; a run keeps its plan.

    Raises:
        InvalidInput: the settings' list cannot be read, or it leaves no video.
        Unavailable: a store cannot be reached.
    """
    key = layout.run_record(run, "plan")
    known = find(context.store, key, PlanRecord)
    if known is not None:
        return known
    record = _write_plan(context)
    # If two processes plan one run at once, the first commit decides: the list may have grown between them.
    return record if commit(context.store, key, record).new else need(context.store, key, PlanRecord, "plan")


def is_current(context: StepContext, record: PlanRecord) -> bool:
    """Return whether planning with these settings would list the videos of an earlier plan, for the same recipe.

    Raises the errors of `plan`.
    """
    if recipe_of(with_local_weights(context.settings, context.scratch)) != record.recipe:
        return False
    source = Source(context.settings)
    chosen = _chosen(context, source, origin(context.settings, source.inputs))
    return np.array_equal(ids_of(chosen.numbers), listed_ids(context.store, record))


def _chosen(context: StepContext, source: Source, made_by: Origin) -> Chosen:
    """Read the source to its end, and write the listing of its videos to the scratch folder."""
    path = context.scratch / "listing.json.gz"
    forgotten = forgotten_works(context.store)

    def shown(keys: int) -> None:
        context.check_stop()
        if keys:
            # One more is expected, as how many there are is known at the end only.
            context.progress.update("plan", keys, keys + 1, "videos read")

    return Chosen(source, context.settings.plan, forgotten, made_by, path, shown)


def _write_plan(context: StepContext) -> PlanRecord:
    """Write the lists of a plan, and return its record, which is not written yet."""
    recipe = recipe_of(with_local_weights(context.settings, context.scratch))
    source = Source(context.settings)
    made_by = origin(context.settings, source.inputs)
    chosen = _chosen(context, source, made_by)
    if not chosen.numbers:
        raise InvalidInput(_no_video_message(context.settings, chosen))
    done = _ended_ids(context.store, recipe)
    numbers = np.array(chosen.numbers)
    new = np.isin(numbers, done, invert=True)
    # Videos that the settings exclude are still listed, so they do not count as removed.
    unlisted = np.setdiff1d(done, np.concatenate([numbers, np.array(chosen.passed)]))
    removed_path = context.scratch / "removed.json.gz"
    unlisted_videos = _ended_videos(context.store, recipe, context.settings.videos, unlisted)
    removed, changed = _write_removed(removed_path, unlisted_videos, chosen, new)
    sizes = _shard_sizes(context.settings.plan, chosen, new)
    # Shards hold new videos only, so the id depends on which are new; a bit for each keeps the hashed text short.
    plan_id = settings_hash(recipe, chosen.digest, sizes, np.packbits(new).tobytes().hex())
    # The record is committed last, so a planning that is killed leaves only files that the next one writes again.
    _write_shards(context, recipe, plan_id, compress(listing_lines(chosen.path), new.tolist()), sizes)
    context.store.upload(layout.plan_file(recipe, plan_id, "removed"), removed_path)
    _write_malformed(context.store, layout.plan_file(recipe, plan_id, "malformed"), chosen.tally)
    context.store.upload(layout.listing(recipe, plan_id), chosen.path)
    context.progress.update("plan", len(chosen.keys), len(chosen.keys), f"videos read, {int(new.sum()):,} new")
    return PlanRecord(
        made_by=made_by.model_copy(update={"inputs": {**source.inputs, context.settings.videos: plan_id}}),
        recipe=recipe,
        plan=plan_id,
        shards=len(sizes),
        videos_listed=len(numbers),
        videos_new=int(new.sum()),
        videos_changed=changed,
        videos_removed=removed,
        files_ignored=chosen.tally.files_ignored,
        rows_malformed=chosen.tally.rows_malformed,
        filtered=dict(sorted(chosen.tally.filtered.items())),
        expected_seconds=round(float(np.array(chosen.seconds)[new].sum()), 1),
    )


def _write_malformed(store: Store, key: str, tally: Tally) -> None:
    """Write all malformed rows to the store, and the first ones to the log."""
    store.write(key, gzip.compress(json_lines(tally.malformed), mtime=0))  # no time: the same rows give the same bytes
    if tally.malformed:
        first = [f"{row.where}: {row.why}" for row in tally.malformed[:_LOGGED_ROWS]]
        structlog.get_logger().warning("malformed rows", count=tally.rows_malformed, first=first, more=key)


def _no_video_message(settings: Settings, chosen: Chosen) -> str:
    """The error message for a list that leaves no video."""
    passed_over = chosen.tally.text() or "nothing at all"
    if settings.plan.manifest:
        look = f"{chosen.tally.first()}; look at the list and at `plan`"
        return f"manifest {settings.plan.manifest}: no video left ({passed_over}){look}"
    wanted = "name a folder with videos, such as .mp4, .mov, .avi, .mkv or .webm files"
    return f"videos {settings.videos}: no video there ({passed_over}); {wanted}"


def _ended_ids(store: Store, recipe: str) -> Ids:
    """Ids of the videos that have ended in any run of a recipe, uint64 (M,), sorted."""
    numbers = array("Q")
    for key, record in shard_records(store, recipe):
        numbers.extend(number_of(row.video.id, key) for row in record.videos)
    return ids_of(numbers)


def _ended_videos(store: Store, recipe: str, place: str, ids: Ids) -> Iterator[Video]:
    """Ended videos of a place, as in `settings.videos`, that have one of `ids`; one that ended twice may come twice.

    The records are read a second time, because `ids` is usually empty and keeping every ended video would take
    much memory.
    """
    wanted = set(ids.tolist())
    for _, record in shard_records(store, recipe) if wanted else ():
        # A recipe does not depend on the place of the videos, so its records may be of other places too.
        if record.made_by.settings.get("videos") == place:
            yield from (row.video for row in record.videos if int(row.video.id, 16) in wanted)


def _write_removed(path: Path, unlisted: Iterator[Video], chosen: Chosen, new: NDArray[np.bool_]) -> tuple[int, int]:
    """Write a line for each video with a key that is no longer listed.

    Returns the number of those videos, and of the keys that are listed with a new version of their video.
    """
    removed: set[str] = set()
    changed: set[str] = set()
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        for video in unlisted:
            row = chosen.keys.get(video.key)
            # A row of -1 is a key that is listed and excluded by the settings: neither removed nor changed.
            if row is None and video.id not in removed:
                file.write(json_lines([video]))
                removed.add(video.id)
            # Once the new version has ended, it is no longer counted as changed.
            elif row is not None and row >= 0 and new[row]:
                changed.add(video.key)
    return len(removed), len(changed)


def _shard_sizes(settings: PlanSettings, chosen: Chosen, new: NDArray[np.bool_]) -> list[int]:
    """Numbers of consecutive new videos in each shard."""
    loads = (Load(*load) for load in zip(chosen.size_bytes, chosen.seconds, strict=True))
    return shard_sizes(compress(loads, new.tolist()), settings)


def _write_shards(
    context: StepContext, recipe: str, plan_id: str, lines: Iterator[bytes], sizes: Sequence[int]
) -> None:
    """Write the lists of all shards, with memory that does not depend on their number."""

    def lists() -> Iterator[tuple[str, bytes]]:
        for shard, size in enumerate(sizes):
            context.check_stop()
            yield layout.shard_list(recipe, plan_id, shard), b"".join(islice(lines, size))

    context.store.write_all(lists())
