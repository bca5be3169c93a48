"""A motion network learns from frames with drawn faults; the same frames and seed give the same weights."""

from dataclasses import replace

import numpy as np
import pytest

from tests.pipeline.dataset.mask_samples import HEIGHT, WIDTH, drawn_sample
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import BACKGROUND, FOREGROUND
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.masks import drawn_faults
from watchmove.pipeline.masks.drawn_faults import TaughtFrame, with_faults
from watchmove.pipeline.masks.motion_cues import cues_png
from watchmove.pipeline.masks.motion_network_training import taught_frame, train_motion_network

SIZE = (HEIGHT // 4, WIDTH // 4)


def moving_sample(frame: int) -> Sample:
    """A bright square before noise, whose motion is known."""
    sample = drawn_sample("video", frame)
    mask = decoded_image(sample.mask_png)
    assert mask is not None
    moving = mask.reshape(SIZE[0], 4, SIZE[1], 4, 3).mean(axis=(1, 3, 4)) / 255
    cues = np.dstack([0.9 * moving, 0.9 * moving, np.ones(SIZE), 0.9 * moving]).astype(np.float32)
    return replace(sample, motion_png=cues_png(cues, SIZE, slice(0, SIZE[0]), slice(0, SIZE[1])))


def frames_of(count: int) -> list[TaughtFrame]:
    """What is learnt from some samples."""
    return [frame for frame in map(taught_frame, map(moving_sample, range(count))) if frame is not None]


def test_a_sample_becomes_inputs_and_a_trimap() -> None:
    """Maps of motion and L*a*b* in [0, 1]; the square is foreground, bright and moving."""
    [frame] = frames_of(1)
    square, rest = frame.trimap == FOREGROUND, frame.trimap == BACKGROUND

    assert frame.inputs.shape == (7, *SIZE)
    assert frame.inputs.dtype == np.float32
    assert 0 <= frame.inputs.min() < frame.inputs.max() <= 1
    assert frame.inputs[0][square].min() > 0.6 > 0.4 > frame.inputs[0][rest].max()
    assert frame.inputs[4][square].mean() > frame.inputs[4][rest].mean() + 0.3


@pytest.mark.parametrize("fault", ["old", "no motion", "no picture", "no mask", "another size"])
def test_frames_that_teach_nothing_are_left_out(fault: str) -> None:
    """Frames of older shards have no motion; damaged ones are no reason to end."""
    sample = moving_sample(0)
    other = {
        "old": replace(sample, motion_png=b""),
        "no motion": replace(sample, motion_png=b"?"),
        "no picture": replace(sample, jpeg=b"?"),
        "no mask": replace(sample, mask_png=b"?"),
        "another size": replace(sample, mask_png=sample.motion_png),
    }

    assert taught_frame(sample) is not None
    assert taught_frame(other[fault]) is None


def test_faults_change_motion_and_not_what_is_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs change within [0, 1], the frame itself and its trimap do not, as long as nothing hides the object."""
    monkeypatch.setattr(drawn_faults, "_WITH_OTHER_PICTURE", 0)
    monkeypatch.setattr(drawn_faults, "_ZOOMED", 0)
    frame, other = frames_of(2)
    before = frame.inputs.copy()
    rng = np.random.default_rng(0)
    drawn = [with_faults(frame, other, rng) for _ in range(50)]
    pixels = {int((one.trimap == FOREGROUND).sum()) for one in drawn}
    false_motion = [one.inputs[0][one.trimap == BACKGROUND].max() for one in drawn]
    missing = [one.inputs[0][one.trimap == FOREGROUND].min() for one in drawn]

    assert np.array_equal(frame.inputs, before)
    assert pixels == {int((frame.trimap == FOREGROUND).sum())}
    assert all(one.inputs.min() >= 0 and one.inputs.max() <= 1 for one in drawn)
    assert 15 < sum(value > 0.5 for value in false_motion) < 45
    assert 5 < sum(value < 0.3 for value in missing) < 45


def test_near_ground_hides_what_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the picture of another frame, a region along the border is background in the trimap."""
    monkeypatch.setattr(drawn_faults, "_WITH_OTHER_PICTURE", 1)
    frame = TaughtFrame(np.zeros((7, *SIZE), np.float32), np.full(SIZE, FOREGROUND, np.int8))
    other = TaughtFrame(np.ones((7, *SIZE), np.float32), frame.trimap)
    rng = np.random.default_rng(0)
    drawn = [with_faults(frame, other, rng) for _ in range(50)]
    hidden = [one for one in drawn if (one.trimap == BACKGROUND).any()]

    assert len(hidden) > 10
    for one in hidden:
        assert one.inputs[4:, one.trimap == BACKGROUND].mean() > one.inputs[4:, one.trimap == FOREGROUND].mean() + 0.2


def test_training_is_deterministic_and_learns() -> None:
    """The same seed gives the same weights, another one others; on other frames it finds the square."""
    frames, unseen = frames_of(12), frames_of(16)[12:]
    losses: list[float] = []
    first = train_motion_network(frames, 0, 40, lambda _, loss: losses.append(loss))
    again, other = (train_motion_network(frames, seed, 40) for seed in (0, 1))
    weights, repeated, others = (network.mask.weight.detach().numpy() for network in (first, again, other))

    assert np.array_equal(weights, repeated)
    assert not np.array_equal(weights, others)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    for frame in unseen:
        lab = np.rint(frame.inputs[4:] * 255).astype(np.uint8).transpose(1, 2, 0)
        [said] = first.predict([lab], [frame.inputs[:4].transpose(1, 2, 0)])
        assert said[frame.trimap == FOREGROUND].mean() > said[frame.trimap == BACKGROUND].mean() + 0.3


def test_frames_of_several_sizes_are_learnt_from() -> None:
    """A batch has frames of one size."""
    wide, high = frames_of(2), [TaughtFrame(f.inputs.transpose(0, 2, 1), f.trimap.T) for f in frames_of(2)]
    steps: list[int] = []
    train_motion_network([*wide, *high], 0, 12, lambda step, _: steps.append(step))

    assert steps == list(range(1, 13))


def test_without_frames_there_is_nothing_to_learn() -> None:
    """As from a run of an older version."""
    with pytest.raises(InvalidInput, match="no frame has motion to learn from"):
        train_motion_network([], 0)
