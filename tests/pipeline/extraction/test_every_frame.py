"""Every frame of a stream is examined in chunks that fit in memory, and fades are detected across their borders."""

from collections.abc import Sequence

import numpy as np
import pytest

from watchmove.pipeline.extraction import every_frame
from watchmove.pipeline.extraction.every_frame import mask_frames
from watchmove.pipeline.extraction.shot import WindowToExamine
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import NamedFrame

SETTINGS = ExtractionSettings(window_frames=7, windows_per_shot=1)
LONGEST = 30


def dissolve(before: int, length: int, after: int) -> list[NamedFrame]:
    """A dissolve from one still image to another."""
    first, second = np.random.default_rng(0).uniform(0, 255, (2, 48, 64, 3))
    shares = np.concatenate([np.zeros(before), np.arange(1, length + 1) / (length + 1), np.ones(after)])
    images = [(1 - share) * first + share * second for share in shares]
    return [NamedFrame(f"{t}", image.astype(np.uint8), None) for t, image in enumerate(images)]


@pytest.fixture(autouse=True)
def nothing_moves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the examination of shots; returns the numbers of frames that were examined together."""
    given: list[int] = []

    def examine(windows: list[WindowToExamine], *_: object) -> Sequence[bool]:
        given.append(len(windows[0].images))
        return windows[0].fading

    monkeypatch.setattr(every_frame, "examine_shot", examine)
    return given


@pytest.mark.parametrize("before", [5, 12, 17, 40])
def test_a_dissolve_is_found_wherever_a_chunk_ends(before: int, nothing_moves: list[int]) -> None:
    """A dissolve of twelve frames is found whether a chunk ends before, inside, or after it."""
    frames = dissolve(before, 12, 40)
    found = list(mask_frames(frames, SETTINGS))
    fading = [bool(frame.found) for frame in found]

    assert [frame.index for frame in found] == list(range(len(frames)))
    assert all(fading[before + 2 : before + 10])
    assert not any([*fading[: before - 1], *fading[before + 13 :]])
    assert max(nothing_moves) < LONGEST
