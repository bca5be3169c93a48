"""CONTRIBUTING.md and SECURITY.md name files and lines that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PATH = re.compile(r"`((?:watchmove|tests|argo|k8s|docs|examples)/[\w./*-]+)`")
_MADE_UP = "audit"
"""The step that CONTRIBUTING.md adds as an example; its files do not exist."""


@pytest.mark.parametrize("guide", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_guide_names_exists(guide: str) -> None:
    """Whoever moves or renames one of them finds the guide that sends people there."""
    named = {path for path in _PATH.findall((ROOT / guide).read_text(encoding="utf-8")) if _MADE_UP not in path}

    assert len(named) > 10
    assert [path for path in sorted(named) if not list(ROOT.glob(path))] == []


def test_the_diffs_in_contributing_apply_to_the_code() -> None:
    """Every line that a diff keeps or removes is in the code, so the walks are about today's tree."""
    files = [path for folder in ("watchmove", "tests", "argo") for path in (ROOT / folder).rglob("*")]
    sources = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".yaml")]
    lines = {line for source in sources for line in source.splitlines()}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = [line[4:] for diff in re.findall(r"```diff\n(.*?)```", text, re.DOTALL) for line in diff.splitlines()]
    there_before = [line[1:] for line in shown if line[:1] in ("-", " ") and line.strip() not in ("", "...")]

    assert len(there_before) > 10
    assert [line for line in there_before if line not in lines] == []
