"""Plan: which videos are new under these settings, dealt into shards."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from pipeline.errors import InvalidInput
from service import layout
from service.outcomes import ShardRecord, Video, video_id
from service.records import Record, commit, find, json_lines, origin
from service.runner import StepContext
from service.settings import PlanSettings, Settings, settings_hash
from service.store import Store, open_store

EXTRACTION_VERSION = 1
"""Raised when the same settings would give other masks, so that old frames are not taken for new ones."""

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)


class PlanRecord(Record):
    """What a run extracts. `shards` counts the shards of videos that no earlier run has finished."""

    recipe: str
    plan: str
    shards: int
    videos_listed: int
    videos_new: int
    files_ignored: int


class Listing(Record):
    """Every video a plan saw."""

    uri: str
    videos: tuple[Video, ...]


def recipe_of(settings: Settings) -> str:
    """What decides a video's masks beside the video: extraction's settings and the version of its code."""
    return settings_hash(settings.extract, EXTRACTION_VERSION)


def plan(context: StepContext, run: str) -> PlanRecord:
    """List the videos, leave out what is done, deal the rest into shards; a run that has a plan keeps it.

    Raises:
        InvalidInput: there is no video at the settings' `videos`.
        Unavailable: a store cannot be reached.
    """
    key = layout.run_record(run, "plan")
    known = find(context.store, key, PlanRecord)
    if known is not None:
        return known
    videos, ignored = list_videos(context.settings.videos)
    recipe = recipe_of(context.settings)
    done = {row.video.id for record in shard_records(context.store, recipe) for row in record.videos}
    new = [video for video in videos if video.id not in done]
    shards = deal(new, context.settings.plan)
    plan_id = settings_hash(recipe, [video.id for video in videos], [[video.id for video in s] for s in shards])
    for index, shard in enumerate(shards):
        context.store.write(layout.shard_list(recipe, plan_id, index), json_lines(shard))
    made_by = origin(context.settings, {context.settings.videos: plan_id})
    listing = Listing(made_by=made_by, uri=context.settings.videos, videos=tuple(videos))
    commit(context.store, layout.listing(recipe, plan_id), listing)
    record = PlanRecord(
        made_by=made_by,
        recipe=recipe,
        plan=plan_id,
        shards=len(shards),
        videos_listed=len(videos),
        videos_new=len(new),
        files_ignored=ignored,
    )
    commit(context.store, key, record)
    return record


def list_videos(uri: str) -> tuple[list[Video], int]:
    """Videos below a URI in the order of their keys, and how many other files lie there.

    Raises:
        InvalidInput: there is none.
    """
    videos, ignored = [], 0
    store = open_store(uri)
    for item in store.list():
        if PurePosixPath(item.key).suffix.lower() in VIDEO_SUFFIXES:
            identity = video_id(store.uri, item.key, item.etag)
            videos.append(Video(id=identity, key=item.key, etag=item.etag, size_bytes=item.size_bytes))
        else:
            ignored += 1
    if not videos:
        known = " ".join(sorted(VIDEO_SUFFIXES))
        raise InvalidInput(f"videos {uri}: no video there ({ignored} other files); name a folder with files in {known}")
    return videos, ignored


def shard_records(store: Store, recipe: str) -> Iterator[ShardRecord]:
    """Every committed shard of a recipe, in the order of their keys."""
    for item in store.list(layout.shard_records(recipe)):
        if item.key.endswith(".json"):
            record = find(store, item.key, ShardRecord)
            if record is not None:
                yield record


def deal(videos: Sequence[Video], settings: PlanSettings) -> list[list[Video]]:
    """Videos in order, cut into shards where the next would make one too many or too large."""
    shards: list[list[Video]] = []
    room = 0
    for video in videos:
        if not shards or len(shards[-1]) >= settings.max_shard_videos or video.size_bytes > room:
            shards.append([])
            room = settings.max_shard_mebibytes * 2**20
        shards[-1].append(video)
        room -= video.size_bytes
    return shards
