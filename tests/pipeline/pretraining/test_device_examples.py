"""Examples cut in batches on a device are those that readers cut, also with colours changed, flips and borders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bench.pretraining import drawn_samples
from tests.pipeline.dataset.mask_samples import drawn_sample
from tests.pipeline.pretraining.small_training import train_small
from watchmove.pipeline.dataset.frame_order import Share
from watchmove.pipeline.dataset.frame_table import LocalShards, frames_in
from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.colour_jitter import ColourChange, changed, drawn_change
from watchmove.pipeline.pretraining.device_examples import cut_on_device, stack_uncut
from watchmove.pipeline.pretraining.examples import Square, UncutExample
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks
from watchmove.pipeline.settings.pretraining import PretrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = PretrainingSettings(device="cpu", batch_size=12, validation_fraction=0, shuffle_window_frames=1000)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of two sizes: textured ones of the drawn world, and smaller ones with sharp squares."""
    path = tmp_path_factory.mktemp("shard") / "two.tar"
    write_shard(path, [*drawn_samples(2), *(drawn_sample("small", number) for number in range(6))])
    return path


@pytest.mark.parametrize(
    ("objective", "jitter", "most"), [("masks", 0.0, 1e-3), ("masks", 0.4, 1e-3), ("colour", 0.0, 0.05)]
)
def test_both_paths_give_the_same_examples(shard: Path, objective: str, jitter: float, most: float) -> None:
    """Within half a level on the mean (of 255), and all but one in a thousand pixels of trimaps, or in twenty of bins.

    Bins are narrow, so that rounding moves more pixels to the next one.
    """
    data = MaskDataset.of_shards([shard], SETTINGS.model_copy(update={"objective": objective, "colour_jitter": jitter}))
    for iteration in (0, 1, 2):
        by_readers, by_device = data.training_batch(iteration), data.cut_batch(data.uncut_batch(iteration))
        apart = (by_readers.images.int() - by_device.images.int()).abs().float()

        assert by_device.images.shape == (12, 3, 227, 227)
        assert float(apart.mean()) < 0.5
        assert float((apart > 8).float().mean()) < 0.01
        assert float((by_readers.targets != by_device.targets).float().mean()) < most


def test_what_is_drawn_depends_on_the_place_alone(shard: Path) -> None:
    """Two ranks cut together what one does, each its share; an epoch later the same frame is cut otherwise."""
    settings = SETTINGS.model_copy(update={"colour_jitter": 0.4})
    frames = frames_in([shard])
    whole = MaskDataset(frames, LocalShards(), settings).uncut_batch(1)
    parts = [MaskDataset(frames, LocalShards(), settings, Share(rank, 2)).uncut_batch(1) for rank in (0, 1)]
    pairs = [row for part in parts for row in zip(part.squares.tolist(), part.colours, strict=True)]

    assert sorted(pairs) == sorted(zip(whole.squares.tolist(), whole.colours, strict=True))
    assert len({tuple(square) for square in whole.squares.tolist()}) == 12


def test_a_known_square_is_cut_beyond_the_border_and_flipped() -> None:
    """A frame whose left half is red and moves: cut twice as wide, its border goes on and the mask is unsure there."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :20, 0] = 200
    mask = np.where(np.arange(40) < 20, 255, 0).astype(np.uint8)[None].repeat(40, 0)
    uncut = UncutExample(image, mask, Square(20.0, 20.0, 80.0), flip=True, colours=None)
    images, trimaps = cut_on_device(stack_uncut([uncut, None]), SETTINGS)
    # From left to right, flipped: beyond the right border, the still half, the moving half, beyond the left border.
    row = trimaps[0, 28, [5, 18, 38, 50]].tolist()

    assert row == [-1, 0, 1, -1]
    assert images[0, 0, 113, [20, 80, 150, 210]].tolist() == [0, 0, 200, 200]
    assert set(trimaps[0, 3].tolist()) == {-1}


def test_a_batch_without_a_usable_frame_is_empty(tmp_path: Path) -> None:
    """And counted."""
    write_shard(tmp_path / "bad.tar", [Sample("video-1", b"", b"", {})])
    data = MaskDataset.of_shards([tmp_path / "bad.tar"], SETTINGS)
    batch = data.cut_batch(data.uncut_batch(0))

    assert (tuple(batch.images.shape), tuple(batch.targets.shape)) == ((0, 3, 227, 227), (0, 56, 56))
    assert batch.unusable == 12


def test_a_training_by_either_path_goes_alike(shard: Path, tmp_path: Path) -> None:
    """Losses of four steps within a thousandth."""
    settings = SETTINGS.model_copy(update={"iterations": 4, "learning_rate": 0.1})
    curves = [
        train_small(shard, settings.model_copy(update={"crop_on": where}), PretrainingHooks(tmp_path / where))[1]
        for where in ("cpu", "device")
    ]
    by_readers, by_device = ([point.loss for point in curve] for curve in curves)

    assert by_device == pytest.approx(by_readers, abs=1e-3)
    assert by_device != by_readers


def test_colours_off_draw_nothing_and_change_nothing() -> None:
    """The default: generators stay where they were."""
    rng = np.random.default_rng(0)

    assert drawn_change(0.0, rng) is None
    assert rng.random() == np.random.default_rng(0).random()


def test_known_changes_of_colour() -> None:
    """Half as bright; no saturation is grey; a third of a turn makes green of red."""
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 200
    dark = changed(red, ColourChange(0.5, 1.0, 1.0, 0.0))
    grey = changed(red, ColourChange(1.0, 1.0, 0.0, 0.0))
    green = changed(red, ColourChange(1.0, 1.0, 1.0, 1 / 3))

    assert dark[:, 0, 0].tolist() == [100, 0, 0]
    assert grey[:, 0, 0].tolist() == pytest.approx([60] * 3, abs=1)
    assert green[:, 0, 0].tolist() == pytest.approx([0, 200, 0], abs=2)


def test_drawn_changes_stay_within_their_strength() -> None:
    """A thousand of them, and they use the range."""
    rng = np.random.default_rng(1)
    drawn = np.array([drawn_change(0.4, rng) for _ in range(1000)])

    assert drawn.min(0) == pytest.approx([0.6, 0.6, 0.6, -0.1], abs=0.01)
    assert drawn.max(0) == pytest.approx([1.4, 1.4, 1.4, 0.1], abs=0.01)
