"""Lines of a text that a server sends as it is written."""

from collections.abc import Iterator
from typing import Any

_MOST_LINE_BYTES = 2**20
"""A longer line is divided. A bound on memory, not a tuned value."""


def lines_of(answer: Any) -> Iterator[str]:
    """Yield the lines of a urllib3 response as soon as they are complete, without their ends; then close it."""
    rest = b""
    try:
        for piece in answer.stream(_MOST_LINE_BYTES, decode_content=True):
            *complete, rest = (rest + piece).split(b"\n")
            if len(rest) > _MOST_LINE_BYTES:
                complete, rest = [*complete, rest], b""
            yield from (line.decode(errors="replace").rstrip("\r") for line in complete)
        if rest:
            yield rest.decode(errors="replace").rstrip("\r")
    finally:
        # Also where the reader stops early; a connection with unread data cannot be used again.
        answer.close()
