"""Masks in torch compared with those of the CPU's chain, on drawn videos and on real ones."""

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
from watchmove.pipeline.masks.device.memory import AdaptiveBatches
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.frames import frames_of_folder
from watchmove.pipeline.world.drawing import draw_video
from watchmove.pipeline.world.video import moving_square

CPU = ExtractionSettings()
TORCH = ExtractionSettings(device="torch-cpu", flow="dis")

MEAN_TOLERANCE = 0.005
"""Mean difference of soft masks in [0, 1]. With the same flow, only rounding and interpolation differ."""

FLIPPED_TOLERANCE = 0.005
"""Fraction of pixels on the other side of one half."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As in a worker."""
    cv2.setNumThreads(1)


def drawn(kind: str) -> list[Image]:
    """A short video of the drawn world."""
    return list(draw_video(5, WorldSettings(frames_per_video=14), kind).frames)


def assert_close(first: Sequence[Sequence[SegmentedFrame]], second: Sequence[Sequence[SegmentedFrame]]) -> None:
    """Assert that frames, masks, motion and flow consistency agree within the tolerances."""
    assert [len(window) for window in first] == [len(window) for window in second]
    for frame, reference in zip((f for w in first for f in w), (f for w in second for f in w), strict=True):
        assert frame.soft_mask.dtype == reference.soft_mask.dtype == np.float32
        assert np.abs(frame.soft_mask - reference.soft_mask).mean() < MEAN_TOLERANCE
        assert ((frame.soft_mask >= 0.5) != (reference.soft_mask >= 0.5)).mean() < FLIPPED_TOLERANCE
        assert np.abs(frame.independent_motion - reference.independent_motion).mean() < 0.02
        assert frame.flow_consistency == pytest.approx(reference.flow_consistency, abs=1e-3)
        assert frame.stages is not None
        assert reference.stages is not None
        for name, one in vars(frame.stages).items():
            other = getattr(reference.stages, name)
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert np.abs(one.astype(np.float32) - other).mean() < (0.02 if name == "flow" else 4 * MEAN_TOLERANCE), (
                name
            )


@pytest.mark.parametrize("kind", ["moving", "still", "camera"])
def test_drawn_videos_have_the_same_masks(kind: str) -> None:
    """Windows of different lengths, some frames of each wanted and none of one."""
    frames = drawn(kind)
    windows, wanted = [frames[:6], frames[6:8], frames[8:]], [[0, 3, 5], [], [2]]

    assert_close(shot_segmenter(CPU)(windows, wanted), shot_segmenter(TORCH)(windows, wanted))


def test_odd_sizes_and_all_frames() -> None:
    """Two frames of odd width and height, all of them wanted, also with a gap that is longer than the window."""
    frames = [frame[:-1, :-1] for frame in moving_square(frames=2).frames]

    assert_close(shot_segmenter(CPU)([frames]), shot_segmenter(TORCH)([frames]))
    for settings in (CPU, TORCH):
        found = shot_segmenter(settings.model_copy(update={"motion_gaps": (3,)}))([frames])[0]
        assert max(float(frame.soft_mask.max()) for frame in found) < 0.5


@pytest.mark.parametrize("sequence", ["bear", "drift-turn"])
def test_real_videos_have_the_same_j(test_data: Path, sequence: str) -> None:
    """J of sixteen DAVIS frames differs by at most a hundredth."""
    folder = test_data / "davis2016-train-240p"
    frames = [frame.image for frame in frames_of_folder(folder / "JPEGImages" / sequence, CPU)][:16]
    images = [image for image in frames if image is not None]
    truths = [
        np.asarray(PIL.Image.open(path).convert("L")) > 127
        for path in sorted((folder / "Annotations" / sequence).iterdir())[:16]
    ]

    def mean_j(settings: ExtractionSettings) -> float:
        found = shot_segmenter(settings)([images])[0]
        masks = [frame.soft_mask >= 0.5 for frame in found]
        return float(np.mean([(m & t).sum() / (m | t).sum() for m, t in zip(masks, truths, strict=True)]))

    assert mean_j(TORCH) == pytest.approx(mean_j(CPU), abs=0.01)


def test_the_default_flow_of_gpus_finds_the_square() -> None:
    """The default of `cuda`, run on the CPU: variational flow and the chain after it."""
    video = moving_square((4.0, 0.0), 4)
    frames, truth = [np.ascontiguousarray(frame[::2, ::2]) for frame in video.frames], video.masks[2, ::2, ::2]
    found = shot_segmenter(ExtractionSettings(device="torch-cpu"))([frames], [[2]])[0][0].soft_mask >= 0.5

    assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_the_size_of_batches_hardly_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames at once and three at a time give masks equal to 1e-4."""
    frames = drawn("moving")[:4]
    together = shot_segmenter(TORCH)([frames])[0]
    monkeypatch.setattr(torch_segmentation, "_FRAMES_PER_BATCH", 3)
    shot_segmenter.cache_clear()
    in_batches = shot_segmenter(TORCH)([frames])[0]

    assert max(float(np.abs(a.soft_mask - b.soft_mask).max()) for a, b in zip(together, in_batches, strict=True)) < 1e-4


def test_batches_shrink_until_they_fit() -> None:
    """The size is halved until it fits, and kept; too little memory for one frame is Unavailable."""
    batches, sizes = AdaptiveBatches(16), []

    def work(part: slice) -> torch.Tensor:
        sizes.append(part.stop - part.start)
        if sizes[-1] > 5:
            raise torch.OutOfMemoryError
        return torch.arange(part.start, part.stop)

    assert batches.run(work, 11).tolist() == list(range(11))
    assert sizes == [11, 5, 5, 1]
    assert batches.size == 5

    def never(_: slice) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(Unavailable, match="too little memory for one frame"):
        batches.run(never, 3)


@pytest.mark.parametrize(("error", "said"), [(torch.OutOfMemoryError, "for a shot"), (torch.AcceleratorError, "GPU")])
def test_a_device_that_fails_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError], said: str
) -> None:
    """Too little memory for a shot, and errors of the device itself, may not occur again."""

    def fail(*_: object) -> None:
        raise error("no")

    monkeypatch.setattr(torch_segmentation, "window_consistency", fail)
    with pytest.raises(Unavailable, match=said):
        shot_segmenter(TORCH)([drawn("moving")[:3]])


def test_a_missing_gpu_gives_one_line() -> None:
    """The device `cuda` on a machine without a GPU."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InvalidInput, match=r"extract\.device"):
        shot_segmenter(ExtractionSettings(device="cuda"))


def test_lab_levels_are_those_of_opencv() -> None:
    """Every colour on a coarse lattice is equal to two levels of 255."""
    lattice = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1).reshape(1, -1, 3)
    expected = cv2.cvtColor(lattice, cv2.COLOR_RGB2LAB).astype(np.float32)
    found = lab_levels(torch.from_numpy(lattice).permute(0, 2, 1)[..., None].float())[0, :, :, 0].numpy()
    found[0] *= 255 / 100

    assert np.abs(found.T - expected[0]).max() < 2
