"""Elements of the lists of a JSON object, streamed with ijson: COCO's instances file is too large to load."""

from collections.abc import Iterable, Iterator
from typing import Any

import ijson

from watchmove.pipeline.errors import InvalidInput

MAX_ELEMENT_BYTES = 2**26
"""A bound on memory, not a tuned value: an element's JSON text may take 64 MiB."""
_MAX_DEPTH = 64
"""A bound, not a tuned value, on lists and objects within an element; COCO's polygons are two deep."""

_Event = tuple[str, Any]


class _Input:
    """File-like object over pieces of bytes, which counts those read since `count` was last set to 0."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """The next piece, whatever its length; none at the end. ijson first asks for 0 bytes, to learn the type."""
        if size == 0:
            return b""
        piece = next(self._pieces, b"")
        self.count += len(piece)
        # the last piece may hold more than the element's end, so its length is allowed in addition
        if self.count > MAX_ELEMENT_BYTES + len(piece):
            raise ValueError(f"an element of more than {MAX_ELEMENT_BYTES} bytes")
        return piece


def list_elements(pieces: Iterable[bytes], where: str) -> Iterator[tuple[str, Any]]:
    """Yield each element of each list that is a member of the JSON object, with the member's key, in the file's order.

    `pieces` are the file's bytes in order, of any length. Members that are not lists are skipped. Integers come as int,
    other numbers as float. Of a key that an object has twice, the last value counts; lists of one key follow each
    other. Memory holds one piece with its parsed numbers and strings, and one element.

    Raises:
        InvalidInput: naming `where`; the bytes are not one JSON object in UTF-8, an element is longer than 64 MiB or
            more than 64 levels deep, or a number is out of the range of int64 or float64.
    """
    source = _Input(pieces)
    try:
        yield from _elements(ijson.basic_parse(source, use_float=True), source)  # without it, numbers are Decimal
    except (ijson.JSONError, ValueError) as error:
        detail = error.args[0] if error.args else ""
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        line = text.partition("\n")[0]  # the lines after it draw the place
        raise InvalidInput(f"{where}: no JSON object of lists ({line}); give COCO's instances as published") from error


def _elements(events: Iterator[_Event], source: _Input) -> Iterator[tuple[str, Any]]:
    if next(events)[0] != "start_map":
        raise ValueError("it begins with something else")
    for event, key in events:
        if event != "end_map":  # the events after the object's end are none, or ijson's error about what follows
            event, value = next(events)
            if event == "start_array":
                for event, value in events:
                    if event == "end_array":
                        break
                    yield key, _value(event, value, events)
                    source.count = 0
            else:
                _value(event, value, events)
            source.count = 0


def _value(event: str, value: Any, events: Iterator[_Event]) -> Any:
    """The value that begins with an event. A loop: ijson's own builder is twice as slow, and has no bound of depth."""
    if event not in ("start_map", "start_array"):
        return value
    outermost: Any = {} if event == "start_map" else []
    container, key = outermost, ""
    outer: list[Any] = []
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        if event in ("end_map", "end_array"):
            if not outer:
                break
            container = outer.pop()
            continue
        if event in ("start_map", "start_array"):
            value = {} if event == "start_map" else []
        if type(container) is list:
            container.append(value)
        else:
            container[key] = value
        if event in ("start_map", "start_array"):
            outer.append(container)
            container = value
            if len(outer) > _MAX_DEPTH:
                raise ValueError(f"an element nested more than {_MAX_DEPTH} deep")
    return outermost
