"""Keys are made in one place, and a run's name cannot leave it."""

import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout


@pytest.mark.parametrize("run", ["", "../up", "a/b", ".hidden", "a..b", "x" * 129, "a\nb"])
def test_run_names_are_plain(run: str) -> None:
    """The name becomes a part of keys."""
    with pytest.raises(InvalidInput, match="a run's name"):
        layout.run_record(run, "plan")


def test_the_page_of_keys_is_whole() -> None:
    """What a function of the module makes lies below a folder that the page names."""
    page = layout.__doc__ or ""
    keys = (
        layout.world("a"),
        layout.listing("a", "a"),
        layout.shard_parts("a", "a", 0),
        layout.attempts("a"),
        layout.control("a", "a"),
        layout.dataset("a"),
        layout.backbone("a", "record.json"),
        layout.proposals("a", "a"),
        layout.champion("a", "00001"),
        layout.evaluation("a", "record.json"),
        layout.classification("a", "conv1"),
        layout.claims("a", "claims"),
        layout.figure("a", "frames"),
        layout.single_file_report("a"),
        layout.failure("a", "evaluate-0"),
        layout.receipt("a"),
    )

    assert {key.partition("/")[0] for key in keys} == {
        line.partition("/")[0] for line in page.splitlines() if "/" in line
    }


def test_workflow_names_are_run_names() -> None:
    """What Argo calls a workflow is a run's name."""
    assert layout.run_record("watchmove-x7k2p", "plan") == "runs/watchmove-x7k2p/plan.json"


def test_files_that_desktops_add_are_no_records() -> None:
    """macOS writes `._NAME` beside each file that it copies to a disk of another system."""
    given = ("runs/r/plan.json", "runs/r/._plan.json", "runs/r/.DS_Store", "runs/r/Thumbs.db", "a/listing.json.gz")

    assert [key for key in given if layout.is_record(key)] == ["runs/r/plan.json"]
