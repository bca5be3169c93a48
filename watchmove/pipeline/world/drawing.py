"""The drawn world as files: the built-in default input, with exact ground truth for every pixel.

directory/world.json          the settings it was drawn from
directory/videos/NAME.mp4     moving objects, cuts, still scenes, camera motion alone, noise
directory/truth/NAME.npz      masks, boxes, cuts and classes of each video
directory/voc/                a detection set of the same or of other shapes, in the layout of PASCAL VOC

Every probability and range in this room is set by hand, so that the videos have a known share of each difficulty; none
is tuned on a result.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing, write_bytes
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.voc.annotations import write_split
from watchmove.pipeline.world.detection_images import draw_voc_image
from watchmove.pipeline.world.shots import moving_shot, shot_lengths, still_shot
from watchmove.pipeline.world.video import DrawnVideo, moving_square, render_video

__all__ = ["KINDS", "DrawnVideo", "draw_video", "draw_world", "moving_square", "video_name"]

KINDS = ("moving", "cuts", "camera", "still", "noise")
"""Kinds of drawn videos; in `camera`, `still` and `noise` no object moves."""

_CYCLE = (
    "moving",
    "cuts",
    "moving",
    "camera",
    "moving",
    "still",
    "moving",
    "noise",
    "moving",
    "cuts",
    "moving",
    "moving",
)
"""Kinds in the order in which the videos of a world are drawn, over and over. Set by hand: most show moving objects."""

_COUNTS = {"videos", "train_images", "test_images"}
"""Settings that may change when a world is extended."""

_SPLITS = ("train", "test")

_SEED_STRIDE = 1_000_003
"""Videos of worlds with neighbouring seeds share no seed: a prime that is larger than any number of videos."""

_SENSOR_NOISE_LEVELS = 2.0
"""Standard deviation of the sensor noise of drawn videos, in levels of 255."""

_NOISE_MARGIN_PIXELS = 64
"""The noise of a frame starts at one of this many positions of a larger field, along each axis."""

_NOISE_LEVELS = (60, 196)
"""Grey levels of the grains of a video of kind `noise`, largest excluded."""

_PANNED_SHARE = 0.6
"""Share of the videos with moving objects whose camera pans."""


def _noise_frames(rng: np.random.Generator, n_frames: int, width: int, height: int) -> NDArray[np.uint8]:
    """Random grey grains of 2 x 2 pixels, independent in every frame, uint8 (T, H, W, 3)."""
    grains = rng.integers(*_NOISE_LEVELS, (n_frames, height // 2, width // 2, 1), dtype=np.uint8)
    # a copy, because a broadcast array is read-only
    return np.broadcast_to(grains.repeat(2, axis=1).repeat(2, axis=2), (n_frames, height, width, 3)).copy()


def _noise_video(rng: np.random.Generator, n_frames: int, width: int, height: int) -> DrawnVideo:
    """A video of kind `noise`, with empty masks and without flow or boxes."""
    frames = _noise_frames(rng, n_frames, width, height)
    flows = np.full((n_frames - 1, height, width, 2), np.nan, np.float32)
    boxes_xyxy = np.empty((n_frames, 0, 4), np.float32)
    return DrawnVideo(frames, np.zeros(frames.shape[:3], bool), flows, boxes_xyxy, "noise", (), ())


def _add_sensor_noise(rng: np.random.Generator, frames: NDArray[np.uint8]) -> None:
    """Add noise to frames (T, H, W, 3) in place.

    The noise of each frame is cut from a random position of one larger field, because drawing a new field is slow.
    """
    _, height, width, _ = frames.shape
    size = (height + _NOISE_MARGIN_PIXELS, width + _NOISE_MARGIN_PIXELS, 3)
    field = np.rint(rng.normal(0, _SENSOR_NOISE_LEVELS, size)).astype(np.int16)
    for frame in frames:
        y, x = rng.integers(0, _NOISE_MARGIN_PIXELS, 2)
        frame[:] = np.clip(frame + field[y : y + height, x : x + width], 0, 255)


def draw_video(seed: int, settings: WorldSettings, kind: str | None = None) -> DrawnVideo:
    """Draw the video of one seed; `kind` is one of `KINDS`, or None to let the seed choose.

    The same arguments give the same arrays. Frames have a little sensor noise; flow, masks and boxes are exact.

    Raises:
        InvalidInput: `kind` is not one of `KINDS`.
    """
    kind = kind or _CYCLE[seed % len(_CYCLE)]
    if kind not in KINDS:
        raise InvalidInput(f"video kind {kind!r}: is unknown; use one of {', '.join(KINDS)}")
    # the second number separates the random numbers of videos from those of images, which have 2 and 3
    rng = np.random.default_rng([seed, 1])
    n_frames, size = settings.frames_per_video, (settings.width_pixels, settings.height_pixels)
    if kind == "noise":
        return _noise_video(rng, n_frames, *size)
    lengths = shot_lengths(rng, n_frames) if kind == "cuts" else [n_frames]
    draw_shot = moving_shot if kind in ("moving", "cuts") else still_shot
    pans = kind == "camera" or (kind != "still" and bool(rng.random() < _PANNED_SHARE))
    # the hues of neighbouring shots are a third of the colour circle apart, so that every cut is visible
    hue = rng.uniform()
    scenes = [draw_shot(rng, length, size, hue=hue + nth / 3, camera_pans=pans) for nth, length in enumerate(lengths)]
    video = render_video(scenes, lengths, *size, kind)
    _add_sensor_noise(rng, video.frames)
    return video


def video_name(number: int) -> str:
    """The name of a video of a world, without suffix: its number and its kind."""
    return f"{number:04d}-{_CYCLE[number % len(_CYCLE)]}"


def _draw_video_files(directory: Path, settings: WorldSettings, number: int) -> None:
    """Draw one video unless it exists. The truth is written first, so that every existing video has its truth."""
    video_path = directory / "videos" / f"{video_name(number)}.mp4"
    truth_path = directory / "truth" / f"{video_name(number)}.npz"
    if video_path.is_file() and truth_path.is_file():
        return
    video = draw_video(settings.seed * _SEED_STRIDE + number, settings, _CYCLE[number % len(_CYCLE)])
    with replacing(truth_path) as temporary:
        np.savez_compressed(
            temporary,
            masks=video.masks,
            boxes_xyxy=video.boxes_xyxy,
            cuts=np.array(video.cuts, np.int64),
            class_names=np.array(video.class_names, np.str_),
        )
    with replacing(video_path) as temporary:
        write_video(temporary, video.frames, settings.frames_per_second)


def _record_settings(directory: Path, settings: WorldSettings) -> None:
    """Write the settings into an empty folder, or compare them: a world can be extended but not mixed with another."""
    path, now = directory / "world.json", settings.model_dump(exclude=_COUNTS)
    if path.is_file():
        try:
            # worlds that were drawn before there was a setting have its default
            before = WorldSettings().model_dump(exclude=_COUNTS) | json.loads(path.read_text())
        except (ValueError, TypeError):
            before = None
        if before != now:
            raise InvalidInput(f"{directory}: holds a world drawn from other settings; name another or an empty folder")
    else:
        write_bytes(path, (json.dumps(now, indent=2) + "\n").encode())


def draw_world(directory: Path, settings: WorldSettings, workers: int = 1) -> None:
    """Draw the files of a world that do not exist yet, in `workers` threads; videos are encoded in child processes.

    The same settings give the same arrays with any number of workers. Files are written atomically. If the settings ask
    for more videos or images than exist, the missing ones are added.

    Raises:
        InvalidInput: the folder holds a world drawn from other settings.
        Unavailable: the disk or ffmpeg fails.
    """
    _record_settings(directory, settings)
    root, size = directory / "voc", (settings.width_pixels, settings.height_pixels)
    counts = dict(zip(_SPLITS, (settings.train_images, settings.test_images), strict=True))
    ids = {split: [f"{split}_{number:05d}" for number in range(counts[split])] for split in _SPLITS}

    # every image has its own random generator, so that the order in which threads draw makes no difference
    def voc_job(stream: int, number: int, image_id: str) -> Callable[[], None]:
        rng = np.random.default_rng([settings.seed, 2 + stream, number])
        return lambda: draw_voc_image(root, image_id, rng, size, settings.detection_motifs)

    def video_job(number: int) -> Callable[[], None]:
        return lambda: _draw_video_files(directory, settings, number)

    jobs = [video_job(number) for number in range(settings.videos)]
    for stream, split in enumerate(_SPLITS):
        jobs += [voc_job(stream, number, image_id) for number, image_id in enumerate(ids[split])]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            # without this, leaving the `with` block would first draw everything that is still queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    # the lists are written last, so that they name no image that does not exist
    for split in _SPLITS:
        if ids[split]:
            write_split(root, split, ids[split])
