"""Keys are made in one place, and a run's name cannot leave it."""

import pytest

from pipeline.errors import InvalidInput
from service import layout


@pytest.mark.parametrize("run", ["", "../up", "a/b", ".hidden", "a..b", "x" * 129, "a\nb"])
def test_run_names_are_plain(run: str) -> None:
    """The name becomes a part of keys."""
    with pytest.raises(InvalidInput, match="a run's name"):
        layout.run_record(run, "plan")


def test_workflow_names_are_run_names() -> None:
    """What Argo calls a workflow is a run's name."""
    assert layout.run_record("watchmove-x7k2p", "plan") == "runs/watchmove-x7k2p/plan.json"
