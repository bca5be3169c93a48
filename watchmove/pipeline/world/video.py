"""Drawn videos with their exact ground truth, and the simplest one: a square that moves by a known step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.world.scene import Layer, Scene, box_of_mask_xyxy, exact_flow, poses_from_path, render
from watchmove.pipeline.world.textures import background, object_texture


@dataclass(frozen=True)
class DrawnVideo:
    """A video of T frames and its ground truth; each of the N objects belongs to one shot and is NaN in the others."""

    frames: NDArray[np.uint8]
    """uint8 RGB (T, H, W, 3)."""
    masks: NDArray[np.bool_]
    """bool (T, H, W): pixels of objects with independent motion; camera motion alone leaves them False."""
    flows: NDArray[np.float32]
    """float32 (T-1, H, W, 2), pixels per frame, x then y; NaN across a cut and in noise, where no flow exists."""
    boxes_xyxy: NDArray[np.float32]
    """float32 (T, N, 4): the box of the visible part of each object, 0-based, maximum exclusive; NaN if not visible."""
    kind: str
    """What the video shows: one of `watchmove.pipeline.world.drawing.KINDS`, or `square`."""
    cuts: tuple[int, ...]
    """Indices of the first frames of all shots except the first."""
    class_names: tuple[str, ...]
    """The shape of each of the N objects."""


def render_video(scenes: Sequence[Scene], n_frames: Sequence[int], width: int, height: int, kind: str) -> DrawnVideo:
    """Render `n_frames[i]` frames of each `scenes[i]`, one shot after the other, into one video."""
    total, n_objects = sum(n_frames), sum(len(scene.layers) for scene in scenes)
    frames = np.empty((total, height, width, 3), np.uint8)
    masks = np.zeros((total, height, width), bool)
    flows = np.full((total - 1, height, width, 2), np.nan, np.float32)
    boxes_xyxy = np.full((total, n_objects, 4), np.nan, np.float32)
    start = first_object = 0
    for scene, count in zip(scenes, n_frames, strict=True):
        for time in range(count):
            frames[start + time], owner = render(scene, time, width, height)
            masks[start + time] = owner > 0
            for number in range(len(scene.layers)):
                boxes_xyxy[start + time, first_object + number] = box_of_mask_xyxy(owner == number + 1)
            # the frame after the last one of a shot shows another scene, so no flow leads to it
            if time + 1 < count:
                flows[start + time] = exact_flow(scene, time, owner)
        start, first_object = start + count, first_object + len(scene.layers)
    cuts = tuple(int(cut) for cut in np.cumsum(n_frames)[:-1])
    names = tuple(layer.class_name for scene in scenes for layer in scene.layers)
    return DrawnVideo(frames, masks, flows, boxes_xyxy, kind, cuts, names)


def moving_square(
    step_pixels: tuple[float, float] = (3.0, 0.0),
    frames: int = 12,
    *,
    width: int = 320,
    height: int = 240,
    side_pixels: int = 72,
    start_pixels: tuple[int, int] | None = None,
    camera_step_pixels: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
) -> DrawnVideo:
    """A textured square that moves `step_pixels` (x, y) per frame over a textured background, for known-answer tests.

    Its top left corner is at `start_pixels` (x, y) in the first frame; if None, the path is centred in the frame. The
    background moves `camera_step_pixels` per frame. Integer steps move pixels exactly, without interpolation or noise:
    the mask is the square, the flow inside it is the step, and the box has its corners.

    Raises:
        InvalidInput: the square would leave the frame, so that a test cannot compare with a clipped one by mistake.
    """
    steps = np.arange(frames)[:, None] * np.array(step_pixels, np.float64)
    if start_pixels is None:
        start = np.rint((np.array([width, height]) - side_pixels - steps[-1]) / 2)
    else:
        start = np.array(start_pixels, np.float64)
    corners = start + steps
    if corners.min() < 0 or (corners + side_pixels > (width, height)).any():
        raise InvalidInput(
            f"a square of {side_pixels} pixels leaves {width}x{height}; use fewer frames or a smaller step"
        )
    rng = np.random.default_rng(seed)
    hue, still = rng.uniform(), np.zeros(frames)
    # half of the colour circle from the background, so that the square differs from it clearly
    texture = object_texture(rng, "checks", side_pixels, hue + 0.5, shaded=False)
    poses = poses_from_path(corners + (side_pixels - 1) / 2, still, still + 1, (side_pixels, side_pixels))
    square = Layer("square", texture, np.ones((side_pixels, side_pixels), np.float32), poses)
    # the background is larger than the frame by the camera's path, and two pixels more for interpolation
    reach = np.ceil(np.abs(camera_step_pixels) * np.float64(frames)).astype(int) + 2
    canvas = background(rng, height + 2 * int(reach[1]), width + 2 * int(reach[0]), hue)
    # a layer of one pixel has its middle at the origin, so that the path is that of the top left corner
    camera = poses_from_path(
        np.arange(frames)[:, None] * np.array(camera_step_pixels) - reach, still, still + 1, (1, 1)
    )
    return render_video([Scene(canvas, camera, (square,))], [frames], width, height, "square")
