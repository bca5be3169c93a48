"""Pretrain: a dataset snapshot to a backbone for each seed, by one process or many, resumable from checkpoints."""

import json
import time
from functools import partial
from pathlib import Path

import torch

from watchmove.pipeline.dataset.frame_table import ShardBytes
from watchmove.pipeline.dataset.shard import read_shard, write_shard
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.pretraining.held_out import HeldOut
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, PretrainingProgress, pretrain_frames
from watchmove.pipeline.training.ranks import Ranks, joined_ranks, ranks_on_this_machine
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, dataset_of
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.outcomes import MachineUse
from watchmove.service.records.record import commit, find, need, origin, point
from watchmove.service.records.training import BackboneRecord, CurveRow, PretrainPointer, backbone_id_of
from watchmove.service.runner.events import log_event, log_step, with_event
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import usable_cores
from watchmove.service.steps.failures import record_failure
from watchmove.service.store.folder_sync import FolderSync, remove_checkpoints
from watchmove.service.store.store import Store
from watchmove.service.training.shard_cache import shard_bytes
from watchmove.service.training.snapshot_frames import snapshot_frames

_MOST_READERS = 16
"""Most threads that read frames for one rank. Set by hand; not tuned."""


@log_step
@record_failure
def pretrain(context: StepContext, run: str) -> tuple[BackboneRecord, ...]:
    """Pretrain on the run's snapshot with each seed, or return the records of equal trainings that have ended.

    The trainings follow each other, because each already uses all cores or devices. Under torchrun all ranks call this
    function, and only the first rank writes to the store.

    Raises:
        InvalidInput: there is no snapshot, it has too few usable frames, or the loss or a weight is not finite.
        Stopped: stopped by a signal; a checkpoint is in the store and the next call continues from it.
        Unavailable: the store cannot be reached, or another rank is lost.
    """
    dataset = dataset_of(context.store, run)
    identities = {
        seed: backbone_id_of(context.settings, dataset.dataset, seed) for seed in context.settings.pretrain.all_seeds()
    }
    keys = {seed: layout.backbone(identity, "record.json") for seed, identity in identities.items()}
    missing = [seed for seed, key in keys.items() if find(context.store, key, BackboneRecord) is None]
    if missing:
        with joined_ranks(context.settings.pretrain.device, context.settings.work.rank_timeout_seconds) as ranks:
            source = _source(context, dataset)
            # The first rank's list, because another run may commit an equal training between the looks of two ranks,
            # which would then train with different seeds.
            for seed in json.loads(ranks.text_from_first(json.dumps(missing))):
                record = _train(context, dataset, seed, source, ranks)
                if ranks.is_first:
                    commit(context.store, keys[seed], record)
                    seconds = round(record.use.seconds, 3) if record.use else None
                    log_event("backbone", backbone=record.backbone, dataset=record.dataset, seed=seed, seconds=seconds)
            # A barrier: the other ranks read the records only after the first has committed them.
            ranks.total(0)
    # Read back on every rank: only the first rank uploads the weights and knows their keys.
    records = tuple(need(context.store, key, BackboneRecord, "pretrain") for key in keys.values())
    # Every rank does it, because those without work in this call have not joined; none of them reads the checkpoints.
    for identity in identities.values():
        remove_checkpoints(context.store, layout.backbone(identity, "checkpoints"))
    pointer = PretrainPointer(made_by=origin(context.settings, {}), backbones=identities)
    # Every rank writes the same pointer, which later runs may name as `run:NAME`.
    point(context.store, layout.run_record(run, "pretrain"), pointer)
    return records


def _source(context: StepContext, dataset: DatasetRecord) -> ShardBytes:
    """The bytes of the snapshot's shards, from a cache that all trainings of this process share."""
    sizes = {shard.key: shard.size_bytes for shard in dataset.shards}
    # The setting is for a machine, and each rank has a cache of its own.
    limit = context.settings.work.training_cache_mebibytes * 2**20 // ranks_on_this_machine()
    return shard_bytes(context.store, sizes, context.scratch / "pieces", limit)


def _train(context: StepContext, dataset: DatasetRecord, seed: int, source: ShardBytes, ranks: Ranks) -> BackboneRecord:
    """Train with one seed, store the weights, and return the record, which is not written yet."""
    settings, began = context.settings.pretrain.with_seed(seed), time.monotonic()
    identity = backbone_id_of(context.settings, dataset.dataset, seed)
    # A folder for each training, because they share one scratch folder.
    folder = context.scratch / f"checkpoints-{identity}"
    checkpoints = FolderSync(context.store, layout.backbone(identity, "checkpoints"), folder)
    # The other ranks need no copy: the training sends them the state that the first has loaded.
    if ranks.is_first:
        checkpoints.fetch()
    hooks = PretrainingHooks(
        checkpoints.folder,
        lambda progress: _report_progress(context, seed, progress),
        context.stop.is_set,
        with_event(checkpoints.store_new, "checkpoint", backbone=identity),
        ranks,
        _readers(ranks),
        partial(_log_validation, identity),
    )
    frames = snapshot_frames(context.store, dataset.shards)
    with checkpoints.naming_the_store():
        result = pretrain_frames(frames, source, settings, hooks)
    # Other ranks upload nothing, and only the objective `masks` has a mask network.
    backbone, mask_network = (
        _upload_weights(context.store, identity, path) if ranks.is_first and path else ("", "")
        for path in (result.backbone, result.mask_network)
    )
    predictions = _upload_predictions(context, identity, result.predictions) if result.predictions else ""
    return BackboneRecord(
        made_by=origin(context.settings, {f"{context.store.uri}/{layout.dataset(dataset.dataset)}": dataset.dataset}),
        backbone=identity,
        dataset=dataset.dataset,
        seed=seed,
        objective=settings.objective,
        weights_key=backbone[0],
        weights_sha256=backbone[1],
        mask_network_key=mask_network[0],
        mask_network_sha256=mask_network[1],
        predictions_key=predictions,
        images_per_second=result.images_per_second,
        frames_unusable=result.frames_unusable,
        use=_use(ranks, time.monotonic() - began),
        curve=tuple(CurveRow(**vars(point)) for point in result.curve),
    )


def _log_validation(backbone: str, iteration: int, held_out: HeldOut, seconds: float) -> None:
    facts = {"loss": held_out.loss, "score": held_out.score, "seconds": round(seconds, 3)}
    log_event("validation", backbone=backbone, iteration=iteration, **facts)


def _use(ranks: Ranks, seconds: float) -> MachineUse:
    """What all ranks had of their machines, which have as many cores and ranks as this one."""
    count = ranks.share.ranks
    cores = usable_cores() * count // ranks_on_this_machine()
    return MachineUse(seconds=seconds, cores=cores, gpus=count if ranks.device.type == "cuda" else 0)


def _upload_weights(store: Store, identity: str, path: Path) -> tuple[str, str]:
    """Upload a file of weights, and return its key and its sha256."""
    sha256 = file_sha256(path)
    # Two processes that run one training may write equal weights as different bytes. Each key names one file's bytes,
    # and the record that is committed first decides.
    key = layout.backbone(identity, layout.with_digest(path.stem, sha256, ".safetensors"))
    store.upload(key, path)
    return key, sha256


def _upload_predictions(context: StepContext, identity: str, path: Path) -> str:
    """Upload the predictions for crops of works that are not forgotten, and return their key; empty without any."""
    forgotten, place = forgotten_works(context.store), context.settings.videos
    samples = [one for one in read_shard(path) if not forgotten.has(place, str(one.metadata.get("video")))]
    if not samples:
        return ""
    write_shard(path, samples)
    key = layout.backbone(identity, layout.with_digest(path.stem, file_sha256(path), ".tar"))
    context.store.upload(key, path)
    return key


def _readers(ranks: Ranks) -> int:
    """Number of threads that read for a rank: one per core with a GPU, else half, as the network needs the others."""
    cores = usable_cores() // ranks_on_this_machine()
    return max(1, min(_MOST_READERS, cores if ranks.device.type == "cuda" else cores // 2))


def _report_progress(context: StepContext, seed: int, progress: PretrainingProgress) -> None:
    """Show the progress of the training with one seed, and publish it as metrics."""
    # One label for all seeds, which are trained one after another: metrics show the present training.
    context.metrics.set_training("pretrain", progress.iteration, progress.loss)
    context.metrics.set_training_pace("pretrain", progress.images_per_second, progress.waiting_fraction)
    most = sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
    if most:
        context.metrics.set_device_memory("pretrain", most)
    name = "pretrain" if len(context.settings.pretrain.all_seeds()) == 1 else f"pretrain, seed {seed}"
    facts = f"loss {progress.loss:.3f}, {progress.images_per_second:.0f} images/s"
    if progress.frames_unusable:
        facts += f", {progress.frames_unusable} frames unusable"
    context.progress.update(name, progress.iteration, progress.iterations, facts)
