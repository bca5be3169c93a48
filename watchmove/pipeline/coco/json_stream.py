"""JSON objects of lists, too large to hold: the elements of each list as they come."""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from watchmove.pipeline.errors import InvalidInput

LONGEST_ELEMENT_CHARACTERS = 2**26


def elements(pieces: Iterator[bytes], where: str) -> Iterator[tuple[str, Any]]:
    """Each list of a JSON object, element by element, with the list's key; other members are passed over.

    Held are a piece and an element, of at most 64 Mi characters.

    Raises:
        InvalidInput: the bytes are no JSON object in UTF-8, or an element is longer.
    """
    text = _Text(pieces, where)
    text.take("{")
    while text.peek() != "}":
        key = str(text.value())
        text.take(":")
        if text.peek() != "[":
            text.value()
        else:
            text.take("[")
            while text.peek() != "]":
                yield key, text.value()
                text.comma_unless("]")
            text.take("]")
        text.comma_unless("}")


class _Text:
    """What has been read and not yet taken."""

    def __init__(self, pieces: Iterator[bytes], where: str) -> None:
        self._pieces = codecs.iterdecode(pieces, "utf-8")
        self._where = where
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no white space."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read(1):
                raise self._no_json("it ends too early")

    def take(self, character: str) -> None:
        """Go past a character that must come."""
        if self.peek() != character:
            raise self._no_json(f"{self.peek()!r} where {character!r} belongs")
        self._at += 1

    def comma_unless(self, end: str) -> None:
        """Go past the comma that must come before the next one, and not before the end."""
        if self.peek() != end:
            self.take(",")
            if self.peek() == end:
                raise self._no_json(f"',' before {end!r}")

    def value(self) -> Any:
        """The next value. One that reaches the end of what has been read may go on: more is read then."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or not self._read(len(self._text) - self._at):
                    raise self._no_json(str(error)) from error
                continue
            if end < len(self._text) or not self._read(1):
                self._at = end
                return value

    def _read(self, characters: int) -> bool:
        """Read on by about so many characters; False at the end."""
        if len(self._text) - self._at > LONGEST_ELEMENT_CHARACTERS:
            raise self._no_json(f"an element of more than {LONGEST_ELEMENT_CHARACTERS} characters")
        more, count = [self._text[self._at :]], 0
        try:
            for piece in self._pieces:
                more.append(piece)
                count += len(piece)
                if count >= characters:
                    break
        except UnicodeDecodeError as error:
            raise self._no_json("it is not UTF-8") from error
        if count:
            self._text, self._at = "".join(more), 0
        return count > 0

    def _no_json(self, why: str) -> InvalidInput:
        return InvalidInput(f"{self._where}: no JSON object of lists ({why}); give COCO's instances as published")
