"""Checks of the store that the settings name, and of the folder of videos.

The checks write two small objects under a prefix of their own, `doctor/` and a random name, and remove them.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from watchmove.pipeline.errors import InvalidInput, WatchmoveError
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store, open_videos
from watchmove.service.store.store import ObjectChanged, ObjectRefused, Store
from watchmove.service.watching.checks import Check, State, failed, failed_by, not_checked, ok, warning

if TYPE_CHECKING:
    from watchmove.service.store.s3 import S3Store

FOLDER = "doctor"
"""First part of the keys of the checks; no record has it."""
_NAME_BYTES = 8
"""Random bytes in the prefix of the checks. Set by hand: no two checks of a store draw the same."""
_OBJECT_BYTES = 4096
"""Size of an object that is written: larger than the range that is read of it. Set by hand."""
_RANGE = (1000, 24)
"""First byte and size of the range that is read, within that object. Set by hand."""
_WARNED_SKEW_SECONDS = 60.0
"""A clock that is further off is not synchronised: a synchronised one is off by less than a second. Set by hand."""
_REFUSED_SKEW_SECONDS = 900.0
"""S3 refuses requests whose time differs by more than 15 minutes from its own (Amazon S3 API, RequestTimeTooSkewed)."""
_READ_BYTES = 1024
"""Most bytes that are read of a video. Set by hand: it only has to be readable."""
_UNSAFE = (
    "Start no two runs of one name, and no step twice, at the same moment: the later of two records would replace the "
    "earlier one. Or use a store that keeps If-None-Match."
)


class _Probe:
    """The objects that are written to a store, and a check of each thing that is done with them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._prefix = f"{FOLDER}/{secrets.token_hex(_NAME_BYTES)}/"
        self._written, self._created = f"{self._prefix}written", f"{self._prefix}created"
        self._data = secrets.token_bytes(_OBJECT_BYTES)
        self._new_folders: list[Path] = []
        self.s3 = _as_s3(store)
        if self.s3 is None:
            folder = Path(store.uri.removeprefix("file://")) / self._prefix
            self._new_folders = [path for path in (folder, *folder.parents) if not path.exists()]

    def reachable(self, name: str) -> Check:
        """List the prefix, in which nothing is yet."""
        next(iter(self._store.list(self._prefix)), None)
        return ok(name, self._store.uri)

    def write(self, name: str) -> Check:
        """Write an object."""
        self._store.write(self._written, self._data)
        return ok(name, f"{_OBJECT_BYTES} bytes under {FOLDER}/")

    def read(self, name: str) -> Check:
        """Read the object."""
        if self._store.read(self._written) != self._data:
            remedy = "Look for a proxy or cache before the store, and for a second writer."
            return failed(name, "what is read is not what was written", remedy)
        return ok(name, "the same bytes")

    def list(self, name: str) -> Check:
        """List the prefix, in which the object is now."""
        if [item.key for item in self._store.list(self._prefix)] != [self._written]:
            remedy = "Use a store whose listings have every object that was written before."
            return failed(name, "an object that was written is not listed", remedy)
        return ok(name, "the object that was written is listed")

    def ranges(self, name: str) -> Check:
        """Read a range of the object."""
        offset, size_bytes = _RANGE
        item = self._store.head(self._written)
        wanted = self._data[offset : offset + size_bytes]
        if item is None or self._store.read_range(item, offset, size_bytes) != wanted:
            remedy = "Look for a proxy or cache before the store that changes ranges."
            return failed(name, "a range of an object has other bytes than the object", remedy)
        if self.s3 is not None and not self.s3.facts(self._written).serves_ranges:
            remedy = "Use a store or gateway that serves ranges, or only videos up to 128 MiB."
            return warning(name, "the store ignores ranges, so that larger objects are refused", remedy)
        return ok(name, f"{size_bytes} bytes from byte {offset}")

    def condition(self, name: str) -> Check:
        """Create an object twice, which must be refused the second time."""
        first, second = (self._store.create(self._created, self._data + end) for end in (b"1", b"2"))
        if (first, second) != (True, False) or self._store.read(self._created) != self._data + b"1":
            return failed(name, "an object that existed was created again and replaced", _UNSAFE)
        if self.s3 is None or self.s3.keeps_conditions:
            return ok(name, "creating an object that exists was refused")
        word = "refuses conditional writes" if self.s3.keeps_conditions is None else "silently ignores conditions"
        return warning(name, f"the store {word}, so that two writers at one moment can both create a record", _UNSAFE)

    def clock(self, name: str) -> Check:
        """Compare this machine's clock with the store's."""
        if self.s3 is None:
            return not_checked(name, "only an S3 store has a clock that requests must agree with")
        return clock_check(name, self.s3.facts(self._written).clock_skew_seconds)

    def remove(self, name: str) -> Check:
        """Remove both objects."""
        try:
            for key in (self._written, self._created):
                self._store.remove(key)
        except InvalidInput as error:
            remedy = (
                f"Grant this right, without which `watchmove forget` does not work, or remove {FOLDER}/ and old "
                "checkpoints by a lifecycle rule."
            )
            return warning(name, f"{error}; {self._prefix} stays in the store", remedy)
        if [*self._store.list(self._prefix)]:
            return failed(
                name, f"{self._prefix}: removed objects are still listed", "Use a store that removes objects."
            )
        return ok(name, "nothing is left of these checks")

    def clean(self) -> None:
        """Remove what is left, as far as it can be; also the folders that a store in a folder has made."""
        for key in (self._written, self._created):
            with suppress(WatchmoveError, OSError):
                self._store.remove(key)
        for folder in self._new_folders:
            with suppress(OSError):  # never made, or others have written to it
                folder.rmdir()


def _as_s3(store: Store) -> "S3Store | None":
    if not store.uri.startswith("s3://"):
        return None
    from watchmove.service.store import s3  # imported here because boto3 takes long to import

    return store if isinstance(store, s3.S3Store) else None


def store_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of the store, one for each thing that steps do with it."""
    names = [f"store: {name}" for name in ("write", "read", "list", "ranges", "conditional write", "clock", "remove")]
    reachable = "store: reachable"
    try:
        probe = _Probe(open_store(settings.store))
        yield probe.reachable(reachable)
    except (WatchmoveError, OSError) as error:
        yield from _without_store(reachable, names, error)
        return
    bodies = (probe.write, probe.read, probe.list, probe.ranges, probe.condition, probe.clock, probe.remove)
    try:
        written = _ended(names[0], bodies[0])
        yield written
        for name, body in zip(names[1:], bodies[1:], strict=True):
            yield _ended(name, body) if written.state is State.OK else not_checked(name, "nothing could be written")
    finally:
        probe.clean()


def _without_store(reachable: str, names: list[str], error: WatchmoveError | OSError) -> Iterator[Check]:
    """The checks of a store that does not list its objects. Its answer can still have the time."""
    from watchmove.service.store.s3_probe import clock_skew_seconds

    yield _failed(reachable, error)
    skew = clock_skew_seconds(error)
    for name in names:
        if name.endswith("clock") and skew is not None:
            yield clock_check(name, skew)
        else:
            yield not_checked(name, "the store cannot be used")


def _ended(name: str, body: Callable[[str], Check]) -> Check:
    try:
        return body(name)
    except (WatchmoveError, OSError) as error:
        return _failed(name, error)
    except ObjectChanged as error:
        return failed(name, str(error), "Look for a second writer, and for a proxy or cache before the store.")


def _failed(name: str, error: WatchmoveError | OSError) -> Check:
    if isinstance(error, WatchmoveError):
        return failed_by(name, error)
    return failed(name, str(error), "Check the path and its permissions.")


def videos_check(settings: Settings) -> Check:
    """The check of the folder of videos: one object is listed, and its first bytes are read."""
    name = "videos"
    if settings.plan.manifest:
        return not_checked(name, "plan.manifest lists them")
    try:
        store = open_videos(settings)
        item = next(iter(store.list()), None)
        if item is None:
            return not_checked(name, f"nothing is stored at {settings.videos}")
        store.read_range(item, 0, min(item.size_bytes, _READ_BYTES))
    except ObjectRefused as error:
        return warning(name, str(error), "Such a video ends as missing; grant the right to read, if all are like this.")
    except (WatchmoveError, OSError) as error:
        return _failed(name, error)
    except ObjectChanged as error:
        return warning(name, str(error), "Start a run when nothing writes to this folder.")
    return ok(name, f"{store.uri} can be listed and read")


def clock_check(name: str, skew_seconds: float | None) -> Check:
    """The check of the number of seconds by which this machine's clock is ahead of the store's, None if unknown."""
    if skew_seconds is None:
        return not_checked(name, "the store's answers have no date")
    word = "ahead of" if skew_seconds > 0 else "behind"
    finding = f"this machine's clock is {abs(skew_seconds):.0f} s {word} the store's"
    remedy = "Synchronise this machine's clock (NTP); S3 refuses requests that are off by more than 15 minutes."
    if abs(skew_seconds) > _REFUSED_SKEW_SECONDS:
        return failed(name, finding, remedy)
    return warning(name, finding, remedy) if abs(skew_seconds) > _WARNED_SKEW_SECONDS else ok(name, finding)
