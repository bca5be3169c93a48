"""The plan of a sparse reading: which parts of a video are decoded, from its key frames alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.extraction.survey import KeyFrame, Survey
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.shots import colour_change

_KEY_FRAME_CUT_DIFFERENCE = 30.0
"""Least mean change of hue, saturation and value, in levels of 255, from a key frame to that of another shot.

Within the test clips, 75 frames apart, 90 % of the changes are smaller; between two
clips, about 75 % are larger.
"""

_LARGEST_SHARE = 0.8
"""Share of the frames in stretches from which the video is read from start to end. Set by hand; not tuned."""


@dataclass(frozen=True)
class Stretch:
    """Frames that are decoded one after the other.

    first: number of the first frame, a key frame; stop: number of the frame at which reading ends at the latest;
    windows: how many windows are wanted.
    """

    first: int
    stop: int
    windows: int


def plan_stretches(survey: Survey, settings: ExtractionSettings) -> list[list[Stretch]] | None:
    """The stretches of each shot, in order; None where they are most of the video, which is then read completely.

    A shot begins at a key frame that differs much from the one before. Its windows begin at the key frames nearest to
    evenly spread places; windows for which there is no other key frame follow those before. Where the shots have more
    windows than `windows_per_video`, every second, third or further shot is used.
    """
    shots = [_stretches(shot, stop, settings) for shot, stop in _shots(survey)]
    step = -(-sum(stretch.windows for shot in shots for stretch in shot) // settings.windows_per_video)
    shots = shots[::step]
    stretches = [stretch for shot in shots for stretch in shot]
    decoded = sum(min(each.windows * settings.window_frames, each.stop - each.first) for each in stretches)
    return shots if decoded < _LARGEST_SHARE * len(survey.times_seconds) else None


def _shots(survey: Survey) -> list[tuple[list[int], int]]:
    """For each shot, the numbers of its key frames, and of the frame at which it ends."""
    shots = [[survey.key_frames[0].number]]
    for before, key in pairwise(survey.key_frames):
        if colour_change(_colours(before), _colours(key)) >= _KEY_FRAME_CUT_DIFFERENCE:
            shots.append([])
        shots[-1].append(key.number)
    stops = [*(shot[0] for shot in shots[1:]), len(survey.times_seconds)]
    return list(zip(shots, stops, strict=True))


def _colours(key: KeyFrame) -> NDArray[np.int16]:
    """Hue, saturation and value of a key frame's thumbnail."""
    return np.asarray(cv2.cvtColor(key.thumbnail, cv2.COLOR_RGB2HSV), np.int16)


def _stretches(keys: Sequence[int], stop: int, settings: ExtractionSettings) -> list[Stretch]:
    """The stretches of a shot with key frames of these numbers, which ends at `stop`."""
    count, length = stop - keys[0], settings.window_frames
    # a window at the end of a shot can be as short as in a complete reading
    least = max(settings.min_window_frames, length // 2)
    wanted = min(settings.windows_per_shot, max(1, (count + length - least) // length))
    windows: dict[int, int] = {}  # how many begin with each stretch's first frame
    first = end = keys[0]
    for number in range(wanted):
        place = keys[0] + number * count // wanted
        key = min(keys, key=lambda key: abs(key - place))
        if key >= end:
            first = end = key
        if stop - end < least and windows:
            break
        windows[first] = windows.get(first, 0) + 1
        end += length
    stops = [*list(windows)[1:], stop]
    return [Stretch(first, until, most) for (first, most), until in zip(windows.items(), stops, strict=True)]
