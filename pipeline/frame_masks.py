"""A mask for every frame of a stream: cut into shots, shots into pieces that fit in memory, pieces looked at whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.frame_stream import NamedFrame
from pipeline.segmenters import shot_segmenter
from pipeline.settings.extraction import ExtractionSettings
from pipeline.shot_masks import LookedAt, look_at_shot
from pipeline.shots import CutDetector
from pipeline.stage_seconds import StageSeconds


@dataclass(frozen=True)
class MaskedFrame:
    """One frame with what was found in it. stage_seconds: its share of the processor's seconds, by stage."""

    frame: NamedFrame
    index: int
    shot: int
    found: LookedAt
    stage_seconds: dict[str, float]


def longest_piece(settings: ExtractionSettings) -> int:
    """Most frames that are segmented together: three times as many as extraction takes from a shot."""
    return settings.window_frames * settings.windows_per_shot * 3


def mask_frames(frames: Iterable[NamedFrame], settings: ExtractionSettings) -> Iterator[MaskedFrame]:
    """Look at every frame, in order. A shot longer than `longest_piece` is looked at in pieces of half that and more.

    A frame that cannot be read ends a shot. Memory grows with the longest piece, not with the stream.
    """
    detector = CutDetector(settings.cut_distance)
    most = longest_piece(settings)
    held: list[NamedFrame] = []
    shot, index = 0, 0
    for frame in frames:
        if held and (frame.image is None or held[-1].image is None or detector.is_cut(frame.image)):
            yield from _look(held, index, shot, settings)
            index, shot, held = index + len(held), shot + 1, []
        elif not held and frame.image is not None:
            detector.is_cut(frame.image)
        held.append(frame)
        if len(held) == most:
            yield from _look(held[: most // 2], index, shot, settings)
            index, held = index + most // 2, held[most // 2 :]
    yield from _look(held, index, shot, settings)


def _look(held: list[NamedFrame], first: int, shot: int, settings: ExtractionSettings) -> Iterator[MaskedFrame]:
    images = [frame.image for frame in held if frame.image is not None]
    if not images:
        for index, frame in enumerate(held, first):
            yield MaskedFrame(frame, index, shot, LookedAt(np.zeros((0, 0), np.float32), 0.0, frame.problem, ()), {})
        return
    stages = StageSeconds()
    found = look_at_shot([images], [range(len(images))], settings, shot_segmenter(settings), stages)[0]
    share = {stage: seconds / len(images) for stage, seconds in stages.cpu.items()}
    for index, (frame, one) in enumerate(zip(held, found, strict=True), first):
        yield MaskedFrame(frame, index, shot, one, share)
