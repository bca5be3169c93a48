"""Frames one after the other, from a video file or a folder of pictures, each with the name and the size it came in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.ffmpeg import LONGEST_TO_SHORTEST, VideoReader

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_VIDEO_RATE = 25.0
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class NamedFrame:
    """One frame: `name` without suffix; `image` at the working size, (H, W, 3) uint8 RGB, None where `problem` says
    why it cannot be read; (height, width) as it came, None where that is not known.
    """

    name: str
    image: Image | None
    size: tuple[int, int] | None
    problem: str = ""


def picture_paths(folder: Path) -> list[Path]:
    """Pictures of a folder by name, numbers in it by their value; other files are passed over.

    Raises:
        InvalidInput: there is none, or two of them differ by nothing but their suffix.
    """
    paths = sorted((path for path in folder.iterdir() if _is_picture(path)), key=_by_number)
    if not paths:
        known = " ".join(sorted(PICTURE_SUFFIXES))
        raise InvalidInput(f"{folder}: no picture there; name a video or a folder of frames ({known})")
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise InvalidInput(f"{folder}: {other.name} and {path.name} would share one mask; rename one")
    return paths


def _is_picture(path: Path) -> bool:
    """Hidden files are none: beside each frame that macOS copies it leaves `._NAME` of the same suffix."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _by_number(path: Path) -> tuple[list[tuple[int, str]], str]:
    """frame2 before frame10; names that differ only in leading zeros keep a fixed order."""
    parts = _DIGITS.split(path.name)
    # axes of the split: text, digits, text, digits, ... so that equal places hold comparable things
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], path.name


def frames_of_folder(folder: Path, settings: ExtractionSettings) -> Iterator[NamedFrame]:
    """Frames of a folder of pictures of any kind: grey, 16-bit, with alpha or a palette, each its own size.

    Raises:
        InvalidInput: as `picture_paths`, or no picture can be read.
    """
    problems = set()
    for path in picture_paths(folder):
        frame = _read_picture(path, settings)
        problems.add(frame.problem)
        yield frame
    if "" not in problems:
        found = ", ".join(sorted(problems))
        raise InvalidInput(
            f"{folder}: none of its pictures can be read ({found}); look whether they are damaged, larger than "
            f"extract.max_source_pixels ({settings.max_source_pixels}), or {LONGEST_TO_SHORTEST} times as long as wide"
        )


def _read_picture(path: Path, settings: ExtractionSettings) -> NamedFrame:
    """One picture; what its header claims is checked before memory is spent on it."""
    try:
        with PIL.Image.open(path) as header:
            width, height = header.size
    except PIL.Image.DecompressionBombError:
        return NamedFrame(path.stem, None, None, "absurd-size")
    except (OSError, SyntaxError, ValueError):
        return NamedFrame(path.stem, None, None, "unreadable")
    size = (height, width)
    if height * width > settings.max_source_pixels or max(size) >= LONGEST_TO_SHORTEST * min(size):
        return NamedFrame(path.stem, None, size, "absurd-size")
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return NamedFrame(path.stem, None, size, "unreadable")
    small = _at_working_size(np.asarray(pixels, np.uint8), settings.shorter_side_pixels)
    return NamedFrame(path.stem, np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8), size)


def _at_working_size(image: Image, shorter_side_pixels: int) -> Image:
    """`image` (H, W, 3) with its shorter side as asked, larger or smaller."""
    height, width = image.shape[:2]
    scale = shorter_side_pixels / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


class VideoFrames:
    """All frames of a video file, however many, named by their number in six digits, as long as the `with` block lasts.

    Raises UnreadableVideo and Unavailable as VideoReader does.
    """

    def __init__(self, path: Path, settings: ExtractionSettings) -> None:
        self._reader = VideoReader(
            path,
            shorter_side_pixels=settings.shorter_side_pixels,
            max_frames=None,
            max_source_pixels=settings.max_source_pixels,
            timeout_seconds=settings.decoder_timeout_seconds,
            memory_mebibytes=settings.decoder_memory_mebibytes,
        )

    def __enter__(self) -> "VideoFrames":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def __iter__(self) -> Iterator[NamedFrame]:
        for index, image in enumerate(self._reader):
            yield NamedFrame(f"{index:06d}", image, None)

    def size_of_frame(self, index: int) -> tuple[int, int] | None:
        """(height, width) of frame `index` in the file, None where the decoder does not say."""
        return self._reader.log.size_of_frame(index)

    def is_interlaced(self, index: int) -> bool:
        """Whether frame `index` held two fields."""
        return self._reader.log.is_interlaced(index)

    def rate(self) -> float:
        """Frames per second, by the times of the frames read so far."""
        times = self._reader.log.frame_times_seconds
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else _VIDEO_RATE
