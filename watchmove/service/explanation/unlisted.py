"""Why the plan of a run does not list a video: what the plan recorded, and what its source says of the video."""

import gzip
import re
import zlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from pydantic import BaseModel

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.planning.sources.choice import short_name, why_not
from watchmove.service.planning.sources.folder import HIDDEN, VIDEO_SUFFIXES, is_hidden
from watchmove.service.planning.sources.listed import ListedVideo, MalformedRow, Tally
from watchmove.service.planning.sources.source import Source
from watchmove.service.records import layout
from watchmove.service.records.forgotten import ForgottenWorks, receipts_of
from watchmove.service.records.outcomes import Video
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import from_json_lines
from watchmove.service.settings.settings import PlanSettings, Settings
from watchmove.service.store.store import Store

REMOVED, MALFORMED, NEW, NO_SUFFIX = "no-longer-listed", "malformed-row", "listed-later", "no-video-suffix"
"""Why a video is not listed, besides the reasons for which a plan leaves videos out."""

_FIELD = r"""(?:^|[\s,"'/])%s(?:$|[\s,"'])"""
"""What is around a key in a row of CSV, JSON or tabs."""

_MOST_SEARCHED_BYTES = 2**28
"""Largest list that is searched: one of millions of videos takes about a minute. Set by hand."""

_SETTINGS = {
    "licence": "licences",
    "licence-unknown": "licences",
    "too-short": "min_video_seconds",
    "too-long": "max_video_seconds",
    "not-in-sample": "sample_fraction",
}
"""The setting of a plan behind each reason of `why_not`."""


def why_unlisted(store: Store, plan: PlanRecord, settings: Settings, keys: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the reason why no video with one of `keys` is listed, and a sentence about it; None if none is known.

    The lists of the plan are read first. `settings` are those of the plan: the source that they name is read too, as it
    is at the time of the call, until the video is found; a list of more than 256 MiB is not.

    Raises:
        InvalidInput: a list of the plan is damaged, or the source cannot be read.
        Unavailable: a store cannot be reached.
    """
    removed: list[Video] = _rows(store, plan, "removed", Video)
    if any(video.key in keys for video in removed):
        return REMOVED, "an earlier run extracted it, and the source of this plan does not list it"
    malformed: list[MalformedRow] = _rows(store, plan, "malformed", MalformedRow)
    for row in malformed:
        # as a field of the row: a short key may be a part of any text
        if row.where in keys or any(re.search(_FIELD % re.escape(key), row.begins) for key in keys):
            return MALFORMED, f"{row.where}: {row.why}"
    return _by_source(settings, keys) if plan.masks_from == "motion" else None


def is_forgotten(store: Store, places: Iterable[str], keys: tuple[str, ...]) -> bool:
    """Return whether one of `keys` names a forgotten work of the stores of videos at `places`, or is the id of one.

    Raises:
        InvalidInput: a receipt is damaged.
        Unavailable: the store cannot be reached.
    """
    works = [work for receipt in receipts_of(store).values() for work in receipt.works]
    forgotten = ForgottenWorks(frozenset(work.work for work in works))
    ids = {video for work in works for video in work.videos}
    return any(key in ids or any(forgotten.has(place, key) for place in places) for key in keys)


def _rows(store: Store, plan: PlanRecord, name: str, kind: type[BaseModel]) -> list:  # type: ignore[type-arg]
    """The rows of a list of a plan; runs of imported masks and of old versions have none."""
    key = layout.plan_file(plan.recipe, plan.plan, name)
    data = store.read(key)
    if data is None:
        return []
    try:
        return from_json_lines(gzip.decompress(data), kind, f"{store.uri}/{key}")
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{store.uri}/{key}: damaged ({error}); plan again under another name") from error


def _by_source(settings: Settings, keys: tuple[str, ...]) -> tuple[str, str] | None:
    source = Source(settings)
    if source.size_bytes > _MOST_SEARCHED_BYTES:
        return None
    if settings.plan.manifest:
        row = next((row for row in source.rows(Tally()) if row.key in keys), None)
        return _of_row(row, settings.plan, f"the list {settings.plan.manifest}") if row else None
    for key in keys:
        # one request: a folder of many videos is not listed again
        item = source.videos.head(key)
        if item is None:
            continue
        if PurePosixPath(key).suffix.lower() not in VIDEO_SUFFIXES:
            return NO_SUFFIX, "the file is there, and its name does not end as that of a video"
        if is_hidden(key):
            return HIDDEN, "the file is there, and hidden, or in a folder that an operating system adds"
        return _of_row(ListedVideo(key, item.size_bytes, item.etag), settings.plan, f"the folder {source.videos.uri}")
    return None


def _of_row(row: ListedVideo, settings: PlanSettings, place: str) -> tuple[str, str]:
    """The reason why a plan leaves out a row of its source, with the setting and what it is compared with."""
    reason = why_not(row, settings)
    if not reason:
        return NEW, f"{place} has it, in which it was not when the plan was made; plan again under another name"
    setting = _SETTINGS[reason]
    measured = {
        "licence": f"its licence is {short_name(row.credit)}",
        "licence-unknown": f"its licence is {row.credit.licence_url or row.credit.licence or 'not stated'}",
        "not-in-sample": "the hash of its name is outside the sample",
    }.get(reason, f"it takes {row.duration_seconds:g} s")
    value = getattr(settings, setting)
    shown = ",".join(value) if isinstance(value, tuple) else f"{value:g}"
    return reason, f"{measured}, and plan.{setting} is {shown}"
