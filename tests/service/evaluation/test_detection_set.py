"""The images of a detection set."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from watchmove.pipeline.voc.annotations import VocImage
from watchmove.service.evaluation.detection_set import warn_of_learnt_images


@pytest.mark.parametrize(("test", "said"), [("ab", []), ("bc", [1]), ("cd", [2])])
def test_images_in_both_sets_are_said(test: str, said: list[int]) -> None:
    """How many they are: a detector has learnt them, so that its figures say less of other images."""
    of = {name: VocImage(name, Path(f"{name}.jpg"), 10, 10, ()) for name in "abcde"}
    with capture_logs() as logs:
        warn_of_learnt_images([of["c"], of["d"], of["e"]], [of[name] for name in test])

    assert [log["images"] for log in logs] == said
    assert all((log["log_level"], log["of"], log["first"]) == ("warning", 2, "c") for log in logs)
