"""Text of records made safe for a terminal."""


def printable(text: str) -> str:
    """Return a text with a question mark in place of each control character."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
