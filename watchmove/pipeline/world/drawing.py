"""The drawn world: the embedded default input, of which every pixel's truth is known.

directory/world.json          what it was drawn from
directory/videos/NAME.mp4     objects that move, cuts, still scenes, camera motion alone, noise
directory/truth/NAME.npz      masks, boxes, cuts and classes of each video
directory/voc/                a detection set of the same shapes, in PASCAL VOC's layout
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
from watchmove.pipeline.video.ffmpeg import write_video
from watchmove.pipeline.voc.annotations import write_split
from watchmove.pipeline.world.pictures import draw_voc_image
from watchmove.pipeline.world.shots import moving_shot, shot_lengths, still_shot
from watchmove.pipeline.world.video import DrawnVideo, film, moving_square

__all__ = ["KINDS", "DrawnVideo", "draw_video", "draw_world", "moving_square", "video_name"]

KINDS = ("moving", "cuts", "camera", "still", "noise")

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
_COUNTS = {"videos", "train_images", "test_images"}
_SPLITS = ("train", "test")
_SENSOR_NOISE = 2.0
_PANNED_SHARE = 0.6


def _noise_frames(rng: np.random.Generator, n_frames: int, width: int, height: int) -> NDArray[np.uint8]:
    """Grey grains of 2 pixels, new in every frame, uint8 (T, H, W, 3)."""
    grains = rng.integers(60, 196, (n_frames, height // 2, width // 2, 1), dtype=np.uint8)
    return np.broadcast_to(grains.repeat(2, axis=1).repeat(2, axis=2), (n_frames, height, width, 3)).copy()


def _noise_video(rng: np.random.Generator, n_frames: int, width: int, height: int) -> DrawnVideo:
    frames = _noise_frames(rng, n_frames, width, height)
    flows = np.full((n_frames - 1, height, width, 2), np.nan, np.float32)
    boxes_xyxy = np.empty((n_frames, 0, 4), np.float32)
    return DrawnVideo(frames, np.zeros(frames.shape[:3], bool), flows, boxes_xyxy, "noise", (), ())


def _add_sensor_noise(rng: np.random.Generator, frames: NDArray[np.uint8]) -> None:
    """Add grain to each frame in place: windows at random places of one larger field, as drawing it anew is slow."""
    _, height, width, _ = frames.shape
    field = np.rint(rng.normal(0, _SENSOR_NOISE, (height + 64, width + 64, 3))).astype(np.int16)
    for frame in frames:
        y, x = rng.integers(0, 64, 2)
        frame[:] = np.clip(frame + field[y : y + height, x : x + width], 0, 255)


def draw_video(seed: int, settings: WorldSettings, kind: str | None = None) -> DrawnVideo:
    """Draw the video of one seed, of one of `KINDS`; left out, the seed chooses. Same arguments, same arrays.

    Frames carry a little sensor noise; flow, masks and boxes are exact. Raises InvalidInput for another kind.
    """
    kind = kind or _CYCLE[seed % len(_CYCLE)]
    if kind not in KINDS:
        raise InvalidInput(f"video kind {kind!r} is not drawn here; one of {', '.join(KINDS)} is")
    rng = np.random.default_rng([seed, 1])
    n_frames, size = settings.frames_per_video, (settings.width_pixels, settings.height_pixels)
    if kind == "noise":
        return _noise_video(rng, n_frames, *size)
    lengths = shot_lengths(rng, n_frames) if kind == "cuts" else [n_frames]
    shoot = moving_shot if kind in ("moving", "cuts") else still_shot
    pans = kind == "camera" or (kind != "still" and bool(rng.random() < _PANNED_SHARE))
    # a third of the colour circle between neighbouring shots, so that a cut is one to the eye
    hue = rng.uniform()
    scenes = [shoot(rng, length, size, hue=hue + nth / 3, camera_pans=pans) for nth, length in enumerate(lengths)]
    video = film(scenes, lengths, *size, kind)
    _add_sensor_noise(rng, video.frames)
    return video


def video_name(number: int) -> str:
    """Name of a world's video, without suffix; it says what the video shows."""
    return f"{number:04d}-{_CYCLE[number % len(_CYCLE)]}"


def _draw_video_files(directory: Path, settings: WorldSettings, number: int) -> None:
    """The truth first: a video that is there has its truth beside it."""
    video_path = directory / "videos" / f"{video_name(number)}.mp4"
    truth_path = directory / "truth" / f"{video_name(number)}.npz"
    if video_path.is_file() and truth_path.is_file():
        return
    video = draw_video(settings.seed * 1_000_003 + number, settings, _CYCLE[number % len(_CYCLE)])
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


def _hold_settings(directory: Path, settings: WorldSettings) -> None:
    """Note what the world is drawn from; a world may grow, but not become another one in part."""
    path, now = directory / "world.json", settings.model_dump(exclude=_COUNTS)
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError:
            before = None
        if before != now:
            raise InvalidInput(f"{directory}: holds a world drawn from other settings; give another or an empty folder")
    else:
        write_bytes(path, (json.dumps(now, indent=2) + "\n").encode())


def draw_world(directory: Path, settings: WorldSettings, workers: int = 1) -> None:
    """Draw whatever of the world is not there yet, with so many threads (each video's encoder is a process of its own).

    The same settings give the same arrays in any order and with any number of workers. Every file is there whole or
    not at all. More videos or images than last time are added to what is there. Raises InvalidInput where the folder
    holds a world drawn from other settings, Unavailable where the disk or ffmpeg fails.
    """
    _hold_settings(directory, settings)
    root, size = directory / "voc", (settings.width_pixels, settings.height_pixels)
    counts = dict(zip(_SPLITS, (settings.train_images, settings.test_images), strict=True))
    ids = {split: [f"{split}_{number:05d}" for number in range(counts[split])] for split in _SPLITS}

    def voc_job(stream: int, number: int, image_id: str) -> Callable[[], None]:
        return lambda: draw_voc_image(root, image_id, np.random.default_rng([settings.seed, 2 + stream, number]), size)

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
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for split in _SPLITS:
        if ids[split]:
            write_split(root, split, ids[split])
