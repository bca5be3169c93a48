"""CONTRIBUTING.md and SECURITY.md name files that exist."""

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
