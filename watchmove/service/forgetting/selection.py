"""Finds works in the records of a store by their name, owner or licence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.text_lines import from_visible
from watchmove.service.forgetting.plan_files import plan_files
from watchmove.service.forgetting.target import Target, keys_of
from watchmove.service.planning.sources.choice import short_name
from watchmove.service.records import layout
from watchmove.service.records.attribution import UNKNOWN_LICENCE, one_line
from watchmove.service.records.forgotten import (
    ForgetRecord,
    ForgottenWork,
    ForgottenWorks,
    SelectorKind,
    place_of,
    sha256_of,
    work_hash,
)
from watchmove.service.records.outcomes import ShardRecord, Video
from watchmove.service.records.stream import read_ahead
from watchmove.service.store.store import Store


@dataclass(frozen=True)
class Selector:
    """Which works a request forgets: `values` are keys or URIs of videos, or one owner's or licence's name."""

    kind: SelectorKind
    values: tuple[str, ...]

    def hashes(self) -> tuple[str, ...]:
        """The SHA-256 of each value with the kind, by which the same request is recognised."""
        return tuple(sorted(sha256_of(f"{self.kind}\n{value}") for value in self.values))


@dataclass
class _Found:
    """The versions of the selected works by the hashes of their URIs, and what else the records say."""

    works: dict[str, set[str]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)


def selector_of(videos: list[str], owner: str, licence: str) -> Selector:
    """The selector that the options of the command give.

    Raises:
        InvalidInput: none is given, or several kinds are.
    """
    given: list[Selector] = []
    given += [Selector("video", tuple(sorted(set(videos))))] if videos else []
    given += [Selector("owner", (owner,))] if owner else []
    given += [Selector("licence", (licence,))] if licence else []
    if len(given) != 1 or "" in given[0].values:
        raise InvalidInput("forget takes one of --video KEY (repeatable), --owner NAME and --licence NAME")
    return given[0]


def as_recorded(store: Store, selector: Selector, receipts: dict[str, ForgetRecord]) -> Selector:
    """The selector with the keys of videos for names that `watchmove videos` prints with codes, as `⟨U+202E⟩`.

    A key that has such codes itself stays as it is. Raises Unavailable if the store cannot be reached.
    """
    coded = tuple(value for value in selector.values if from_visible(value) != value)
    if selector.kind != "video" or not coded:
        return selector
    literal = {value for value in coded if sha256_of(f"video\n{value}") in _selected_before(receipts)}
    literal |= _found(store, Selector("video", coded)).values
    return Selector("video", tuple(sorted({v if v in literal else from_visible(v) for v in selector.values})))


def _selected_before(receipts: dict[str, ForgetRecord]) -> set[str]:
    """The hashes of all values that earlier requests were given."""
    return {hashed for record in receipts.values() for hashed in record.selector_hashes}


def select(
    store: Store, selector: Selector, receipts: dict[str, ForgetRecord]
) -> tuple[tuple[ForgottenWork, ...], Target]:
    """The selected works, and the target: they and all works that earlier receipts name, which may have left remains.

    Raises:
        InvalidInput: a value selects no work that the store has records of, nor was given to an earlier request.
        Unavailable: the store cannot be reached.
    """
    found = _found(store, selector)
    known = _selected_before(receipts)
    for value in selector.values:
        if value not in found.values and sha256_of(f"{selector.kind}\n{value}") not in known:
            raise InvalidInput(
                f"--{selector.kind} {value}: no record in {store.uri} has such a {selector.kind}; nothing was changed; "
                "`watchmove videos RUN` lists names, and the attribution of a dataset owners and licences"
            )
    works = tuple(ForgottenWork(work=work, videos=tuple(sorted(ids))) for work, ids in sorted(found.works.items()))
    every = [*works, *(work for record in receipts.values() for work in record.works)]
    target = Target(
        ForgottenWorks(frozenset(work.work for work in every)),
        frozenset(video for work in every for video in work.videos),
        frozenset(found.places),
        frozenset(found.words),
    )
    return works, target


def _found(store: Store, selector: Selector) -> _Found:
    selects = _test_of(selector)
    found = _Found()
    for place, video in _all_videos(store):
        found.places.add(place)
        if values := selects(place, video):
            found.values |= values
            found.works.setdefault(work_hash(place, video.key), set()).add(video.id)
            found.words |= {video.key, video.credit.title, video.credit.page_url}
            found.words |= {video.credit.owner} if selector.kind == "owner" else set()
    found.words.discard("")
    return found


def _test_of(selector: Selector) -> Callable[[str, Video], set[str]]:
    """A function of a place and a video that returns which of the selector's values select it."""
    values = set(selector.values)
    if selector.kind == "video":
        return lambda place, video: values & {video.key, f"{place}/{video.key}"}
    [name] = selector.values
    # As the attribution file shows names: on one line.
    wanted = one_line(name)
    if selector.kind == "owner":
        return lambda _, video: values if one_line(video.credit.owner) == wanted else set()

    def has_licence(_: str, video: Video) -> set[str]:
        full = one_line(video.credit.licence) or UNKNOWN_LICENCE
        return values if wanted in (full, short_name(video.credit)) else set()

    return has_licence


def _all_videos(store: Store) -> Iterator[tuple[str, Video]]:
    """Yield the place and each video of every plan and every record of a shard; most come several times."""
    for files in plan_files(store).values():
        for _, place, video in files.listed(store):
            yield place, video
    keys = keys_of(store, layout.all_extractions(), ".json")
    for _, record in read_ahead(store, (key for key in keys if "/shards/" in key), ShardRecord):
        place = place_of(record.made_by.settings.get("videos", ""))
        yield from ((place, row.video) for row in record.videos)
