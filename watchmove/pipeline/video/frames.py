"""Streams of frames from a video file or a folder of images, each frame with its name and its original size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import PIL.Image

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, Unavailable, UnreadableVideo
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.files.natural_order import natural_order
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import HardwareFailed, InterlacedVideo
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import EVERYTHING, LONGEST_TO_SHORTEST, Extent, Fields

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_DEFAULT_FRAMES_PER_SECOND = 25.0
"""Frame rate of a video whose stream has no times. Set by hand: the rate of European television."""

_TRIED_SIZE, _TRIED_FRAMES = (240, 320), 8
"""(height, width) and number of the frames with which decoding by a GPU is tried. Set by hand."""
_MOST_DIFFERENCE = 3.0
"""Largest mean difference of such a frame from that of ffmpeg's own decoder, in levels of 255. Set by hand."""


@dataclass(frozen=True)
class NamedFrame:
    """One frame of a stream.

    name: file name without suffix, or the number in the video; image: (H, W, 3) uint8 RGB at the working size, None
    for a frame that cannot be read; size: (height, width) of the original, None where it is not known; problem: why
    the frame cannot be read or is not to be trusted, empty for a good one.
    """

    name: str
    image: Image | None
    size: tuple[int, int] | None
    problem: str = ""


def image_paths(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name with numbers in order of their values; other files are ignored.

    Raises:
        InvalidInput: there is no image, or two of them differ only in their suffix.
    """
    paths = sorted((path for path in folder.iterdir() if _is_image(path)), key=natural_order)
    if not paths:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise InvalidInput(f"{folder}: contains no image; name a video or a folder of frames ({known})")
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise InvalidInput(f"{folder}: {other.name} and {path.name} would get the same mask file; rename one")
    return paths


def _is_image(path: Path) -> bool:
    """Whether a file is an image by its name. Hidden files are not: macOS adds `._NAME` to each file that it copies."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def frames_of_folder(folder: Path, settings: ExtractionSettings) -> Iterator[NamedFrame]:
    """The frames of a folder of images of any kind (grey, 16-bit, with alpha or a palette) and of any sizes.

    An image that cannot be read gives a frame with its `problem`: `unreadable` or `absurd-size`.

    Raises:
        InvalidInput: there is no image, two images differ only in their suffix, or none can be read.
    """
    problems = set()
    for path in image_paths(folder):
        frame = _read_image(path, settings)
        problems.add(frame.problem)
        yield frame
    if "" not in problems:
        found = ", ".join(sorted(problems))
        raise InvalidInput(
            f"{folder}: none of its images can be read ({found}); check whether they are damaged, larger than "
            f"extract.max_source_pixels ({settings.max_source_pixels}), or {LONGEST_TO_SHORTEST} times as long as wide"
        )


def _read_image(path: Path, settings: ExtractionSettings) -> NamedFrame:
    """Read one image. The size in its header is checked before memory is spent on its pixels."""
    try:
        with PIL.Image.open(path) as header:
            width, height = header.size
    except PIL.Image.DecompressionBombError:
        return NamedFrame(path.stem, None, None, "absurd-size")
    # Pillow reports some damaged headers by a SyntaxError or a ValueError
    except (OSError, SyntaxError, ValueError):
        return NamedFrame(path.stem, None, None, "unreadable")
    size = (height, width)
    if height * width > settings.max_source_pixels or max(size) > LONGEST_TO_SHORTEST * min(size):
        return NamedFrame(path.stem, None, size, "absurd-size")
    # as stored, without the orientation tag: masks get the size in the header, which does not apply it either
    try:
        pixels = decoded_image(path.read_bytes())
    except OSError:  # the file was deleted since its header was read
        pixels = None
    if pixels is None:
        return NamedFrame(path.stem, None, size, "unreadable")
    small = _at_working_size(pixels, settings.shorter_side_pixels)
    return NamedFrame(path.stem, np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8), size)


def _at_working_size(image: Image, shorter_side_pixels: int) -> Image:
    """Scale `image` (H, W, 3), up or down, so that its shorter side is `shorter_side_pixels`."""
    height, width = image.shape[:2]
    scale = shorter_side_pixels / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # shrinking needs the mean over an area against aliasing; enlarging with it would repeat pixels
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def open_video(
    path: Path,
    settings: ExtractionSettings,
    *,
    max_frames: int | None,
    deadline: float | None = None,
    fields: Fields = "",
    extent: Extent = EVERYTHING,
    waited_seconds: float = 0.0,
) -> VideoReader:
    """A reader of a video file with the limits that the settings give; see `VideoReader`."""
    return VideoReader(
        path,
        shorter_side_pixels=settings.shorter_side_pixels,
        max_frames=max_frames,
        max_source_pixels=settings.max_source_pixels,
        timeout_seconds=settings.decoder_timeout_seconds,
        memory_mebibytes=settings.decoder_memory_mebibytes,
        deadline=deadline,
        fields=fields,
        extent=extent,
        waited_seconds=waited_seconds,
        hardware=settings.hardware_decoding,
    )


Read = TypeVar("Read")


def read_again(read: Callable[[ExtractionSettings, Fields], Read], settings: ExtractionSettings) -> Read:
    """What `read` returns, called again where reading shows that a video is interlaced, or that no GPU decodes it.

    It is called with the settings and the `fields` with which to read the video; what it did before must not count.
    """
    fields: Fields = ""
    while True:
        try:
            return read(settings, fields)
        except InterlacedVideo as found:
            fields = found.fields
        except HardwareFailed:
            settings = settings.model_copy(update={"hardware_decoding": False})


def hardware_problem(folder: Path, settings: ExtractionSettings) -> str:
    """Why a GPU does not decode videos here, empty if it does: a small video is written to `folder` and decoded twice.

    The settings are those of `open_video`, whose `hardware_decoding` does not matter.
    """
    path = folder / "tried.mp4"
    height, width = _TRIED_SIZE
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    colours = np.stack([ramp, ramp[::-1], ramp // 2], axis=-1)
    moving = [np.tile(np.roll(colours, 9 * number, axis=0), (height, 1, 1)) for number in range(_TRIED_FRAMES)]
    try:
        write_video(path, moving, _DEFAULT_FRAMES_PER_SECOND)
        expected, found = (_all_images(path, settings, hardware=hardware) for hardware in (False, True))
    except (HardwareFailed, UnreadableVideo, Unavailable) as error:
        return str(error)
    if len(found) != len(expected):
        return f"{len(found)} of {len(expected)} frames are decoded"
    difference = max(float(np.abs(a.astype(float) - b).mean()) for a, b in zip(expected, found, strict=True))
    return f"frames differ by {difference:.0f} of 255 levels" if difference > _MOST_DIFFERENCE else ""


def _all_images(path: Path, settings: ExtractionSettings, *, hardware: bool) -> list[Image]:
    chosen = settings.model_copy(update={"hardware_decoding": hardware})
    with open_video(path, chosen, max_frames=None) as reader:
        return list(reader)


class VideoFrames:
    """All frames of a video file, named by their numbers in six digits; a context manager that can be iterated once.

    A frame that was decoded from damaged data has the `problem` `damaged`.

    Raises:
        UnreadableVideo: the file cannot be decoded; `reason` is one of UNREADABLE_REASONS.
        InterlacedVideo, HardwareFailed: see `read_again`.
        Unavailable: ffmpeg cannot be started.
    """

    def __init__(self, path: Path, settings: ExtractionSettings, fields: Fields = "") -> None:
        self._reader = open_video(path, settings, max_frames=None, fields=fields)

    def __enter__(self) -> "VideoFrames":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def __iter__(self) -> Iterator[NamedFrame]:
        for index, image in enumerate(self._reader):
            size = self._reader.log.size_of_frame(index)
            yield NamedFrame(f"{index:06d}", image, size, "damaged" if self._reader.log.is_damaged(index) else "")

    @property
    def ended_early(self) -> str:
        """Why reading ended before the end of the video, empty if it did not; see `VideoReader`."""
        return self._reader.ended_early

    def conditions_of_frame(self, index: int) -> tuple[str, ...]:
        """How frame `index`, which must have been read, was converted when it was decoded."""
        return self._reader.log.conditions_of_frame(index)

    def rate(self) -> float:
        """Frames per second, computed from the times of the frames read so far."""
        times = self._reader.log.frame_times_seconds
        return (
            (len(times) - 1) / (times[-1] - times[0])
            if len(times) > 1 and times[-1] > times[0]
            else _DEFAULT_FRAMES_PER_SECOND
        )
