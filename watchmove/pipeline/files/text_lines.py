"""Text that other programs and systems wrote: the lines of files, and characters that cannot be seen."""

import re
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput

_CREDENTIALS = re.compile(r"(?<!file)://[^/\s@]*@")
"""User and password before the host of an address; in the name of a folder, `@` is a letter like others."""

_CODE = re.compile(r"⟨U\+(?P<code>[0-9A-F]{4,5}|10[0-9A-F]{4})⟩")
"""What `visible` writes in place of a character."""

BLANKS = " \t\v\f"
"""White space of ASCII within a line: any other, such as a no-break space, may be part of a file's name."""


def text_lines(path: Path, wanted: str) -> list[str]:
    """The lines of a text file without the white space around them; an empty line is "".

    The file is in UTF-8, with or without a byte order mark; lines end as on Unix, Windows or old Macs.

    Raises:
        InvalidInput: it is a folder, cannot be read, or is not UTF-8; the message ends with `wanted`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}); {wanted}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 text ({error.reason}); {wanted}") from error
    # not `splitlines`, which also splits at characters that file names may contain, such as U+2028
    return [line.strip(BLANKS) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def printable(text: str) -> str:
    """Return a text with a question mark in place of each character that cannot be printed: safe for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def has_credentials(text: str) -> bool:
    """Whether an address in the text has a user or a password before its host, as in `s3://KEY:SECRET@BUCKET`."""
    return _CREDENTIALS.search(text) is not None


def without_credentials(text: str) -> str:
    """Return a text in which `…` is in place of the user and the password of each address."""
    return _CREDENTIALS.sub("://…@", text)


def visible(text: str) -> str:
    """Return a text with the code of each character that cannot be seen, as `⟨U+202E⟩`, in place of the character.

    These are control characters, those that reverse the direction of the text around them, and blanks but the space.
    """
    return "".join(letter if letter.isprintable() else f"⟨U+{ord(letter):04X}⟩" for letter in text)


def from_visible(text: str) -> str:
    """Return the text that `visible` made this one of, unless that text had such codes itself."""
    return _CODE.sub(lambda found: chr(int(found["code"], 16)), text)
