"""The loop on a small network: kills, ranks, parts, averages, schedules of checkpoints."""

import json
import random
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.pipeline.dataset.mask_samples import drawn_sample, drawn_shard
from tests.pipeline.pretraining.small_training import (
    LOST,
    STOPPED,
    SmallNetwork,
    end,
    start,
    start_ranks,
    train_small,
    weights_in,
)
from watchmove.pipeline.dataset.frame_table import LocalShards, frames_in
from watchmove.pipeline.dataset.shard import write_shard
from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable
from watchmove.pipeline.pretraining.batches import MaskDataset, held_out_videos
from watchmove.pipeline.pretraining.history import PretrainingProgress
from watchmove.pipeline.pretraining.loop import PretrainingHooks, TrainingLoop
from watchmove.pipeline.settings import LARGEST_SEED
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.identity import training_identity
from watchmove.pipeline.training.ranks import Ranks, joined_ranks

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = PretrainingSettings(
    device="cpu",
    iterations=8,
    batch_size=6,
    learning_rate=0.5,
    validation_fraction=0.3,
    validation_frames=5,
    validate_every_iterations=2,
    checkpoint_every_iterations=2,
)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of seven frames: no batch divides them, and epochs end within batches."""
    return drawn_shard(tmp_path_factory.mktemp("shard") / "drawn.tar", videos=5, frames=7)


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference of two states."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one if one[name].is_floating_point())


def two_folders(parent: Path) -> list[Path]:
    """One for each rank."""
    folders = [parent / "0", parent / "1"]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def with_(**changes: object) -> PretrainingSettings:
    """The settings, changed."""
    return SETTINGS.model_copy(update=changes)


def test_killed_at_ten_random_steps_it_ends_with_the_same_weights(shard: Path, tmp_path: Path) -> None:
    """Killed ten times, at random steps and while checkpoints are written, a training ends with equal bits."""
    settings = with_(iterations=30, checkpoint_every_iterations=1, validate_every_iterations=10, average_decay=0.9)
    undisturbed, _ = train_small(shard, settings, PretrainingHooks(tmp_path / "undisturbed"))
    dice = random.Random(5)
    codes: list[int | None] = []
    at = 0
    while len(codes) < 10:
        at = min(at + dice.randint(1, 4), settings.iterations - 1)
        codes += end([start(shard, settings, tmp_path, kill_at=at)])
    codes += end([start(shard, settings, tmp_path)])
    resumed = weights_in(tmp_path)

    assert codes == [*[-9] * 10, 0]
    assert all(torch.equal(resumed[name], tensor) for name, tensor in undisturbed.items())


def test_the_largest_seed_trains(shard: Path, tmp_path: Path) -> None:
    """Seeds that are derived from it stay within torch's limit."""
    _, curve = train_small(shard, with_(seed=LARGEST_SEED, iterations=2), PretrainingHooks(tmp_path))

    assert [point.iteration for point in curve] == [1, 2]


@pytest.mark.parametrize("spoil", ["cut", "flipped", "no record"])
def test_with_its_newest_checkpoint_torn_it_goes_on_from_the_one_before(
    shard: Path, tmp_path: Path, spoil: str
) -> None:
    """Cut off, of its full length but with a wrong byte, or killed before its record: the very same weights."""
    end([start(shard, SETTINGS, tmp_path, stop_at=5)])  # checkpoints of steps 2, 4 and 5
    record = max(tmp_path.glob("*.json"), key=lambda path: json.loads(path.read_text())["iteration"])
    weights = record.with_suffix(".safetensors")
    content = weights.read_bytes()
    if spoil == "no record":
        record.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        weights.write_bytes(content[:-1000] if spoil == "cut" else flipped)
    reports: list[PretrainingProgress] = []
    resumed, _ = train_small(shard, SETTINGS, PretrainingHooks(tmp_path, reports.append))
    undisturbed, _ = train_small(shard, SETTINGS, PretrainingHooks(tmp_path / "undisturbed"))

    assert [progress.iteration for progress in reports] == [5, 6, 7, 8]
    assert all(torch.equal(resumed[name], tensor) for name, tensor in undisturbed.items())


def test_what_decides_no_weight_may_change_on_the_way(shard: Path, tmp_path: Path) -> None:
    """Whoever allows more bad frames, or saves at other steps, goes on where the training was, to the same weights."""
    end([start(shard, SETTINGS, tmp_path, stop_at=5)])
    reports: list[PretrainingProgress] = []
    other = with_(max_corrupt_fraction=0.2, checkpoint_every_iterations=1, keep_checkpoints=1)
    resumed, _ = train_small(shard, other, PretrainingHooks(tmp_path, reports.append))
    undisturbed, _ = train_small(shard, SETTINGS, PretrainingHooks(tmp_path / "undisturbed"))

    assert [progress.iteration for progress in reports] == [6, 7, 8]
    assert all(torch.equal(resumed[name], tensor) for name, tensor in undisturbed.items())


def test_in_bfloat16_the_weights_stay_float32(shard: Path, tmp_path: Path) -> None:
    """Losses near those of float32, and no weight of another type."""
    exact, curve = train_small(shard, SETTINGS, PretrainingHooks(tmp_path / "exact"))
    rough, its_curve = train_small(shard, with_(bfloat16=True), PretrainingHooks(tmp_path / "rough"))
    losses = [point.loss for point in its_curve]

    assert {tensor.dtype for tensor in rough.values()} == {tensor.dtype for tensor in exact.values()}
    assert losses == pytest.approx([point.loss for point in curve], abs=0.02)
    assert losses != [point.loss for point in curve]


@pytest.mark.serial
@pytest.mark.parametrize("changes", [{}, {"max_device_batch": 2, "batch_norm": False}, {"batch_size": 7}])
def test_two_ranks_reach_the_weights_of_one(shard: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    """Over loopback by gloo, with batch normalisation, in parts, and where shares differ: to 1e-5 after 8 steps."""
    settings = with_(**changes)
    folders = two_folders(tmp_path)
    codes = end(start_ranks(shard, settings, folders))
    alone, _ = train_small(shard, settings, PretrainingHooks(tmp_path / "alone"))
    first, second = (weights_in(folder) for folder in folders)

    assert codes == [0, 0]
    assert furthest(first, second) == 0
    assert furthest(first, alone) < 1e-5
    assert furthest(alone, SmallNetwork(batch_norm=settings.batch_norm).state_dict()) > 1e-3
    assert not list(folders[1].glob("checkpoint*"))


@pytest.mark.serial
def test_told_to_stop_one_rank_stops_all_and_one_goes_on(shard: Path, tmp_path: Path) -> None:
    """If the second rank is stopped, both end with 143 at the same step, and one rank resumes from there."""
    folders = two_folders(tmp_path)
    codes = end(start_ranks(shard, SETTINGS, folders, rank1={"stop_when_asked": 5}))
    reports: list[PretrainingProgress] = []
    resumed, _ = train_small(shard, SETTINGS, PretrainingHooks(folders[0], reports.append))
    alone, _ = train_small(shard, SETTINGS, PretrainingHooks(tmp_path / "alone"))

    assert codes == [STOPPED, STOPPED]
    assert [progress.iteration for progress in reports] == list(range(9 - len(reports), 9))
    assert furthest(resumed, alone) < 1e-5


@pytest.mark.serial
def test_what_one_rank_began_two_go_on_with(shard: Path, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch; the second rank has an empty folder and gets everything from the first."""
    folders = two_folders(tmp_path)
    settings = with_(average_decay=0.5)
    codes = [*end([start(shard, settings, folders[0], stop_at=3)]), *end(start_ranks(shard, settings, folders))]
    alone, _ = train_small(shard, settings, PretrainingHooks(tmp_path / "alone"))

    assert codes == [STOPPED, 0, 0]
    assert furthest(weights_in(folders[0]), alone) < 1e-5
    assert furthest(weights_in(folders[1]), alone) < 1e-5


@pytest.mark.serial
def test_a_rank_that_is_lost_ends_the_others_soon(shard: Path, tmp_path: Path) -> None:
    """If the second rank is killed, the first does not wait for it and ends with the code for a later retry."""
    folders = two_folders(tmp_path)
    codes = end(start_ranks(shard, with_(iterations=10_000), folders, rank1={"kill_when_asked": 5}))

    assert codes == [LOST, -9]
    assert "run it again to continue from the last checkpoint" in (folders[0] / "lost").read_text()


@pytest.mark.serial
def test_what_two_ranks_lost_they_do_again_to_the_last_bit(shard: Path, tmp_path: Path) -> None:
    """One is killed between two checkpoints; both come back and end with the weights of two that nobody disturbed."""
    folders, undisturbed = two_folders(tmp_path), two_folders(tmp_path / "undisturbed")
    codes = end(start_ranks(shard, SETTINGS, folders, rank1={"kill_when_asked": 6}))
    codes += end(start_ranks(shard, SETTINGS, folders))
    codes += end(start_ranks(shard, SETTINGS, undisturbed))

    assert codes == [LOST, -9, 0, 0, 0, 0]
    assert furthest(weights_in(folders[0]), weights_in(undisturbed[0])) == 0


def test_ranks_that_never_come_are_given_up(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two, alone: Unavailable, once the time is over."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(Unavailable, match="the ranks did not find each other"), joined_ranks("cpu", 1) as ranks:
        train_small(shard, SETTINGS, PretrainingHooks(tmp_path), ranks)


@pytest.mark.parametrize("readers", [1, 5])
def test_the_number_of_readers_changes_nothing(shard: Path, tmp_path: Path, readers: int) -> None:
    """Batches come in order however many threads read them, to the last bit."""
    one, curve = train_small(shard, SETTINGS, PretrainingHooks(tmp_path / "one", readers=3))
    other, its_curve = train_small(shard, SETTINGS, PretrainingHooks(tmp_path / "other", readers=readers))

    assert curve == its_curve
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_in_parts_is_the_whole_batch(shard: Path, tmp_path: Path) -> None:
    """Without batch normalisation: three parts of two frames, with their certain pixels weighed together."""
    settings = with_(batch_norm=False)
    whole, curve = train_small(shard, settings, PretrainingHooks(tmp_path / "whole"))
    parts, its_curve = train_small(
        shard, with_(batch_norm=False, max_device_batch=2), PretrainingHooks(tmp_path / "parts")
    )

    assert furthest(whole, parts) < 1e-6
    assert [point.loss for point in its_curve] == pytest.approx([point.loss for point in curve], abs=1e-6)


def test_the_average_is_what_is_measured_and_left(shard: Path, tmp_path: Path) -> None:
    """Two steps by hand: first weights and both that follow, weighed by the decay."""
    plain = with_(iterations=1, schedule="step", warmup_fraction=0.0)
    settings = with_(iterations=2, schedule="step", warmup_fraction=0.0)
    states = [train_small(shard, one, PretrainingHooks(tmp_path / str(one.iterations)))[0] for one in (plain, settings)]
    settings = settings.model_copy(update={"average_decay": 0.75})
    averaged, curve = train_small(shard, settings, PretrainingHooks(tmp_path / "averaged"))
    begin = SmallNetwork(batch_norm=True).state_dict()["mask.weight"]
    first, second = (state["mask.weight"] for state in states)
    expected = 0.75 * (0.75 * begin + 0.25 * first) + 0.25 * second

    assert torch.allclose(averaged["mask.weight"], expected, atol=1e-7)
    assert curve[-1].validation_iou is not None


def test_the_curve_has_loss_and_iou_of_held_out_videos(shard: Path, tmp_path: Path) -> None:
    """Both at the same points, every second step; the loss near log 2 at first."""
    _, curve = train_small(shard, SETTINGS, PretrainingHooks(tmp_path))
    measured = [point for point in curve if point.validation_iou is not None]

    assert [point.iteration for point in measured] == [2, 4, 6, 8]
    assert [point.iteration for point in curve if point.validation_loss is not None] == [2, 4, 6, 8]
    assert all(0.3 < point.validation_loss < 1.2 for point in measured if point.validation_loss is not None)


def test_held_out_frames_that_cannot_be_used_count_too(tmp_path: Path) -> None:
    """One of five frames of the video that is held out: counted once, also by whoever goes on; too many end it."""
    videos = [f"video{number}" for number in range(3)]
    [held_out] = held_out_videos(videos, 0.3)
    samples = [drawn_sample(video, number) for video in videos for number in range(5)]
    spoilt = [replace(one, jpeg=b"") if one.key == f"{held_out}-000002" else one for one in samples]
    write_shard(tmp_path / "spoilt.tar", spoilt)
    settings = with_(max_corrupt_fraction=0.5)
    end([start(tmp_path / "spoilt.tar", settings, tmp_path, stop_at=1)])
    reports: list[PretrainingProgress] = []
    train_small(tmp_path / "spoilt.tar", settings, PretrainingHooks(tmp_path, reports.append))

    assert [progress.frames_unusable for progress in reports] == [1] * 7
    with pytest.raises(InvalidInput, match=r"1 of 5 frames are damaged"):
        train_small(tmp_path / "spoilt.tar", with_(max_corrupt_fraction=0), PretrainingHooks(tmp_path / "strict"))


def test_the_best_checkpoint_and_the_last_are_kept(shard: Path, tmp_path: Path) -> None:
    """Of four, those of the last steps and that with the best IoU on held-out videos."""
    settings = with_(iterations=10, keep_checkpoints=1)
    _, curve = train_small(shard, settings, PretrainingHooks(tmp_path))
    records = [json.loads(path.read_text()) for path in tmp_path.glob("checkpoint-*.json")]
    scores = {point.iteration: point.validation_iou or 0.0 for point in curve if point.iteration in (2, 4, 6, 8)}
    best = max(scores, key=lambda iteration: scores[iteration])

    assert {record["iteration"] for record in records} == {8, best if best != 8 else 6}
    assert all(record["score"] == scores[record["iteration"]] for record in records)


def test_training_goes_on_while_a_checkpoint_is_stored(shard: Path, tmp_path: Path) -> None:
    """The store takes its time over the first, that of step 2: one more step is done by then, and the next waits."""
    reports: list[int] = []
    during: list[int] = []
    third_step = threading.Event()

    def on_progress(progress: PretrainingProgress) -> None:
        reports.append(progress.iteration)
        if len(reports) == 3:
            third_step.set()

    def slow_store() -> None:
        third_step.wait(60)
        during.append(len(reports))

    hooks = PretrainingHooks(tmp_path, on_progress, on_checkpoint=slow_store)
    train_small(shard, SETTINGS, hooks)

    assert during[0] >= 3
    assert len(during) == 3


def test_a_store_that_fails_in_the_background_ends_the_training(shard: Path, tmp_path: Path) -> None:
    """What was raised there is raised here."""

    def failing_store() -> None:
        raise Unavailable("the store cannot be reached")

    with pytest.raises(Unavailable, match="the store cannot be reached"):
        train_small(shard, SETTINGS, PretrainingHooks(tmp_path, on_checkpoint=failing_store))


def test_told_to_stop_while_the_store_is_slow(shard: Path, tmp_path: Path) -> None:
    """A batch that is late delays no checkpoint: it is written within a second after the training must stop."""
    stop, read = threading.Event(), threading.Event()

    class Slow(LocalShards):
        """A shard whose later frames take for ever."""

        def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
            if stop.is_set():
                read.wait(30)
            return super().read_range(shard, offset, size_bytes)

    frames = frames_in([shard])
    settings = with_(iterations=1000, checkpoint_every_iterations=1000)
    hooks = PretrainingHooks(tmp_path, lambda _: stop.set(), stop.is_set)
    loop = TrainingLoop(
        SmallNetwork(batch_norm=True),
        MaskDataset(frames, Slow(), settings),
        settings,
        hooks,
        Ranks(torch.device("cpu")),
    )
    began = time.monotonic()
    with pytest.raises(Stopped):
        loop.run(training_identity(settings.deciding(), frames.digest()))
    read.set()

    assert time.monotonic() - began < 15
    assert list(tmp_path.glob("checkpoint-0.json"))


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler on this machine")
def test_a_compiled_network_learns_the_same(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are made by the compiler, in a cache that was empty, and losses are those without it to 1e-4."""
    kernels = tmp_path / "kernels"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kernels))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a pool of processes takes longer to start
    _, curve = train_small(shard, with_(iterations=3), PretrainingHooks(tmp_path / "plain"))
    torch.compiler.reset()
    _, compiled = train_small(shard, with_(iterations=3, compile=True), PretrainingHooks(tmp_path / "compiled"))

    assert [point.loss for point in compiled] == pytest.approx([point.loss for point in curve], abs=1e-4)
    assert any(kernels.rglob("*.so"))
