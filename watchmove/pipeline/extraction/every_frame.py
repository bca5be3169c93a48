"""A mask for every frame of a stream: cut into shots, shots into pieces that fit in memory, pieces looked at whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, examine_shot
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.fades import LONGEST_SPAN, fade_thumbnail, fading_frames
from watchmove.pipeline.video.frames import NamedFrame
from watchmove.pipeline.video.shots import CutDetector


@dataclass(frozen=True)
class MaskedFrame:
    """One frame with what was found in it. stage_seconds: its share of the processor's seconds, by stage."""

    frame: NamedFrame
    index: int
    shot: int
    found: ExaminedFrame
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
    piece = _Piece()
    for frame in frames:
        cut = frame.image is not None and detector.is_cut(frame.image)
        if piece.held and (cut or frame.image is None or piece.held[-1].image is None):
            yield from _look(piece, settings)
            piece = _Piece(piece.first + len(piece.held), piece.shot + 1)
        piece.add(frame, detector.thumbnail)
        if len(piece.held) == most:
            before, piece = piece.halves()
            yield from _look(before, settings)
    yield from _look(piece, settings)


@dataclass(frozen=True)
class _Piece:
    """Frames of one shot that are looked at together, the first with its number in the stream.

    small: `fade_thumbnail` of each, and of some frames before and after them; lead: how many lie before.
    """

    first: int = 0
    shot: int = 0
    held: list[NamedFrame] = field(default_factory=list)
    small: list[NDArray[np.uint8]] = field(default_factory=list)
    lead: int = 0

    def add(self, frame: NamedFrame, thumbnail: NDArray[np.uint8]) -> None:
        """Take the next frame."""
        self.held.append(frame)
        self.small.append(fade_thumbnail(thumbnail))

    def halves(self) -> tuple["_Piece", "_Piece"]:
        """Two pieces, each with what the other tells it of its fades."""
        half = len(self.held) // 2
        lead = min(LONGEST_SPAN, self.lead + half)
        later = self.small[self.lead + half - lead :]
        return replace(self, held=self.held[:half]), _Piece(self.first + half, self.shot, self.held[half:], later, lead)

    def fading(self) -> list[bool]:
        """Of each frame, whether it is part of a fade or a dissolve."""
        fading: list[bool] = fading_frames(self.small)[self.lead : self.lead + len(self.held)].tolist()
        return fading


def _look(piece: _Piece, settings: ExtractionSettings) -> Iterator[MaskedFrame]:
    images = [frame.image for frame in piece.held if frame.image is not None]
    if not images:
        for index, frame in enumerate(piece.held, piece.first):
            nothing = ExaminedFrame(np.zeros((0, 0), np.float32), 0.0, frame.problem, ())
            yield MaskedFrame(frame, index, piece.shot, nothing, {})
        return
    stages = StageSeconds()
    window = WindowToExamine(images, range(len(images)), piece.fading())
    examined = examine_shot([window], settings, shot_segmenter(settings), stages)
    share = {stage: seconds / len(images) for stage, seconds in stages.cpu.items()}
    for index, (frame, found) in enumerate(zip(piece.held, examined, strict=True), piece.first):
        yield MaskedFrame(frame, index, piece.shot, found, share)
