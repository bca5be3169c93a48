"""Layers that are drawn with affine poses: the frame, the owners and the flow agree with each other."""

import cv2
import numpy as np
import pytest

from watchmove.pipeline.world.scene import Layer, Scene, box_of_mask_xyxy, exact_flow, poses_from_path, render
from watchmove.pipeline.world.textures import smooth_noise


def _scene(angle_degrees: float, scale: float) -> Scene:
    """A smooth square that moves, rotates and grows over two moments, in front of a panned scene."""
    rng = np.random.default_rng(0)

    def texture(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        planes = [smooth_noise(rng, side, side, 6.0) * 40 + 128 for _ in range(3)]
        return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)

    path = np.array([(50.0, 60.0), (53.3, 58.5)])
    poses = poses_from_path(path, np.radians([0.0, angle_degrees]), np.array([1.0, scale]), (40, 40))
    camera = poses_from_path(np.array([(60.0, 50.0), (58.6, 50.7)]), np.zeros(2), np.ones(2), (160, 160))
    return Scene(texture(160), camera, (Layer("square", texture(40), np.ones((40, 40), np.float32), poses),))


@pytest.mark.parametrize(("angle_degrees", "scale"), [(0.0, 1.0), (4.0, 1.0), (0.0, 1.05), (-3.0, 0.97)])
def test_next_frame_warped_along_the_flow_is_this_frame(angle_degrees: float, scale: float) -> None:
    """Away from edges, the flow of each pixel leads to the same colour in the next frame."""
    scene = _scene(angle_degrees, scale)
    now, owner = render(scene, 0, 120, 100)
    then, _ = render(scene, 1, 120, 100)
    target = np.stack(np.meshgrid(np.arange(120), np.arange(100)), axis=-1) + exact_flow(scene, 0, owner)
    pulled = np.asarray(cv2.remap(then, target[..., 0].astype(np.float32), target[..., 1].astype(np.float32), 1))
    difference = np.abs(pulled.astype(int) - now).mean(axis=-1)
    object_inside = cv2.erode(owner, np.ones((7, 7))) > 0
    scene_outside = cv2.dilate(owner, np.ones((13, 13))) == 0
    scene_outside[:4], scene_outside[-4:], scene_outside[:, :4], scene_outside[:, -4:] = False, False, False, False

    assert difference[object_inside].max() < 12
    assert difference[object_inside].mean() < 2.5
    assert difference[scene_outside].mean() < 2.5


def test_last_layer_is_in_front() -> None:
    """Where two layers overlap, the frame and the owner are those of the later one."""
    at = poses_from_path(np.array([(10.0, 10.0)]), np.zeros(1), np.ones(1), (9, 9))
    red, blue = (np.full((9, 9, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    full = np.ones((9, 9), np.float32)
    scene = Scene(
        np.zeros((20, 20, 3), np.uint8), np.eye(2, 3)[None], (Layer("a", red, full, at), Layer("b", blue, full, at))
    )
    image, owner = render(scene, 0, 20, 20)

    assert image[10, 10].tolist() == [0, 0, 255]
    assert sorted(np.unique(owner)) == [0, 2]


def test_layer_out_of_sight_leaves_no_trace() -> None:
    """A layer outside the frame changes nothing and raises no error."""
    away = poses_from_path(np.array([(-50.0, 300.0)]), np.zeros(1), np.ones(1), (9, 9))
    layer = Layer("a", np.full((9, 9, 3), 255, np.uint8), np.ones((9, 9), np.float32), away)
    image, owner = render(Scene(np.zeros((20, 20, 3), np.uint8), np.eye(2, 3)[None], (layer,)), 0, 20, 20)

    assert not image.any()
    assert not owner.any()


def test_box_of_mask() -> None:
    """The box is tight with an exclusive maximum; an empty mask has none."""
    mask = np.zeros((10, 12), bool)
    mask[2:5, 7] = True

    assert box_of_mask_xyxy(mask).tolist() == [7, 2, 8, 5]
    assert np.isnan(box_of_mask_xyxy(np.zeros((3, 3), bool))).all()
