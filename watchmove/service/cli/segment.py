"""`watchmove segment`: a soft mask for every frame of a video or of a folder of frames, and what was found in each."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, UnreadableVideo
from watchmove.pipeline.extraction.every_frame import MaskedFrame, mask_frames
from watchmove.pipeline.files.atomic import replacing, write_bytes
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.teacher import masks_provenance
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.ffmpeg import write_video
from watchmove.pipeline.video.frames import NamedFrame, VideoFrames, frames_of_folder, image_paths

FACTS, OVERLAY = "frames.jsonl", "overlay.mp4"
_FOLDER_RATE = 25.0
_TINT = np.array([255, 60, 60], np.float32)


def segment(source: Path, out: Path, settings: ExtractionSettings, *, overlay: bool = False) -> int:
    """Write `NAME.png` (8-bit soft mask of the frame's own size) for each frame, then `frames.jsonl`; how many frames.

    `frames.jsonl` comes last and says that all is there; run again, all is written again. With `overlay` also
    `overlay.mp4`, the frames at working size with their masks and verdicts drawn in.

    Raises:
        InvalidInput: nothing there can be read, or `out` is the folder that is read, or no folder.
        Unavailable: `out` cannot be written, or ffmpeg cannot be started.
    """
    if source.resolve() == out.resolve():
        raise InvalidInput(f"--out {out}: is the folder that is read; masks would replace frames, name another")
    cv2.setNumThreads(1)
    shot_segmenter(settings)
    flow = masks_provenance(settings)
    rows: list[str] = []
    try:
        (out / FACTS).unlink(missing_ok=True)
    except NotADirectoryError as error:
        raise InvalidInput(f"--out {out}: there is a file in its place; name a folder") from error
    with _opened(source, settings) as stream:
        written = _write_masks(mask_frames(stream, settings), stream, out, rows, flow)
        if overlay:
            _write_overlay(written, stream, out)
        else:
            for _ in written:
                pass
    write_bytes(out / FACTS, "".join(rows).encode())
    return len(rows)


class _Folder:
    """A folder of pictures, in the form of a video's frames."""

    def __init__(self, path: Path, settings: ExtractionSettings) -> None:
        image_paths(path)
        self._path, self._settings = path, settings

    def __iter__(self) -> Iterator[NamedFrame]:
        return frames_of_folder(self._path, self._settings)

    def size_of_frame(self, index: int) -> None:  # noqa: ARG002 (each frame brings its own size)
        return None

    def is_interlaced(self, index: int) -> bool:  # noqa: ARG002 (pictures say nothing of fields)
        return False

    def rate(self) -> float:
        return _FOLDER_RATE


@contextmanager
def _opened(source: Path, settings: ExtractionSettings) -> Iterator[VideoFrames | _Folder]:
    if not source.exists():
        raise InvalidInput(f"{source}: no such file or folder; name a video or a folder of frames")
    if source.is_dir():
        yield _Folder(source, settings)
        return
    try:
        with VideoFrames(source, settings) as frames:
            yield frames
    except UnreadableVideo as error:
        raise InvalidInput(f"{error}; name a video that plays") from error


def _write_masks(
    masked: Iterator[MaskedFrame], stream: VideoFrames | _Folder, out: Path, rows: list[str], flow: Mapping[str, str]
) -> Iterator[MaskedFrame]:
    """Write each frame's mask and keep its row of facts; passes the frames on."""
    for one in masked:
        size = one.frame.size or stream.size_of_frame(one.index)
        if one.frame.image is not None:
            write_bytes(out / f"{one.frame.name}.png", mask_png(one, size or one.frame.image.shape[:2]))
        facts = _facts(one, interlaced=stream.is_interlaced(one.index))
        rows.append(json.dumps({**facts, **flow}) + "\n")
        yield one


def mask_png(one: MaskedFrame, size: tuple[int, ...]) -> bytes:
    """The soft mask of a frame, 0..255, at `size` (height, width), as PNG."""
    levels = cv2.resize(one.found.soft_mask, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    _, png = cv2.imencode(".png", np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8))
    return png.tobytes()


def _facts(one: MaskedFrame, *, interlaced: bool) -> dict[str, object]:
    return {
        "frame": one.frame.name,
        "index": one.index,
        "shot": one.shot,
        "confidence": round(one.found.confidence, 4),
        "kept": one.found.reject_reason is None,
        "reject_reason": one.found.reject_reason,
        "conditions": [*one.found.conditions, *(["interlaced"] if interlaced else [])],
        "cpu_seconds": {stage: round(seconds, 5) for stage, seconds in one.stage_seconds.items()},
    }


def _write_overlay(written: Iterator[MaskedFrame], stream: VideoFrames | _Folder, out: Path) -> None:
    readable = (one for one in written if one.frame.image is not None)
    first = next(readable, None)
    if first is None or first.frame.image is None:
        return
    height, width = (side - side % 2 for side in first.frame.image.shape[:2])

    def pictures() -> Iterator[Image]:
        yield drawn_over(first, height, width)
        for one in readable:
            yield drawn_over(one, height, width)

    with replacing(out / OVERLAY) as path:
        write_video(path, pictures(), stream.rate())


def drawn_over(one: MaskedFrame, height: int, width: int) -> Image:
    """A frame at (height, width) with its mask as a red tint, its outline, and the verdict in words."""
    picture = cv2.resize(np.asarray(one.frame.image), (width, height), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(one.found.soft_mask, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    tinted = np.clip(picture * (1 - 0.45 * soft) + _TINT * (0.45 * soft), 0, 255).astype(np.uint8)
    outlines, _ = cv2.findContours((soft[..., 0] >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(tinted, outlines, -1, (255, 255, 0), 1)
    verdict = one.found.reject_reason or "kept"
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        text = f"{one.frame.name}  {verdict}  {one.found.confidence:.2f}"
        cv2.putText(tinted, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return np.ascontiguousarray(tinted)
