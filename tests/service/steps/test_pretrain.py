"""Pretrain: from a snapshot in a store to a backbone there, stopped, torn, and on several ranks."""

import gzip
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipeline.dataset.mask_samples import drawn_shard
from tests.service.conftest import MakeContext
from tests.waiting import poll
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.pretraining.batches import MaskDataset, held_out_videos
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, DatasetShard, GatherRecord, dataset_of
from watchmove.service.records.forgotten import ForgetRecord, ForgottenWork, work_hash
from watchmove.service.records.record import commit, json_lines, need, origin
from watchmove.service.records.shard_index import index_bytes, index_key, read_index
from watchmove.service.records.training import PretrainPointer, backbone_id_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import usable_cores
from watchmove.service.steps.pretrain import pretrain
from watchmove.service.training.shard_cache import StoredFiles
from watchmove.service.training.snapshot_frames import snapshot_frames

SMALL = (
    "pretrain.device=cpu",
    "pretrain.iterations=3",
    "pretrain.batch_size=2",
    "pretrain.checkpoint_every_iterations=1",
    "pretrain.validate_every_iterations=3",
    "pretrain.validation_frames=2",
    "pretrain.validation_fraction=0.3",
)


class Told:
    """Progress that remembers, and tells the step to stop after a number of iterations."""

    def __init__(self, context: StepContext, stop_at: int = 0) -> None:
        self.iterations: list[int] = []
        self._context = context
        self._stop_at = stop_at

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """One more."""
        assert (step.partition(", seed ")[0], total) == ("pretrain", 3)
        assert "images/s" in facts
        self.iterations.append(done)
        if len(self.iterations) == self._stop_at:
            self._context.stop.set()

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """No step is a stage of its own."""

    def close(self) -> None:
        """Nothing is held open."""


def made_up_snapshot(context: StepContext, folder: Path) -> DatasetRecord:
    """A gathered run named `run`: a shard of three videos with three frames each, of which one video is left out."""
    path = drawn_shard(folder / "drawn.tar", videos=3, frames=3)
    key = "extractions/r/shards/p/00000-0-abc.tar"
    context.store.upload(key, path)
    context.store.write(index_key(key), index_bytes(path))
    shard = DatasetShard(
        key=key,
        sha256="",
        size_bytes=path.stat().st_size,
        index_key=index_key(key),
        frames=6,
        left_out=("video1",),
    )
    made_by = origin(context.settings, {})
    dataset = DatasetRecord(
        made_by=made_by, dataset="made-up", recipe="r", shards=(shard,), kept_frames=6, kept_videos=2, licences={},
        attribution_key="", attribution_sha256="",
    )  # fmt: skip
    gathered = GatherRecord(
        made_by=made_by, dataset="made-up", videos_listed=3, videos_removed=1, outcomes={}, frames={}, frames_seen=9,
        seconds_of_extraction=0.0, audit_keys=(),
    )  # fmt: skip
    commit(context.store, layout.dataset("made-up"), dataset)
    commit(context.store, layout.run_record("run", "gather"), gathered)
    return dataset


def test_stopped_on_one_machine_and_torn_it_ends_on_another(make_context: MakeContext, tmp_path: Path) -> None:
    """Told to stop after two steps; the newest checkpoint in the store is cut off, and the one before goes on."""
    context = make_context(*SMALL)
    made_up_snapshot(context, tmp_path)
    told = Told(context, stop_at=2)
    with pytest.raises(Stopped, match="stopped at iteration 2"):
        pretrain(replace(context, progress=told), "run")
    newest = next(item.key for item in context.store.list("backbones/") if item.key.endswith("-1.safetensors"))
    os.truncate(tmp_path / "store" / newest, 1_000_000)
    elsewhere = make_context(*SMALL)
    (tmp_path / "other").mkdir()
    told_then = Told(elsewhere)
    (record,) = pretrain(replace(elsewhere, progress=told_then, scratch=tmp_path / "other"), "run")

    assert (told.iterations, told_then.iterations) == ([1, 2], [2, 3])
    labels = {"training": "pretrain"}
    rate = elsewhere.metrics.registry.get_sample_value("watchmove_process_training_images_per_second", labels)
    waiting = elsewhere.metrics.registry.get_sample_value("watchmove_process_training_data_wait_fraction", labels)
    assert rate is not None
    assert rate > 0
    assert record.use is not None
    assert (record.use.cores, record.use.gpus) == (usable_cores(), 0)
    assert 0 < record.use.core_hours < 1
    assert waiting is not None
    assert 0 <= waiting <= 1
    assert record.curve[-1].validation_loss is not None
    assert record.curve[-1].validation_iou is not None
    for key in (record.weights_key, record.mask_network_key):
        assert elsewhere.store.head(key) is not None
    assert not list(context.store.list(layout.backbone(record.backbone, "checkpoints")))
    assert pretrain(elsewhere, "run") == (record,)
    assert pretrain(make_context(*SMALL, "pretrain.keep_checkpoints=5"), "run") == (record,)  # no weight depends on it


def test_predictions_over_the_training_are_those_of_one_that_was_not_stopped(
    make_context: MakeContext, tmp_path: Path
) -> None:
    """Stopped after the second validation, resumed on another machine; the key names the very same bytes."""
    words = (
        *SMALL,
        "pretrain.validate_every_iterations=1",
        "pretrain.trunk=alexnet-small",
        "evaluate.classification=false",
    )
    context, elsewhere = make_context(*words), make_context(*words)
    made_up_snapshot(context, tmp_path)
    with pytest.raises(Stopped, match="stopped at iteration 2"):
        pretrain(replace(context, progress=Told(context, stop_at=2)), "run")
    stored = {item.key.rpartition("/")[2] for item in context.store.list("backbones/")}
    (tmp_path / "other").mkdir()
    [resumed] = pretrain(replace(elsewhere, scratch=tmp_path / "other"), "run")
    undisturbed = make_context(*words, f"store=file://{tmp_path}/undisturbed")
    made_up_snapshot(undisturbed, tmp_path)
    (tmp_path / "third").mkdir()
    [whole] = pretrain(replace(undisturbed, scratch=tmp_path / "third"), "run")
    path = elsewhere.store.local(resumed.predictions_key, tmp_path / "copy.tar")
    assert path is not None
    samples = list(read_shard(path))

    assert {"predictions-00000001.png", "predictions-00000002.png"} < stored
    assert resumed.predictions_key == whole.predictions_key
    assert resumed.predictions_key.startswith(f"backbones/{resumed.backbone}/predictions-")
    assert [sample.metadata["iterations"] for sample in samples] == [[1, 2, 3]] * 3
    assert {sample.metadata["video"] for sample in samples} == held_out_videos(["video0", "video2"], 0.3)
    assert not list(elsewhere.store.list(layout.backbone(resumed.backbone, "checkpoints")))


def test_crops_of_works_that_are_forgotten_meanwhile_are_not_stored(make_context: MakeContext, tmp_path: Path) -> None:
    """While the training runs, its only held-out video is forgotten."""
    context = make_context(*SMALL, "pretrain.trunk=alexnet-small", "evaluate.classification=false")
    made_up_snapshot(context, tmp_path)
    [held_out] = held_out_videos(["video0", "video2"], 0.3)
    work = ForgottenWork(work=work_hash(context.settings.videos, held_out), videos=())
    receipt = ForgetRecord(made_by=origin(context.settings, {}), selector="video", selector_hashes=(), works=(work,))

    class Forgetting(Told):
        def update(self, step: str, done: int, total: int, facts: str) -> None:
            super().update(step, done, total, facts)
            context.store.write(layout.receipt("receipt"), receipt.model_dump_json().encode())

    [record] = pretrain(replace(context, progress=Forgetting(context)), "run")

    assert record.predictions_key == ""
    assert [item.key for item in context.store.list("backbones/") if "predictions" in item.key] == []


def test_seeds_give_a_backbone_each_and_a_stop_keeps_the_finished_ones(
    make_context: MakeContext, tmp_path: Path
) -> None:
    """Stopped in its second training, the step resumes there; its pointer names both backbones, with unlike weights."""
    context = make_context(*SMALL, "pretrain.seeds=[0,4]")
    made_up_snapshot(context, tmp_path)
    told = Told(context, stop_at=5)
    with pytest.raises(Stopped, match="stopped at iteration 2"):
        pretrain(replace(context, progress=told), "run")
    elsewhere = make_context(*SMALL, "pretrain.seeds=[0,4]")
    told_then = Told(elsewhere)
    first, second = pretrain(replace(elsewhere, progress=told_then), "run")

    assert (told.iterations, told_then.iterations) == ([1, 2, 3, 1, 2], [3])
    assert (first.seed, second.seed) == (0, 4)
    assert first.weights_sha256 != second.weights_sha256
    pointer = need(elsewhere.store, layout.run_record("run", "pretrain"), PretrainPointer, "pretrain")
    assert pointer.backbones == {0: first.backbone, 4: second.backbone}
    assert pretrain(make_context(*SMALL), "run") == (first,)
    assert pretrain(make_context(*SMALL, "pretrain.seed=4"), "run") == (second,)


def test_a_snapshot_whose_index_says_another_number_is_refused(make_context: MakeContext, tmp_path: Path) -> None:
    """Frames that are not there, or that nobody counted: the index is named."""
    context = make_context(*SMALL)
    shard = made_up_snapshot(context, tmp_path).shards[0]
    path = drawn_shard(tmp_path / "other.tar", videos=2, frames=2)
    context.store.write(shard.index_key, index_bytes(path))

    with pytest.raises(InvalidInput, match=r"index\.json\.gz: has 2 frames, but the snapshot has 6"):
        pretrain(context, "run")


def test_a_frame_beyond_the_end_of_its_shard_is_refused(make_context: MakeContext, tmp_path: Path) -> None:
    """It can never be read, however often a step that cannot read it is tried again."""
    context = make_context(*SMALL)
    shard = made_up_snapshot(context, tmp_path).shards[0]
    last = read_index(context.store, shard.index_key)[-1].model_copy(update={"offset": 2**62})
    rows = [*read_index(context.store, shard.index_key)[:-1], last]
    context.store.write(shard.index_key, gzip.compress(json_lines(rows)))

    with pytest.raises(InvalidInput, match=r"index\.json\.gz: has a frame that ends at byte 4611686018427.*has \d+;"):
        pretrain(context, "run")


def test_a_shard_that_is_gone_is_named(make_context: MakeContext, tmp_path: Path) -> None:
    """The snapshot's record is there, and one of its shards is not."""
    context = make_context(*SMALL)
    made_up_snapshot(context, tmp_path)
    (tmp_path / "store" / dataset_of(context.store, "run").shards[0].key).unlink()

    with pytest.raises(InvalidInput, match=r"00000-0-abc\.tar: missing, although the snapshot names it"):
        pretrain(context, "run")


def test_a_damaged_frame_is_counted_however_well_it_decodes(make_context: MakeContext, tmp_path: Path) -> None:
    """One letter of its metadata differs; a damaged JPEG, too, decodes without a word."""
    context = make_context(*SMALL)
    shard = made_up_snapshot(context, tmp_path).shards[0]
    settings = context.settings.pretrain.model_copy(update={"batch_size": 6, "validation_fraction": 0.0})
    data = MaskDataset(snapshot_frames(context.store, [shard]), StoredFiles(context.store), settings)
    before = data.training_batch(0)
    path = tmp_path / "store" / shard.key
    path.write_bytes(path.read_bytes().replace(b'"video0"', b'"videoX"', 1))
    after = data.training_batch(0)

    assert (before.unusable, after.unusable) == (0, 1)
    assert (len(before.images), len(after.images)) == (6, 5)


def test_a_checkpoint_that_will_not_do_is_named_where_it_can_be_removed(
    make_context: MakeContext, tmp_path: Path
) -> None:
    """In the store, and not in the scratch folder, which is gone when anybody reads the line."""
    context = make_context(*SMALL)
    made_up_snapshot(context, tmp_path)
    key = layout.backbone(backbone_id_of(context.settings, "made-up"), "checkpoints/checkpoint-0.json")
    context.store.write(key, b"{}")

    with pytest.raises(InvalidInput, match=r"checkpoint-0\.safetensors: not a checkpoint") as raised:
        pretrain(context, "run")

    assert str(raised.value).startswith(f"{context.store.uri}/{key.removesuffix('.json')}.safetensors: ")


def iterations_served(port: int) -> float:
    """How many steps the first rank's metrics tell of."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    found = [line.split()[-1] for line in lines if line.startswith("watchmove_process_training_iteration{")]
    return float(found[0]) if found else 0.0


@pytest.mark.serial
def test_two_ranks_told_to_stop_end_with_143_and_a_checkpoint(make_context: MakeContext, tmp_path: Path) -> None:
    """By torchrun, with a port for metrics that only one rank can have; SIGTERM goes to the launcher."""
    context = make_context(*SMALL)
    made_up_snapshot(context, tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = [f"store=file://{tmp_path}/store", *SMALL, "pretrain.iterations=10000", f"work.metrics_port={port}"]
    words += ["pretrain.checkpoint_every_iterations=10000"]
    line = [sys.executable, "-m", "watchmove.service.launch", "--standalone", "--nproc-per-node", "2", "--", "pretrain"]
    line += ["--run", "run", *(part for word in words for part in ("--set", word))]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    poll(lambda: iterations_served(port) >= 1 or process.poll() is not None, 120)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    kept = [item.key for item in context.store.list("backbones/")]

    assert process.returncode == 143, said
    assert said.count("pretraining stopped at iteration") == 2
    assert [key.rpartition("/")[2] for key in kept] == ["checkpoint-0.json", "checkpoint-0.safetensors"]
