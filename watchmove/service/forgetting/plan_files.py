"""Takes works out of the lists of plans, and corrects the counts of the plans' records."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.forgetting.target import Change, Target, edited, keys_of
from watchmove.service.planning.sources.listed import MalformedRow
from watchmove.service.records import layout
from watchmove.service.records.forgotten import Removal, place_of
from watchmove.service.records.listing import listing_rows
from watchmove.service.records.outcomes import Video
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import from_json_lines
from watchmove.service.records.stream import read_ahead
from watchmove.service.store.store import Store
from watchmove.service.store.text_stream import lines, text_of

_LISTING, _REMOVED, _MALFORMED = "listing.json.gz", "removed.json.gz", "malformed.json.gz"


@dataclass
class PlanFiles:
    """The names of the files of one plan, and the keys of the records of the runs that have it."""

    recipe: str
    plan: str
    names: set[str] = field(default_factory=set)
    records: dict[str, PlanRecord] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """The key of a file of the plan."""
        return layout.plan_file(self.recipe, self.plan, "").removesuffix(".json.gz") + name

    @property
    def shard_lists(self) -> list[str]:
        """The names of the lists of shards, in order."""
        return sorted(name for name in self.names if name.removesuffix(".json").isdigit())

    def listed(self, store: Store) -> Iterator[tuple[bytes, str, Video]]:
        """Yield line, place and video of each row of the listing; nothing for a plan that was never finished."""
        if _LISTING in self.names:
            for line, head, video in listing_rows(store, self.recipe, self.plan):
                yield line, place_of(head.uri), video

    def places(self) -> set[str]:
        """The places of videos that the records of the runs name."""
        return {place_of(record.made_by.settings.get("videos", "")) for record in self.records.values()}


def plan_files(store: Store) -> dict[tuple[str, str], PlanFiles]:
    """The files of all plans of a store, by recipe and plan.

    Raises:
        InvalidInput: the record of a plan is damaged.
        Unavailable: the store cannot be reached.
    """
    found: dict[tuple[str, str], PlanFiles] = {}
    for key in keys_of(store, layout.all_extractions()):
        _, recipe, folder, *rest = key.split("/")
        if folder == "plans" and len(rest) == 2:
            plan, name = rest
            found.setdefault((recipe, plan), PlanFiles(recipe, plan)).names.add(name)
    for key, record in read_ahead(store, keys_of(store, layout.all_runs(), "/plan.json"), PlanRecord):
        if (record.recipe, record.plan) in found:
            found[record.recipe, record.plan].records[key] = record
    return found


def malformed_changes(store: Store, target: Target) -> Iterator[Change]:
    """Yield the changes of lists of malformed rows: those that have a name of a work in their text are removed.

    These rows are found by names, which other records have until they are changed.
    """
    for files in plan_files(store).values():
        if _MALFORMED in files.names and target.words:
            key = files.key(_MALFORMED)
            yield from _shorter(store, key, partial(_names_a_work, target, f"{store.uri}/{key}"))


def plan_changes(store: Store, target: Target, scratch: Path) -> Iterator[Change]:
    """Yield the changes of the lists of videos, and before those of a plan that of its records.

    The counts of the records are those of the new lists, and a list is what shows that its plan is to be changed.
    """
    for files in plan_files(store).values():
        listed = _counted(target.has(place, video) for _, place, video in files.listed(store))
        tests = {name: _test_of(store, files, name, target) for name in (*files.shard_lists, _REMOVED)}
        planned = Counter[bool]()
        for name in files.shard_lists:
            planned += _counted(map(tests[name], _lines(store, files.key(name))))
        if listed[True] or planned[True]:
            counts = {"videos_listed": listed[False], "videos_new": planned[False]}
            for key in files.records:
                change = partial(edited, store, key, partial(_set, counts))
                yield Change(change, Removal(key=key, what="rewritten"))
        for name, test in tests.items():
            if name in files.names:
                yield from _shorter(store, files.key(name), test)
        if listed[True]:
            change = partial(_write_listing, store, files, target, scratch / "listing.json.gz")
            yield Change(change, Removal(key=files.key(_LISTING), what="rewritten", entries=listed[True]))


def _set(counts: Mapping[str, int], record: dict[str, Any]) -> None:
    record.update(counts)


def _counted(gone: Iterable[bool]) -> Counter[bool]:
    """How many are gone (True) and how many stay (False)."""
    return Counter(gone)


def _test_of(store: Store, files: PlanFiles, name: str, target: Target) -> Callable[[bytes], bool]:
    """A function of a line of a list that returns whether its video is to be forgotten."""
    where = f"{store.uri}/{files.key(name)}"
    # Lists of a plan that was never finished do not say what place they are of.
    places = files.places() or target.places

    def is_gone(line: bytes) -> bool:
        return any(target.has(place, video) for video in from_json_lines(line, Video, where) for place in places)

    return is_gone


def _names_a_work(target: Target, where: str, line: bytes) -> bool:
    return any(
        word in text
        for row in from_json_lines(line, MalformedRow, where)
        for text in (row.begins, row.why)
        for word in target.words
    )


def _shorter(store: Store, key: str, is_gone: Callable[[bytes], bool]) -> Iterator[Change]:
    """Yield the change of a list of JSON lines that has lines to be taken out."""
    gone = _counted(map(is_gone, _lines(store, key)))[True]

    def apply() -> None:
        data = b"".join(line + b"\n" for line in _lines(store, key) if not is_gone(line))
        # without a time, so that the same rows give the same bytes
        store.write(key, gzip.compress(data, mtime=0) if key.endswith(".gz") else data)

    if gone:
        yield Change(apply, Removal(key=key, what="rewritten", entries=gone))


def _write_listing(store: Store, files: PlanFiles, target: Target, path: Path) -> None:
    """Write the listing of a plan again, without the works."""
    key = files.key(_LISTING)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        packed.write(next(_lines(store, key)) + b"\n")  # what made the list
        for line, place, video in files.listed(store):
            if not target.has(place, video):
                packed.write(line + b"\n")
    store.upload(key, path)
    path.unlink()


def _lines(store: Store, key: str) -> Iterator[bytes]:
    """Yield the lines of a list. Raises InvalidInput if it is absent or damaged."""
    item = store.head(key)
    if item is None:
        raise InvalidInput(f"{store.uri}/{key}: removed since the command began; run it again")
    yield from (line for line in lines(text_of(store, item), f"{store.uri}/{key}") if line)
