"""Folders of frames: each image is a frame or has a named problem."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import frames_of_folder


@pytest.mark.parametrize("how", ["deleted", "emptied", "replaced by a folder"])
def test_an_image_that_vanishes_after_its_header_was_read_is_unreadable(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other images of the folder are read."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.full((40, 50, 3), 90, np.uint8))
    real = PIL.Image.open

    def opened(path: Path) -> PIL.Image.Image:
        image = real(path)
        if path.name == "a.png":
            image.load()
            path.unlink()
            if how == "emptied":
                path.touch()
            if how == "replaced by a folder":
                path.mkdir()
        return image

    monkeypatch.setattr(PIL.Image, "open", opened)
    frames = list(frames_of_folder(tmp_path, ExtractionSettings()))

    assert [(frame.name, frame.problem) for frame in frames] == [("a", "unreadable"), ("b", "")]
