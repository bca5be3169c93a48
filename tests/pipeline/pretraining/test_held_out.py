"""Predictions for held-out crops: which are kept, that training does not notice, and that kills change nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.pipeline.dataset.mask_samples import drawn_shard
from tests.pipeline.pretraining.small_training import end, start, start_ranks, train_small
from watchmove.pipeline.dataset.frame_order import Share
from watchmove.pipeline.dataset.frame_table import LocalShards, frames_in
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.dataset.trimap import trimap_levels
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.pretraining.batches import MaskDataset, held_out_videos
from watchmove.pipeline.pretraining.held_out import ShownPredictions, shown_moments
from watchmove.pipeline.pretraining.loop import PretrainingHooks
from watchmove.pipeline.pretraining.pretraining import PretrainingResult, pretrain
from watchmove.pipeline.settings.pretraining import PretrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = PretrainingSettings(
    device="cpu",
    trunk="alexnet-small",
    iterations=6,
    batch_size=6,
    dropout=0.3,
    average_decay=0.5,
    validation_fraction=0.5,
    validation_frames=5,
    validate_every_iterations=2,
    checkpoint_every_iterations=2,
)

LARGE_CROPS = SETTINGS.model_copy(update={"trunk": "alexnet"})
"""For `SmallNetwork`, whose crops are those of the larger trunk."""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of three frames, of which four are held out."""
    return drawn_shard(tmp_path_factory.mktemp("shard") / "drawn.tar", videos=8, frames=3)


def pictures_in(folder: Path) -> dict[str, bytes]:
    """The predictions that a training has written, by the names of their files."""
    return {path.name: path.read_bytes() for path in folder.glob("predictions-*.png")}


@pytest.mark.parametrize(
    ("every", "iterations", "moments"),
    [
        (2, 4, {2, 4}),
        (3, 10, {3, 6, 9, 10}),
        (50, 4, {4}),
        (1, 11, {1, 3, 5, 7, 9, 11}),
        (2000, 100_000, {2000, 22_000, 42_000, 60_000, 80_000, 100_000}),
    ],
)
def test_few_moments_are_kept(every: int, iterations: int, moments: set[int]) -> None:
    """Of many validations evenly chosen ones, the first and the last among them."""
    settings = SETTINGS.model_copy(update={"validate_every_iterations": every, "iterations": iterations})

    assert shown_moments(settings) == moments


@pytest.mark.parametrize("changes", [{}, {"seed": 3}, {"colour_jitter": 1.0}])
def test_crops_are_those_of_held_out_videos(shard: Path, changes: dict[str, object]) -> None:
    """One of each video, the same for every rank, every seed of the training and every change of colours."""
    settings, frames = SETTINGS.model_copy(update=changes), frames_in([shard])
    crops = MaskDataset(frames, LocalShards(), settings, Share(1, 3)).shown_crops(4)
    plain = MaskDataset(frames, LocalShards(), SETTINGS).shown_crops(4)

    assert sorted(str(sample.metadata["video"]) for sample, _ in crops) == sorted(held_out_videos(frames.videos, 0.5))
    assert [sample for sample, _ in crops] == [sample for sample, _ in plain]
    for (_, one), (_, other) in zip(crops, plain, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_of_fewer_videos_more_frames_are_shown(tmp_path: Path) -> None:
    """Three frames of the one held-out video, none twice."""
    frames = frames_in([drawn_shard(tmp_path / "two.tar", videos=2, frames=3)])
    crops = MaskDataset(frames, LocalShards(), SETTINGS).shown_crops(4)

    assert len({sample.key for sample, _ in crops}) == len(crops) == 3


def trained(shard: Path, folder: Path, **changes: object) -> PretrainingResult:
    """A training with dropout, batch normalisation and a running average."""
    return pretrain([shard], SETTINGS.model_copy(update=changes), PretrainingHooks(folder))


def test_training_does_not_notice_them(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without predictions, every bit of the weights and of the curve is the same."""
    shown = trained(shard, tmp_path / "shown")
    monkeypatch.setattr(MaskDataset, "shown_crops", lambda *_: [])
    hidden = trained(shard, tmp_path / "hidden")
    assert shown.mask_network is not None
    assert hidden.mask_network is not None
    one, other = load_file(shown.mask_network), load_file(hidden.mask_network)

    assert shown.predictions is not None
    assert hidden.predictions is None
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert shown.curve == hidden.curve


def test_the_file_has_crops_trimaps_and_predictions(shard: Path, tmp_path: Path) -> None:
    """The last prediction is that of the finished network, and it has the metadata of the frame."""
    result = trained(shard, tmp_path)
    assert result.predictions is not None
    samples = list(read_shard(result.predictions))
    crops = MaskDataset(frames_in([shard]), LocalShards(), SETTINGS).shown_crops(4)
    last = cv2.imread(str(tmp_path / "predictions-00000006.png"), cv2.IMREAD_GRAYSCALE)
    assert last is not None

    assert len(samples) == 4
    for number, (sample, (frame, (image, trimap))) in enumerate(zip(samples, crops, strict=True)):
        strip, crop = decoded_image(sample.mask_png), decoded_image(sample.jpeg)
        assert strip is not None
        assert crop is not None
        assert sample.key == frame.key
        assert sample.metadata == {**frame.metadata, "iterations": [2, 4, 6]}
        assert strip.shape[:2] == (4 * 56, 56)
        assert np.array_equal(strip[:56, :, 0], trimap_levels(trimap))
        assert np.array_equal(strip[-56:, :, 0], last[number * 56 : (number + 1) * 56])
        assert np.abs(crop[..., ::-1].astype(int) - image).mean() < 12
    assert result.predictions.stat().st_size < 200_000


class Brightness(nn.Module):
    """A network that takes what is bright for the object, which is right for the drawn frames."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 56, 56)."""
        return 4 * nn.functional.adaptive_avg_pool2d(images.mean(dim=1), 56)


def test_predictions_are_probabilities_of_the_object(shard: Path, tmp_path: Path) -> None:
    """Each lies over its own crop: white inside of the square and dark outside; only at the moments."""
    data = MaskDataset(frames_in([shard]), LocalShards(), LARGE_CROPS)
    shown = ShownPredictions(tmp_path, data, LARGE_CROPS)
    for iteration in (1, 2):
        shown.keep(Brightness(), iteration, torch.device("cpu"))
    levels = cv2.imread(str(tmp_path / "predictions-00000002.png"), cv2.IMREAD_GRAYSCALE)
    assert levels is not None

    assert list(pictures_in(tmp_path)) == ["predictions-00000002.png"]
    for (_, (_, trimap)), level in zip(data.shown_crops(4), levels.reshape(4, 56, 56), strict=True):
        assert level[trimap == 1].mean() > 200
        assert level[trimap == 0].mean() < 40


@pytest.mark.serial
def test_killed_and_resumed_it_leaves_the_same_pictures(shard: Path, tmp_path: Path) -> None:
    """Killed after a validation whose checkpoint is not complete, and before one."""
    undisturbed = tmp_path / "undisturbed"
    train_small(shard, LARGE_CROPS, PretrainingHooks(undisturbed))
    codes = [end([start(shard, LARGE_CROPS, tmp_path, kill_at=step)]) for step in (3, 5)]
    codes.append(end([start(shard, LARGE_CROPS, tmp_path)]))

    assert codes == [[-9], [-9], [0]]
    assert pictures_in(tmp_path) == pictures_in(undisturbed)
    assert len(pictures_in(undisturbed)) == 3


@pytest.mark.serial
def test_of_two_ranks_the_first_writes(shard: Path, tmp_path: Path) -> None:
    """The same crops at the same moments as one rank; levels differ by rounding alone."""
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
    codes = end(start_ranks(shard, LARGE_CROPS, folders))
    alone = tmp_path / "alone"
    train_small(shard, LARGE_CROPS, PretrainingHooks(alone))
    found, expected = pictures_in(folders[0]), pictures_in(alone)

    assert codes == [0, 0]
    assert pictures_in(folders[1]) == {}
    assert found.keys() == expected.keys()
    for name in found:
        one, other = decoded_image(found[name]), decoded_image(expected[name])
        assert one is not None
        assert other is not None
        assert np.abs(one.astype(int) - other).max() <= 1


def test_a_damaged_picture_is_left_out(shard: Path, tmp_path: Path) -> None:
    """And so is a moment that an earlier version of the training had no picture of."""
    trained(shard, tmp_path)
    (tmp_path / "predictions-00000002.png").write_bytes(b"no picture")
    (tmp_path / "predictions-00000004.png").unlink()
    data = MaskDataset(frames_in([shard]), LocalShards(), SETTINGS)
    path = ShownPredictions(tmp_path, data, SETTINGS).write()
    assert path is not None

    assert {tuple(sample.metadata["iterations"]) for sample in read_shard(path)} == {(6,)}  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"objective": "rotation"}, {"validation_fraction": 0.0}])
def test_other_trainings_have_none(shard: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    """Other objectives have no masks, and without held-out videos there are no crops."""
    result = trained(shard, tmp_path, iterations=2, **changes)

    assert result.predictions is None
    assert pictures_in(tmp_path) == {}
