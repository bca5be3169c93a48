"""The plan of a sparse reading: which parts of a video are decoded, from its key frames alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.extraction.survey import Survey
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.shots import colour_change

_DISTANT_CUT_DIFFERENCE = 30.0
"""Least mean change of hue, saturation and value, in levels of 255, between distant frames of different shots.

Within the test clips, 75 frames apart, 90 % of the changes are smaller; between two clips, about 75 % are larger.
"""

_LARGEST_SHARE = 0.8
"""Share of the frames in windows from which the video is read from start to end. Set by hand; not tuned."""

_MOST_DECODED = 0.5
"""Share of the frames up to which windows are decoded from distant key frames. Set by hand; not tuned."""


@dataclass(frozen=True)
class Stretch:
    """Frames that are read one after the other.

    key: number of the key frame from which they are decoded; first: number of the first frame, which can be the key
    frame; stop: number of the frame at which reading ends at the latest; windows: how many windows are wanted.
    """

    key: int
    first: int
    stop: int
    windows: int


def plan_stretches(survey: Survey, settings: ExtractionSettings) -> list[list[Stretch]] | None:
    """The stretches of each shot, in order; None where they are most of the video, which is then read completely.

    A shot begins at a key frame that differs much from the one before. Its windows are spread evenly; each begins at
    the key frame that is nearest to its place, or, if that is nearer to the place of another window, at the place
    itself. If more than half of the video would be decoded for that, such windows follow those before instead. Where
    there are more windows than `windows_per_video`, every second, third or further shot is used.
    """
    shots = [stretches_of_shot(shot, stop, settings, spread=True) for shot, stop in _shots(survey)]
    decoded = sum(each.first - each.key + each.windows * settings.window_frames for shot in shots for each in shot)
    if decoded > _MOST_DECODED * len(survey.times_seconds):
        shots = [stretches_of_shot(shot, stop, settings, spread=False) for shot, stop in _shots(survey)]
    step = -(-sum(stretch.windows for shot in shots for stretch in shot) // settings.windows_per_video)
    shots = shots[::step]
    stretches = [stretch for shot in shots for stretch in shot]
    in_windows = sum(min(each.windows * settings.window_frames, each.stop - each.first) for each in stretches)
    return shots if in_windows < _LARGEST_SHARE * len(survey.times_seconds) else None


def _shots(survey: Survey) -> list[tuple[list[int], int]]:
    """For each shot, the numbers of its key frames, and of the frame at which it ends."""
    shots = [[survey.key_frames[0].number]]
    for before, key in pairwise(survey.key_frames):
        if is_other_shot(before.thumbnail, key.thumbnail):
            shots.append([])
        shots[-1].append(key.number)
    stops = [*(shot[0] for shot in shots[1:]), len(survey.times_seconds)]
    return list(zip(shots, stops, strict=True))


def is_other_shot(before: Image, after: Image) -> bool:
    """Whether two frames that are seconds apart, given as shot thumbnails (48, 64, 3), are of different shots."""
    return colour_change(_colours(before), _colours(after)) >= _DISTANT_CUT_DIFFERENCE


def _colours(thumbnail: Image) -> NDArray[np.int16]:
    """Hue, saturation and value of a thumbnail."""
    return np.asarray(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV), np.int16)


def stretches_of_shot(keys: Sequence[int], stop: int, settings: ExtractionSettings, *, spread: bool) -> list[Stretch]:
    """The stretches of a shot with key frames of these numbers, at least one, in order, which ends at `stop`.

    `spread` says whether a window without a key frame nearby begins at its own place, or after the window before.
    """
    count, length = stop - keys[0], settings.window_frames
    # a window at the end of a shot can be as short as in a complete reading
    least = max(settings.min_window_frames, length // 2)
    wanted = min(settings.windows_per_shot, max(1, (count + length - least) // length))
    stretches: list[Stretch] = []
    end = keys[0]
    for number in range(wanted):
        place = keys[0] + number * count // wanted
        nearest = min(keys, key=lambda key: abs(key - place))
        is_near = abs(nearest - place) * 2 * wanted <= count
        first = max(nearest if is_near else place if spread else end, end)
        if stretches and stop - first < least:
            break
        if stretches and first == end:
            stretches[-1] = replace(stretches[-1], windows=stretches[-1].windows + 1)
        else:
            stretches.append(Stretch(max(key for key in keys if key <= first), first, stop, 1))
        end = first + length
    stops = [*(stretch.first for stretch in stretches[1:]), stop]
    return [replace(stretch, stop=until) for stretch, until in zip(stretches, stops, strict=True)]
