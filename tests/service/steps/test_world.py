"""The world is drawn only where it can be stored."""

from pathlib import Path

import pytest

from tests.service.conftest import MakeContext
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.steps import world as step
from watchmove.service.steps.world import world


def test_a_folder_that_cannot_be_made_is_said_before_the_drawing(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing takes minutes, which would be lost."""
    (tmp_path / "file").touch()
    drawn: list[object] = []
    monkeypatch.setattr(step, "draw_world", lambda *arguments, **_: drawn.append(arguments))

    with pytest.raises(InvalidInput, match=f"making {tmp_path}/file/voc"):
        world(make_context(f"voc=file://{tmp_path}/file/voc"))
    assert not drawn
