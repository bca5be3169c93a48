"""`watchmove segment`: a soft mask and a verdict for every frame of a video or of a folder of frames."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, UnreadableVideo
from watchmove.pipeline.extraction.every_frame import MaskedFrame, mask_frames
from watchmove.pipeline.files.atomic import replacing, write_bytes
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.motion_network import masks_provenance
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import Fields
from watchmove.pipeline.video.frames import NamedFrame, VideoFrames, frames_of_folder, image_paths, read_again
from watchmove.service.extraction.pipeline import with_usable_hardware

FACTS, OVERLAY = "frames.jsonl", "overlay.mp4"
_FOLDER_RATE = 25.0
"""Frame rate of the overlay of a folder, which has no rate of its own: that of European television."""
_TINT_RGB = np.array([255, 60, 60], np.float32)
_TINT_WEIGHT = 0.45
"""Opacity of the tint where the mask is 1; the frame remains visible below it."""
_OUTLINE_RGB = (255, 255, 0)


def segment(
    source: Path,
    out: Path,
    settings: ExtractionSettings,
    *,
    overlay: bool = False,
    on_frame: Callable[[int, int], None] = lambda *_: None,
) -> int:
    """Write the mask of each frame and then `frames.jsonl` into `out`; return the number of frames.

    A mask is `NAME.png`, an 8-bit soft mask of the frame's original size. `frames.jsonl` is written last, so its
    presence means that the output is complete; running this again overwrites everything. With `overlay`, the frames at
    working size with masks and verdicts drawn in are written as `overlay.mp4`; that of an earlier call is removed.
    `on_frame` is called with the numbers of masks written and of frames read, whenever either grows.

    Raises:
        InvalidInput: the source cannot be read, the output would replace it, or `out` is not a folder.
        Unavailable: `out` cannot be written, or ffmpeg cannot be started.
    """
    # not resolve(), which raises for links that lead to each other
    if os.path.realpath(source) in {os.path.realpath(path) for path in (out, out / FACTS, out / OVERLAY)}:
        raise InvalidInput(f"--out {out}: the output would replace the input {source}; name another folder")
    cv2.setNumThreads(1)
    # Built before anything is written or decoded, so that a missing device or weights file is named at once.
    shot_segmenter(settings)
    settings = settings if source.is_dir() else with_usable_hardware(settings, "")
    rows = read_again(
        lambda settings, fields: _write_all(source, out, settings, on_frame, overlay=overlay, fields=fields), settings
    )
    write_bytes(out / FACTS, "".join(rows).encode())
    return len(rows)


def _remove_earlier(out: Path) -> None:
    """Remove what says that the output of an earlier call is complete. Raises InvalidInput where that is impossible."""
    for path in (out / FACTS, out / OVERLAY):
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError as error:
            raise InvalidInput(f"--out {out}: is a file; name a folder") from error
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be replaced ({error.strerror}); name another folder") from error


def _write_all(
    source: Path,
    out: Path,
    settings: ExtractionSettings,
    on_frame: Callable[[int, int], None],
    *,
    overlay: bool,
    fields: Fields,
) -> list[str]:
    """Write the mask of each frame, and the overlay if it is wanted; returns the lines of `frames.jsonl`."""
    rows: list[str] = []
    read = 0

    def counted(frames: Iterable[NamedFrame]) -> Iterator[NamedFrame]:
        nonlocal read
        for read, frame in enumerate(frames, start=1):
            if read == 1:  # not before, so that an input that cannot be read does not cost an earlier output
                _remove_earlier(out)
            on_frame(len(rows), read)
            yield frame

    def reported(masked: Iterator[MaskedFrame]) -> Iterator[MaskedFrame]:
        for frame in masked:
            on_frame(len(rows), read)
            yield frame

    with _opened(source, settings, fields) as stream:
        masked = mask_frames(counted(stream), settings)
        written = reported(_write_masks(masked, stream, out, rows, masks_provenance(settings)))
        if overlay:
            _write_overlay(written, stream, out)
        else:
            # Masks are written as the frames are taken from the generator.
            for _ in written:
                pass
        if stream.ended_early:
            raise InvalidInput(
                f"{source}: decoding stopped after {len(rows)} frames ({stream.ended_early}), and their masks are in "
                f"{out}; raise extract.decoder_timeout_seconds and run again"
            )
    return rows


class _Folder:
    """A folder of images with the interface of VideoFrames."""

    ended_early = ""

    def __init__(self, path: Path, settings: ExtractionSettings) -> None:
        # Only for its errors: a folder without images is refused before the first frame.
        image_paths(path)
        self._path, self._settings = path, settings

    def __iter__(self) -> Iterator[NamedFrame]:
        return frames_of_folder(self._path, self._settings)

    def conditions_of_frame(self, index: int) -> tuple[str, ...]:  # noqa: ARG002 (images are taken as they are)
        return ()

    def rate(self) -> float:
        return _FOLDER_RATE


@contextmanager
def _opened(source: Path, settings: ExtractionSettings, fields: Fields) -> Iterator[VideoFrames | _Folder]:
    if not source.exists():
        raise InvalidInput(f"{source}: no such file or folder; name a video or a folder of frames")
    if source.is_dir():
        yield _Folder(source, settings)
        return
    try:
        with VideoFrames(source, settings, fields) as frames:
            yield frames
    except UnreadableVideo as error:
        raise InvalidInput(f"{error}; name a video that can be decoded") from error


def _write_masks(
    masked: Iterator[MaskedFrame], stream: VideoFrames | _Folder, out: Path, rows: list[str], flow: Mapping[str, str]
) -> Iterator[MaskedFrame]:
    """Write the mask of each frame, append its JSON line to `rows`, and yield the frame."""
    for frame in masked:
        if frame.frame.image is not None:
            size = frame.frame.size or frame.frame.image.shape[:2]
            write_bytes(out / f"{frame.frame.name}.png", mask_png(frame, size))
        facts = _facts(frame, stream.conditions_of_frame(frame.index))
        rows.append(json.dumps({**facts, **flow}) + "\n")
        yield frame


def mask_png(masked: MaskedFrame, size: tuple[int, ...]) -> bytes:
    """The soft mask of a frame as an 8-bit PNG of `size` (height, width)."""
    levels = cv2.resize(masked.found.soft_mask, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    _, png = cv2.imencode(".png", np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8))
    return png.tobytes()


def _facts(masked: MaskedFrame, decoded: tuple[str, ...]) -> dict[str, object]:
    return {
        "frame": masked.frame.name,
        "index": masked.index,
        "shot": masked.shot,
        "confidence": round(masked.found.confidence, 4),
        "kept": masked.found.reject_reason is None,
        "reject_reason": masked.found.reject_reason,
        "conditions": [*masked.found.conditions, *decoded],
        "cpu_seconds": {stage: round(seconds, 5) for stage, seconds in masked.stage_seconds.items()},
    }


def _write_overlay(written: Iterator[MaskedFrame], stream: VideoFrames | _Folder, out: Path) -> None:
    readable = (masked for masked in written if masked.frame.image is not None)
    first = next(readable, None)
    if first is None or first.frame.image is None:
        return
    # The video codec needs even sides.
    height, width = (side - side % 2 for side in first.frame.image.shape[:2])

    def drawn() -> Iterator[Image]:
        yield drawn_over(first, height, width)
        for masked in readable:
            yield drawn_over(masked, height, width)

    with replacing(out / OVERLAY) as path:
        write_video(path, drawn(), stream.rate())


def drawn_over(masked: MaskedFrame, height: int, width: int) -> Image:
    """A frame scaled to (height, width) with its mask as a red tint, the mask's outline, and the verdict as text."""
    image = cv2.resize(np.asarray(masked.frame.image), (width, height), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(masked.found.soft_mask, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    tinted = np.clip(image * (1 - _TINT_WEIGHT * soft) + _TINT_RGB * (_TINT_WEIGHT * soft), 0, 255).astype(np.uint8)
    # Soft masks are scaled so that the boundary of an object is at 0.5.
    outlines, _ = cv2.findContours((soft[..., 0] >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(tinted, outlines, -1, _OUTLINE_RGB, 1)
    verdict = masked.found.reject_reason or "kept"
    # A thick black line under a thin white one can be read on any frame.
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        text = f"{masked.frame.name}  {verdict}  {masked.found.confidence:.2f}"
        cv2.putText(tinted, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return np.ascontiguousarray(tinted)
