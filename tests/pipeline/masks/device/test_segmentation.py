"""Masks in torch against those of the CPU's own chain, on drawn videos and on real ones."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.device import segmentation as torch_segmentation
from watchmove.pipeline.masks.device.appearance import lab_levels
from watchmove.pipeline.masks.device.memory import Parts
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.frames import frames_of_folder
from watchmove.pipeline.world.drawing import draw_video
from watchmove.pipeline.world.video import moving_square

CPU = ExtractionSettings()
TORCH = ExtractionSettings(device="torch-cpu", flow="dis")

MEAN_TOLERANCE = 0.005
"""Mean difference of soft masks in [0, 1]. The same flow: what is left is rounding and interpolation."""

FLIPPED_TOLERANCE = 0.005
"""Share of pixels that lie on the other side of one half."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As in a worker."""
    cv2.setNumThreads(1)


def drawn(kind: str) -> list[Image]:
    """A short video of the drawn world."""
    return list(draw_video(5, WorldSettings(frames_per_video=14), kind).frames)


def assert_alike(first: Sequence[Sequence[SegmentedFrame]], second: Sequence[Sequence[SegmentedFrame]]) -> None:
    """The same frames, with masks, motion and trust within the tolerances."""
    assert [len(window) for window in first] == [len(window) for window in second]
    for one, other in zip((f for w in first for f in w), (f for w in second for f in w), strict=True):
        assert one.soft_mask.dtype == other.soft_mask.dtype == np.float32
        assert np.abs(one.soft_mask - other.soft_mask).mean() < MEAN_TOLERANCE
        assert ((one.soft_mask >= 0.5) != (other.soft_mask >= 0.5)).mean() < FLIPPED_TOLERANCE
        assert np.abs(one.independent_motion - other.independent_motion).mean() < 0.02
        assert one.flow_consistency == pytest.approx(other.flow_consistency, abs=1e-3)


@pytest.mark.parametrize("kind", ["moving", "still", "camera"])
def test_drawn_videos_have_the_same_masks(kind: str) -> None:
    """Windows of different lengths, some frames of each wanted, none of one."""
    frames = drawn(kind)
    windows, wanted = [frames[:6], frames[6:8], frames[8:]], [[0, 3, 5], [], [2]]

    assert_alike(shot_segmenter(CPU)(windows, wanted), shot_segmenter(TORCH)(windows, wanted))


def test_odd_sizes_and_all_frames() -> None:
    """Two frames of odd width and height, all of them wanted; a gap of three that no frame can look over."""
    frames = [frame[:-1, :-1] for frame in moving_square(frames=2).frames]

    assert_alike(shot_segmenter(CPU)([frames]), shot_segmenter(TORCH)([frames]))
    for settings in (CPU, TORCH):
        found = shot_segmenter(settings.model_copy(update={"motion_gaps": (3,)}))([frames])[0]
        assert max(float(one.soft_mask.max()) for one in found) < 0.5


@pytest.mark.parametrize("sequence", ["bear", "drift-turn"])
def test_real_videos_have_the_same_j(test_data: Path, sequence: str) -> None:
    """J of sixteen DAVIS frames differs by at most a hundredth."""
    folder = test_data / "davis2016-train-240p"
    frames = [one.image for one in frames_of_folder(folder / "JPEGImages" / sequence, CPU)][:16]
    images = [image for image in frames if image is not None]
    truths = [
        np.asarray(PIL.Image.open(path).convert("L")) > 127
        for path in sorted((folder / "Annotations" / sequence).iterdir())[:16]
    ]

    def mean_j(settings: ExtractionSettings) -> float:
        found = shot_segmenter(settings)([images])[0]
        masks = [one.soft_mask >= 0.5 for one in found]
        return float(np.mean([(m & t).sum() / (m | t).sum() for m, t in zip(masks, truths, strict=True)]))

    assert mean_j(TORCH) == pytest.approx(mean_j(CPU), abs=0.01)


def test_the_gpus_own_flow_finds_the_square() -> None:
    """What `cuda` runs by default, on the CPU: variational flow and all that follows."""
    video = moving_square((4.0, 0.0), 4)
    frames, truth = [np.ascontiguousarray(frame[::2, ::2]) for frame in video.frames], video.masks[2, ::2, ::2]
    found = shot_segmenter(ExtractionSettings(device="torch-cpu"))([frames], [[2]])[0][0].soft_mask >= 0.5

    assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_same_frames_give_the_same_bytes_in_whatever_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames at once, or three at a time as where memory is short."""
    frames = drawn("moving")[:4]
    whole = shot_segmenter(TORCH)([frames])[0]
    monkeypatch.setattr(torch_segmentation, "_FRAMES_AT_ONCE", 3)
    shot_segmenter.cache_clear()
    parts = shot_segmenter(TORCH)([frames])[0]

    assert max(float(np.abs(a.soft_mask - b.soft_mask).max()) for a, b in zip(whole, parts, strict=True)) < 1e-4


def test_a_device_without_room_gets_less_at_a_time() -> None:
    """Halved until it fits, and kept so; not even one frame is Unavailable."""
    parts, sizes = Parts(16), []

    def work(part: slice) -> torch.Tensor:
        sizes.append(part.stop - part.start)
        if sizes[-1] > 5:
            raise torch.OutOfMemoryError
        return torch.arange(part.start, part.stop)

    assert parts.run(work, 11).tolist() == list(range(11))
    assert sizes == [11, 5, 5, 1]
    assert parts.most == 5

    def never(_: slice) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(Unavailable, match="too little memory for one frame"):
        parts.run(never, 3)


@pytest.mark.parametrize(("error", "said"), [(torch.OutOfMemoryError, "for a shot"), (torch.AcceleratorError, "GPU")])
def test_a_device_that_fails_is_no_bug(monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError], said: str) -> None:
    """Too little memory for what is held of a whole shot, and errors of the device itself: run again."""

    def fail(*_: object) -> None:
        raise error("no")

    monkeypatch.setattr(torch_segmentation, "agreements", fail)
    with pytest.raises(Unavailable, match=said):
        shot_segmenter(TORCH)([drawn("moving")[:3]])


def test_no_gpu_is_one_line() -> None:
    """`cuda` on a machine without one."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InvalidInput, match=r"extract\.device"):
        shot_segmenter(ExtractionSettings(device="cuda"))


def test_lab_is_opencvs() -> None:
    """Every colour on a coarse lattice, to two levels of 255."""
    lattice = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1).reshape(1, -1, 3)
    expected = cv2.cvtColor(lattice, cv2.COLOR_RGB2LAB).astype(np.float32)
    found = lab_levels(torch.from_numpy(lattice).permute(0, 2, 1)[..., None].float())[0, :, :, 0].numpy()
    found[0] *= 255 / 100

    assert np.abs(found.T - expected[0]).max() < 2
