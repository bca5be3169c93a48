"""A hook of mkdocs that makes the pages' Markdown fit its parser."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[A-Z]+\.md\)")
_NOT_RUN = re.compile(r"^```console not-run: .*$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Remove what mkdocs does not know: more than one word at a fenced block's start, and links out of its folder."""
    return _OUTSIDE.sub(r"\1", _NOT_RUN.sub("```console", markdown))
