"""Reads one damaged video as extraction does, and judges what came out."""

import resource
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.fuzz.mutation import generator_of, mutated
from tests.fuzz.video_formats import FORMATS, SHORTER_SIDE, body_of, file_of
from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.conditions import CONDITIONS
from watchmove.pipeline.extraction.sampled_video import (
    ENDED_EARLY,
    REJECT_REASONS,
    UNREADABLE_REASONS,
    extract_video,
)
from watchmove.pipeline.masks.chain import WORKING_SCALE, SegmentedFrame
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import InterlacedVideo
from watchmove.pipeline.video.frames import open_video

SETTINGS = ExtractionSettings(
    shorter_side_pixels=SHORTER_SIDE,
    max_frames=1000,
    max_source_pixels=1920 * 1080,
    decoder_timeout_seconds=20.0,
    decoder_memory_mebibytes=1024,
    window_frames=8,
    min_window_frames=4,
    max_frames_per_shot=50,
)
"""Small limits, so that exceeding them shows; a sound file takes half a second and 150 MiB."""

_LONGEST_SECONDS = 45.0
"""Longest time for one input: two passes within the decoder's limit, and 5 s for the rest."""

_OWN_MEBIBYTES = 1024
"""Most memory by which this process may grow over one input. 1000 frames of 4:1 need 110 MB."""

_BLOCK = 16
"""Side in pixels of the blocks in which frames are compared: a macroblock, the smallest area that codecs conceal."""

_TOLERANCE_LEVELS = 4.0
"""Mean difference of a block, in levels of 255, from which two frames differ. Frames decoded from the same data are
equal; this is what a viewer could just see. Set by hand."""


class Find(AssertionError):
    """An input that was handled wrongly."""


@dataclass(frozen=True)
class Result:
    """What became of one input.

    outcome: `read`, or one of UNREADABLE_REASONS; frames: how many were given out; damaged: how many of them were
    called damaged; altered: the numbers of those that were not, although they equal no frame of the sound file.
    """

    outcome: str
    frames: int = 0
    damaged: int = 0
    altered: tuple[int, ...] = ()


def blocks_of(image: Image) -> NDArray[np.int16]:
    """An image (H, W, 3) uint8 cut to whole blocks: (blocks, pixels of a block x 3) int16."""
    rows, columns = image.shape[0] // _BLOCK, image.shape[1] // _BLOCK
    cut = image[: rows * _BLOCK, : columns * _BLOCK].astype(np.int16)
    # axes: row of blocks, row, column of blocks, column, channel
    parts = cut.reshape(rows, _BLOCK, columns, _BLOCK, 3).swapaxes(1, 2)
    return parts.reshape(rows * columns, -1)


def largest_difference(image: Image, references: Sequence[Image]) -> float:
    """Mean difference, in levels, in the block that differs most, from the reference that is most like the image."""
    alike = [reference for reference in references if reference.shape == image.shape]
    # most frames are equal to one, which is cheap to see
    if any(np.array_equal(image, reference) for reference in alike):
        return 0.0
    blocks = blocks_of(image)
    differences = (np.abs(blocks - blocks_of(reference)).mean(axis=1).max() for reference in alike)
    return float(min(differences, default=255.0))


@cache
def references_of(name: str) -> tuple[Image, ...]:
    """All frames of both sound files of a format. They decode without a message of damage, which is checked."""
    return tuple(frame for variant in (0, 1) for frame in _sound_frames(name, variant))


def _sound_frames(name: str, variant: int) -> list[Image]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"v.{FORMATS[name].suffix}"
        path.write_bytes(file_of(name, variant))
        with open_video(path, SETTINGS, max_frames=1000) as reader:
            images = list(reader)
        damaged = [number for number in range(len(images)) if reader.log.is_damaged(number)]
        if damaged or len(images) < 8:
            raise Find(f"{name}: frames {damaged} of {len(images)} of the sound file are called damaged")
        return images


def input_of(name: str, seed: int) -> tuple[bytes, str]:
    """The damaged video with the number `seed` of a format, and in words what was changed in it."""
    data = file_of(name)
    return mutated(data, file_of(name, 1), generator_of(name, seed), body_of(name, data))


def check_video(name: str, seed: int, folder: Path) -> Result:
    """Read the input twice, all frames and by extraction. Raises Find where a rule is broken."""
    content, changes = input_of(name, seed)
    path = folder / f"{name}-{seed}.{FORMATS[name].suffix}"
    path.write_bytes(content)
    before, began = _held(), time.monotonic()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # of all children so far, among which other tests can have had larger ones
    largest_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    try:
        result = _read_all(path, name)
        _extract(path)
        problems = _leaks(before)
    except Find as find:
        raise Find(f"{find} ({changes})") from None
    except Exception as error:
        raise Find(f"{type(error).__name__}: {error} ({changes})") from error
    finally:
        path.unlink()
    if time.monotonic() - began > _LONGEST_SECONDS:
        problems.append(f"took {time.monotonic() - began:.0f} s")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if own - grown > _OWN_MEBIBYTES * 1024:  # in KiB
        problems.append("the reader's memory grew over its bound")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Until it becomes the decoder, a forked process counts this process's memory as its own.
    if children > max(largest_child, own, SETTINGS.decoder_memory_mebibytes * 1024):
        problems.append("the decoder's memory grew over its bound")
    # frames that refer to those of another file are sound data in the wrong place, which no checksum shows
    in_pictures = changes.startswith("body") and "another" not in changes
    if FORMATS[name].checksums and in_pictures and result.altered:
        problems.append(f"frames {result.altered} are altered and not called damaged")
    if problems:
        raise Find(f"{'; '.join(problems)} ({changes})")
    return result


def _held() -> tuple[int, int, int]:
    """How many threads, file descriptors and child processes this process has."""
    children = 0
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has just ended
            children += len((task / "children").read_text().split())
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), children


def _leaks(before: tuple[int, int, int]) -> list[str]:
    names = ("threads", "file descriptors", "processes")
    return [f"{name} {a} before, {b} after" for name, a, b in zip(names, before, _held(), strict=True) if b > a]


def _read_all(path: Path, name: str) -> Result:
    """Read all frames, and compare those that are not called damaged with the frames of the sound files."""
    try:
        with open_video(path, SETTINGS, max_frames=SETTINGS.max_frames) as reader:
            images = list(reader)
    except UnreadableVideo as error:
        if error.reason not in UNREADABLE_REASONS:
            raise Find(f"{error.reason} is no reason of the closed list") from error
        return Result(error.reason)
    except InterlacedVideo:
        return Result("interlaced")
    log = reader.log
    times = [log.time_of_frame(number) for number in range(len(images))]
    if not np.isfinite(times).all():
        raise Find("a frame has no finite time")
    damaged = [log.is_damaged(number) for number in range(len(images))]
    converted = [bool(log.conditions_of_frame(number)) for number in range(len(images))]
    altered = tuple(
        number
        for number, image in enumerate(images)
        if not damaged[number]
        and not converted[number]  # the condition is named, and says why the frame looks different
        and largest_difference(image, references_of(name)) > _TOLERANCE_LEVELS
    )
    return Result("read", len(images), sum(damaged), altered)


def _extract(path: Path) -> None:
    """Extract the input with masks that cost nothing, and check that all outcomes are known ones."""
    try:
        extraction = extract_video(path, SETTINGS, _middle)
    except UnreadableVideo as error:
        if error.reason not in UNREADABLE_REASONS:
            raise Find(f"{error.reason} is no reason of the closed list") from error
        return
    reasons = {frame.reject_reason for frame in extraction.frames} - {None}
    conditions = {condition for frame in extraction.frames for condition in frame.conditions}
    unknown = (
        (reasons - set(REJECT_REASONS))
        | (conditions - set(CONDITIONS))
        | ({extraction.ended_early} - {"", *ENDED_EARLY})
    )
    if unknown:
        raise Find(f"{sorted(map(str, unknown))} are in no closed list")
    if any(frame.reject_reason is None and "damaged" in frame.conditions for frame in extraction.frames):
        raise Find("a damaged frame was kept")


def _middle(
    windows: Sequence[Sequence[Image]],
    wanted: Sequence[Sequence[int]] | None = None,
    stages: object = None,  # noqa: ARG001
) -> tuple[tuple[SegmentedFrame, ...], ...]:
    """A segmenter that finds an object in the middle of every frame."""
    places = wanted if wanted is not None else [range(len(images)) for images in windows]
    return tuple(
        tuple(_middle_of(images[place]) for place in chosen) for images, chosen in zip(windows, places, strict=True)
    )


def _middle_of(image: Image) -> SegmentedFrame:
    """A mask of the middle of an image (H, W, 3), which moves by 4 pixels."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    mask[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 1
    small = np.asarray(cv2.resize(mask, (-(-width // WORKING_SCALE), -(-height // WORKING_SCALE))), np.float32)
    return SegmentedFrame(mask, 4 * small, 1.0)
