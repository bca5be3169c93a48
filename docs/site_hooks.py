"""A hook of mkdocs that makes the pages' Markdown fit its parser."""

import re
from typing import Any

_NOT_RUN = re.compile(r"^```console not-run: .*$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Remove the reasons for tests from the first lines of fenced blocks: mkdocs knows a single word there."""
    return _NOT_RUN.sub("```console", markdown)
