"""Numbers in text, read strictly: what Python's `float` and `int` accept beyond plain decimal notation is refused."""

import re

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,100}")
_SHOWN_CHARACTERS = 60
"""Characters of a text that a message quotes. Set by hand; not tuned."""


def number_of(text: str) -> float:
    """The number that `text` is, in decimal or scientific notation with ASCII digits; `nan` and `inf` are numbers too.

    Python's own `float` would also read `1_0`, digits of other scripts, and numbers between blanks. A number beyond the
    range of float64, such as `1e999`, is infinite.

    Raises:
        ValueError: the text is not such a number.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"not a number: {text[:_SHOWN_CHARACTERS]!r}")
    return float(text)


def whole_number_of(text: str) -> int:
    """The whole number that `text` is, in at most 100 ASCII digits.

    Raises:
        ValueError: the text is not such a number.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"not a whole number: {text[:_SHOWN_CHARACTERS]!r}")
    return int(text)


def number_if_text(value: object) -> object:
    """A text as the number that it is, and any other value unchanged; for fields that text and JSON may fill.

    Raises:
        ValueError: it is a text that is not a number, or a truth value, which Python takes for 0 or 1.
    """
    if isinstance(value, bool):
        raise ValueError(f"not a number: {value}")
    if not isinstance(value, str):
        return value
    return whole_number_of(value) if _WHOLE.fullmatch(value) else number_of(value)
