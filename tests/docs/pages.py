"""The project's Markdown pages, and what tests need to read from them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))

_BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NOT_RUN = "console not-run: "


@dataclass(frozen=True)
class Command:
    """One shell command of a page and the standard output that the page shows for it, "" if none."""

    text: str
    output: str


@dataclass(frozen=True)
class Console:
    """A block of commands; `reason` says why a test cannot run them, "" if it can."""

    reason: str
    commands: tuple[Command, ...]


def page_name(page: Path) -> str:
    """The page's path in the repository, which is also its name in test reports."""
    return str(page.relative_to(ROOT))


def consoles(page: Path) -> list[Console]:
    """The `console` blocks of a page, in order."""
    blocks = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Console(block["info"].removeprefix(_NOT_RUN) if block["info"].startswith(_NOT_RUN) else "", _commands(block))
        for block in blocks
        if block["info"].startswith("console")
    ]


def python_blocks(page: Path) -> list[str]:
    """The Python programs of a page, in order."""
    return [block["body"] for block in _BLOCK.finditer(page.read_text(encoding="utf-8")) if block["info"] == "python"]


def links(page: Path) -> list[str]:
    """The targets of a page's links and images, without those in code."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return _LINK.findall(_INLINE_CODE.sub("", text))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub and in the built site."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _commands(block: re.Match[str]) -> tuple[Command, ...]:
    """A line that starts with `$ ` begins a command; a backslash at its end continues it; other lines are output."""
    parts = re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]
    return tuple(
        Command(*found.groups())
        for part in parts
        if (found := re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL))
    )
