"""Finds the video that a name means in the listing of a plan, without making an object of every listed video."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pydantic_core import to_json

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.text_lines import from_visible
from watchmove.service.records import layout
from watchmove.service.records.attempts import Ids
from watchmove.service.records.listing import ListingHead
from watchmove.service.records.outcomes import Video
from watchmove.service.store.store import Store
from watchmove.service.store.text_stream import blocks_of_lines, text_of

_ID = re.compile("[0-9a-f]{16}")
_FRAME = re.compile("(.+)-([0-9]{6,})")
"""The key of a frame: its video, and its number in it."""
_ID_OF_LINE = re.compile(rb'^\{"id":"([0-9a-f]{16})"', re.MULTILINE)
_SIMILAR = 3
"""Most names that a message offers. Set by hand; not tuned."""


class ListedVideo(NamedTuple):
    """A video of a listing; `frame` is the number of the frame that the name means, None if it means the video.

    `before` (M,) has the numbers of the listed videos up to this one, which is the last, in the order of the listing.
    """

    video: Video
    frame: int | None
    before: Ids


class NotListed(NamedTuple):
    """No listed video has the name; `keys` are what it may mean as a key, `similar` some keys that end with it."""

    keys: tuple[str, ...]
    similar: tuple[str, ...]


class _Meaning(NamedTuple):
    """What a name may mean: lines of the listing that contain `text`, and the number of a frame."""

    text: bytes
    frame: int | None


def find_listed(store: Store, recipe: str, plan: str, name: str) -> ListedVideo | NotListed:
    """Find the video that `name` means: a key, a URI or an id, or one of these with `-FRAME`, as `ID-000012`.

    The listing is read as far as the video. A key that itself ends as a frame's does is taken before a frame, and one
    that has codes like `⟨U+202E⟩` itself before one in which they stand for characters that cannot be seen.

    Raises:
        InvalidInput: the listing is absent or damaged, or the name is not UTF-8.
        Unavailable: the store cannot be reached.
    """
    where = f"{store.uri}/{layout.listing(recipe, plan)}"
    blocks = _blocks(store, layout.listing(recipe, plan), where)
    head, _, rest = next(blocks, b"").partition(b"\n")
    keys, meanings = _meanings(name, _uri(head, where))
    ids, similar = [np.empty(0, np.uint64)], list[str]()
    best: tuple[int, ListedVideo] | None = None
    for block in _with(rest, blocks):
        for rank, meaning in enumerate(meanings[: best[0] if best else None]):
            at = block.find(meaning.text)
            if at >= 0:
                end = block.index(b"\n", at)
                before = np.concatenate([*ids, _ids(block[:end])])
                best = rank, ListedVideo(_video(block, at), meaning.frame, before)
                break
        if best and best[0] == 0:
            break
        ids.append(_ids(block))
        similar += _ending_with(block, name, _SIMILAR - len(similar))
    return best[1] if best else NotListed(keys, tuple(similar))


def _blocks(store: Store, key: str, where: str) -> Iterator[bytes]:
    item = store.head(key)
    if item is None:
        raise InvalidInput(f"{where}: not there; run `watchmove plan` first")
    return blocks_of_lines(text_of(store, item), where)


def _with(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _uri(head: bytes, where: str) -> str:
    """The URI that the keys of a listing are relative to, from its first line."""
    try:
        return ListingHead.model_validate_json(head, strict=True).uri
    except ValueError as error:
        raise InvalidInput(f"{where} line 1: not a ListingHead; plan again as another run") from error


def _meanings(name: str, uri: str) -> tuple[tuple[str, ...], list[_Meaning]]:
    """The keys that a name may mean, and all its meanings, those of whole videos first."""
    texts: list[tuple[str, int | None]] = [(name, None)]
    if found := _FRAME.fullmatch(name):
        texts.append((found[1], int(found[2])))
    texts += [(meant, frame) for text, frame in texts if (meant := from_visible(text)) != text]
    keys, meanings = [], []
    for text, frame in texts:
        keys.append(text.removeprefix(f"{uri}/"))
        # escaped as in the listing, so that lines are searched without being parsed
        meanings.append(_Meaning(b'"key":' + _json(keys[-1]) + b",", frame))
        if _ID.fullmatch(text):
            meanings.append(_Meaning(b'{"id":"' + text.encode() + b'"', frame))
    return tuple(keys), meanings


def _json(text: str) -> bytes:
    try:
        return to_json(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r}: not UTF-8; copy the name from `watchmove videos`") from error


def _ids(block: bytes) -> Ids:
    """(M,) numbers of the videos in lines of a listing."""
    digits = b"".join(_ID_OF_LINE.findall(block)).decode()
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def _video(block: bytes, at: int) -> Video:
    """The video of the line with the byte `at`."""
    begin = block.rfind(b"\n", 0, at) + 1
    return Video.model_validate_json(block[begin : block.index(b"\n", at)], strict=True)


def _ending_with(block: bytes, name: str, most: int) -> list[str]:
    """At most `most` keys of a block that end with `/name`."""
    ending = re.compile(re.escape(b"/" + _json(name)[1:]))
    return [_video(block, found.start()).key for found, _ in zip(ending.finditer(block), range(most), strict=False)]
