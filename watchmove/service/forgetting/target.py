"""What is to be forgotten, as all parts of the removal ask for it; and a change of one object of the store."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.forgotten import ForgottenWorks, Removal
from watchmove.service.records.outcomes import Video
from watchmove.service.store.store import Store


@dataclass(frozen=True)
class Target:
    """The works to forget.

    works: by the hashes of their URIs; videos: the ids of their versions; places: the URIs of the places of videos that
    the store has records of; words: names of the works, to find them in rows that could not be read.
    """

    works: ForgottenWorks
    videos: frozenset[str]
    places: frozenset[str]
    words: frozenset[str]

    def has(self, place: str, video: Video) -> bool:
        """Return whether a video of a place is a version of one of the works."""
        return video.id in self.videos or self.works.has(place, video.key)

    def has_anywhere(self, key: str) -> bool:
        """Return whether a key is that of one of the works in any place."""
        return any(self.works.has(place, key) for place in self.places)


@dataclass(frozen=True)
class Change:
    """One step of the removal: `apply` does it, and doing it twice is the same as doing it once.

    `removal` is what the receipt says of it; None for a preparation, whose end another change is.
    """

    apply: Callable[[], None]
    removal: Removal | None = None


def keys_of(store: Store, prefix: str, suffix: str = "") -> list[str]:
    """Return the keys below a prefix that end in `suffix`, without those of hidden files, as desktops add them.

    Raises Unavailable if the store cannot be reached.
    """
    keys = (item.key for item in store.list(prefix))
    return [key for key in keys if key.endswith(suffix) and not key.rpartition("/")[2].startswith(".")]


def edited(store: Store, key: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Write a record again after `edit` has changed its JSON object; fields of other versions stay.

    Raises:
        InvalidInput: the object is absent or has no JSON object.
    """
    data = store.read(key)
    try:
        facts = json.loads(data or b"")
        if not isinstance(facts, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise InvalidInput(f"{store.uri}/{key}: no record ({error}); run again when nothing writes it") from error
    edit(facts)
    text = json.dumps(facts, indent=1, ensure_ascii=False).encode()
    if text != data:
        store.write(key, text)
