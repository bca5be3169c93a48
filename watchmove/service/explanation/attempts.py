"""Finds the attempts at one video by the plans of its recipe, without reading the records of other shards."""

import re
from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

import numpy as np

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.explanation.listed_video import ListedVideo, find_listed
from watchmove.service.records import layout
from watchmove.service.records.attempts import Ids
from watchmove.service.records.outcomes import FAILED, ShardRecord, VideoOutcome
from watchmove.service.records.stream import in_order, read_ahead
from watchmove.service.store.store import ObjectChanged, Store

_SEARCHED_SHARDS = 32
"""Most shards of another plan whose lists are all searched; of a larger plan, the listing is read instead, which says
which list to search. Set by hand: about as many requests as a listing of a million videos takes time."""

_START_BYTES = 64
"""Bytes of a shard's list that have the id of its first video."""

_FIRST_ID = re.compile(rb'\{"id":"([0-9a-f]{16})"')


class Attempt(NamedTuple):
    """How one attempt at a video ended, and the record of the part that it is in."""

    part: ShardRecord
    row: VideoOutcome


class Planned(NamedTuple):
    """A plan that extracts the video, and the shard that it is in."""

    plan: str
    shard: int


def planned_by(store: Store, recipe: str, plan: str, listed: ListedVideo) -> list[Planned]:
    """Return where the plans of a recipe extract a video of the listing of `plan`, which comes first.

    Raises:
        InvalidInput: the list of a shard is missing.
        Unavailable: the store cannot be reached.
    """
    found = []
    shards = _shards_of_plans(store, recipe)
    for other in sorted(shards, key=lambda name: (name != plan, name)):
        before = listed.before if other == plan else None
        shard = _shard_with(store, (recipe, other, shards[other]), listed.video.id, before)
        if shard is not None:
            found.append(Planned(other, shard))
    return found


def attempts_at(store: Store, recipe: str, planned: list[Planned], video_id: str) -> list[Attempt]:
    """Return all attempts at a video by the shards that it is in, in the order of time."""
    attempts = []
    for plan, shard in planned:
        keys = [item.key for item in store.list(layout.shard_parts(recipe, plan, shard)) if item.key.endswith(".json")]
        for _, part in read_ahead(store, keys, ShardRecord):
            attempts += [Attempt(part, row) for row in part.videos if row.video.id == video_id]
    return sorted(attempts, key=lambda attempt: attempt.part.made_by.written_at_unix_seconds)


def counting(attempts: list[Attempt]) -> Attempt | None:
    """Return the attempt that counts, by the rule of `records/attempts.py`, or None if there is none."""
    # the last of equal ones, as max would return the first
    return max(
        reversed(attempts),
        key=lambda attempt: (attempt.row.outcome not in FAILED, attempt.part.made_by.written_at_unix_seconds),
        default=None,
    )


def _shards_of_plans(store: Store, recipe: str) -> Counter[str]:
    """The number of shards of each plan of a recipe."""
    prefix = layout.plans(recipe)
    names = (item.key.removeprefix(prefix).split("/") for item in store.list(prefix))
    return Counter(name[0] for name in names if re.fullmatch(r"[0-9]{5,}\.json", name[-1]))


def _shard_with(store: Store, plan: tuple[str, str, int], video_id: str, before: Ids | None) -> int | None:
    """The shard of a plan (recipe, plan, number of shards) whose list has a video, None if it is in none.

    `before` has the numbers of the listed videos up to this one, if they are known.
    """
    recipe, name, shards = plan
    if before is None and shards > _SEARCHED_SHARDS:
        listed = find_listed(store, recipe, name, video_id)
        if not isinstance(listed, ListedVideo):
            return None
        before = listed.before
    # shards are in the order of the listing: of those that begin at the video or before, the last may have it
    candidates = range(shards)
    if before is not None:
        end = bisect_left(candidates, 1, key=lambda shard: int(_first(store, recipe, name, shard) not in before))
        candidates = candidates[max(end - 1, 0) : end]
    wanted = b'{"id":"' + video_id.encode() + b'"'
    lists = in_order(lambda shard: (shard, store.read(layout.shard_list(recipe, name, shard)) or b""), candidates)
    return next((shard for shard, lines in lists if wanted in lines), None)


def _first(store: Store, recipe: str, plan: str, shard: int) -> np.uint64:
    """The number of the first video in the list of a shard."""
    key = layout.shard_list(recipe, plan, shard)
    item = store.head(key)
    try:
        start = store.read_range(item, 0, min(item.size_bytes, _START_BYTES)) if item else b""
    except ObjectChanged:
        start = b""
    found = _FIRST_ID.match(start)
    if found is None:
        raise InvalidInput(f"{store.uri}/{key}: not there, or not a list of videos; plan again under another name")
    return np.uint64(int(found[1], 16))
