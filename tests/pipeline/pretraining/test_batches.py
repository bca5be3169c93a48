"""Batches: which frames are in which step, what is held out, and what cannot be used."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.pipeline.dataset.mask_samples import drawn_sample, drawn_shard
from watchmove.pipeline.dataset.frame_order import Share
from watchmove.pipeline.dataset.frame_table import LocalShards, frames_in
from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.dataset.trimap import FOREGROUND
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import MaskDataset, held_out_videos
from watchmove.pipeline.pretraining.objectives import objective_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings

SETTINGS = PretrainingSettings(batch_size=4, validation_fraction=0.25, validation_frames=3)
VIDEOS = [f"video{number}" for number in range(20)]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of five frames."""
    return drawn_shard(tmp_path_factory.mktemp("shard") / "drawn.tar", videos=4, frames=5)


def test_shapes_types_and_counts_of_a_batch(shard: Path) -> None:
    """A batch has the documented shapes and types, and every frame is usable."""
    batch = MaskDataset.of_shards([shard], SETTINGS).training_batch(0)

    assert (batch.images.shape, batch.images.dtype) == ((4, 3, 227, 227), torch.uint8)
    assert (batch.targets.shape, batch.targets.dtype) == ((4, 56, 56), torch.int8)
    assert batch.unusable == 0
    assert (batch.targets == FOREGROUND).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.99])
def test_held_out_videos_are_whole_and_not_learnt_from(shard: Path, fraction: float) -> None:
    """No video has both training and held-out frames, and there are some of each for any fraction."""
    data = MaskDataset.of_shards([shard], SETTINGS.model_copy(update={"validation_fraction": fraction}))
    learnt, held_out = (set(data.frames.video[rows].tolist()) for rows in (data.training, data.held_out))

    assert learnt
    assert held_out
    assert not learnt & held_out
    assert len(data.training) + len(data.held_out) == 20


def test_what_is_held_out_depends_on_names_alone() -> None:
    """Neither order nor number of frames, and a video that joins moves few others."""
    held_out = held_out_videos(VIDEOS, 0.25)

    assert len(held_out) == 5
    assert held_out_videos([*reversed(VIDEOS), *VIDEOS], 0.25) == held_out
    assert len(held_out & held_out_videos([*VIDEOS, "one more"], 0.25)) >= 4


@pytest.mark.parametrize(("videos", "fraction"), [(VIDEOS, 0.0), (["only"], 0.5)])
def test_nothing_is_held_out_where_it_cannot_be(videos: list[str], fraction: float) -> None:
    """A single video is not held out, and with a fraction of 0 none is."""
    assert held_out_videos(videos, fraction) == frozenset()


def reading_with(monkeypatch: pytest.MonkeyPatch, example_of: Callable[..., None]) -> None:
    """Datasets made from here on show each frame to `example_of`, and find none of them usable."""
    blind = replace(objective_of(SETTINGS), example_of=example_of)
    monkeypatch.setattr("watchmove.pipeline.pretraining.batches.objective_of", lambda _: blind)


def test_batches_run_through_the_frames_epoch_by_epoch(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen frames in batches of four: after fifteen batches, each has been read four times."""
    read = Counter[str]()
    reading_with(monkeypatch, lambda sample, *_: read.update([sample.key]))
    data = MaskDataset.of_shards([shard], SETTINGS)
    for iteration in range(15):
        data.training_batch(iteration)

    assert read == dict.fromkeys((key.decode() for key in data.frames.keys[data.training]), 4)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_read_each_frame_once_an_epoch(shard: Path, monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    """The batches that one rank has alone, divided: the same frames with the same seeds of their crops."""
    read: list[tuple[str, int]] = []
    reading_with(monkeypatch, lambda sample, _, rng: read.append((sample.key, int(rng.integers(2**60)))))
    frames = frames_in([shard])
    parts = [MaskDataset(frames, LocalShards(), SETTINGS, Share(rank, ranks)) for rank in range(ranks)]
    for iteration in range(15):
        for part in parts:
            part.training_batch(iteration)
    together, read[:] = sorted(read), []
    alone = MaskDataset(frames, LocalShards(), SETTINGS)
    for iteration in range(15):
        alone.training_batch(iteration)

    assert together == sorted(read)
    assert set(Counter(key for key, _ in read).values()) == {4}


def test_ranks_share_validation(shard: Path) -> None:
    """Together they look at what one would, with the same crops."""
    frames = frames_in([shard])
    parts = [MaskDataset(frames, LocalShards(), SETTINGS, Share(rank, 2)).validation_batches() for rank in (0, 1)]
    [alone] = MaskDataset(frames, LocalShards(), SETTINGS).validation_batches()
    together = torch.cat([batch.images for part in parts for batch in part])

    assert sorted(image.sum().item() for image in together) == sorted(image.sum().item() for image in alone.images)


def test_a_shard_that_is_gone_is_no_unusable_frame(tmp_path: Path) -> None:
    """It is named at once, instead of costing frames until too many are missing."""
    shard = drawn_shard(tmp_path / "gone.tar", videos=1, frames=3)
    data = MaskDataset.of_shards([shard], SETTINGS)
    shard.unlink()

    with pytest.raises(InvalidInput, match=r"gone\.tar: is missing; extract and gather again"):
        data.training_batch(0)


def test_a_batch_is_its_steps_whatever_was_read_before(shard: Path) -> None:
    """Frames, crops and flips follow from seed and step, so a resumed training meets the same."""
    data, fresh = MaskDataset.of_shards([shard], SETTINGS), MaskDataset.of_shards([shard], SETTINGS)
    for iteration in range(7):
        data.training_batch(iteration)

    assert torch.equal(data.training_batch(7).images, fresh.training_batch(7).images)
    assert torch.equal(data.training_batch(7).targets, fresh.training_batch(7).targets)


def test_a_frame_is_cropped_anew_in_every_epoch(tmp_path: Path) -> None:
    """A single frame gives another image each time."""
    shard = drawn_shard(tmp_path / "one.tar", videos=1, frames=1)
    images = MaskDataset.of_shards([shard], SETTINGS).training_batch(0).images

    assert not any(torch.equal(images[0], images[other]) for other in (1, 2, 3))


def test_validation_frames_are_bounded_and_always_the_same(shard: Path) -> None:
    """Three of five frames, in the same crops whatever the seed, so that trainings can be compared."""
    one, other = (MaskDataset.of_shards([shard], SETTINGS.model_copy(update={"seed": seed})) for seed in (0, 1))

    assert sum(len(batch.images) for batch in one.validation_batches()) == 3
    assert torch.equal(one.validation_batches()[0].images, other.validation_batches()[0].images)


def test_colours_are_changed_in_what_is_learnt_alone(shard: Path) -> None:
    """Held-out frames look the same with the setting and without it, so that trainings can be compared."""
    plain, vivid = (
        MaskDataset.of_shards([shard], SETTINGS.model_copy(update={"colour_jitter": jitter})) for jitter in (0.0, 0.4)
    )
    learnt, its_learnt = plain.training_batch(0), vivid.training_batch(0)

    assert torch.equal(plain.validation_batches()[0].images, vivid.validation_batches()[0].images)
    assert torch.equal(learnt.targets, its_learnt.targets)
    assert not torch.equal(learnt.images, its_learnt.images)


def test_unusable_frames_are_passed_over_and_counted(tmp_path: Path) -> None:
    """A frame with a text as its image, and one whose metadata is not JSON, are left out of the batch."""
    good = [drawn_sample("video", number) for number in range(2)]
    samples = [*good, Sample("video-2", b"text", good[0].mask_png, {}), drawn_sample("video", 3)]
    write_shard(tmp_path / "some.tar", samples)
    content = (tmp_path / "some.tar").read_bytes()
    at = content.rindex(b'{"video"')
    (tmp_path / "some.tar").write_bytes(content[:at] + b"!" + content[at + 1 :])

    batch = MaskDataset.of_shards([tmp_path / "some.tar"], SETTINGS).training_batch(0)

    assert (len(batch.images), batch.unusable) == (2, 2)


def test_no_frame_is_an_error_of_its_own(tmp_path: Path) -> None:
    """The error of an empty dataset says what would fix it."""
    write_shard(tmp_path / "empty.tar", [])

    with pytest.raises(InvalidInput, match="hold no frame; extract from videos in which objects move"):
        MaskDataset.of_shards([tmp_path / "empty.tar"], SETTINGS)


def test_validation_is_jittered(tmp_path: Path) -> None:
    """Equal frames are cropped differently, so that the average mask is not a good prediction."""
    alike = [replace(drawn_sample(f"video{video}", 0), key=f"{video}-{n}") for video in range(2) for n in range(3)]
    same = [replace(sample, jpeg=alike[0].jpeg, mask_png=alike[0].mask_png) for sample in alike]
    write_shard(tmp_path / "alike.tar", same)
    trimaps = MaskDataset.of_shards([tmp_path / "alike.tar"], SETTINGS).validation_batches()[0].targets

    assert len(trimaps) == 3
    assert not torch.equal(trimaps[0], trimaps[1])
    assert not torch.equal(trimaps[1], trimaps[2])


def test_normalised_channels() -> None:
    """White is (1 - mean) / deviation in each channel."""
    white = normalise_images(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))

    assert white.flatten().tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
