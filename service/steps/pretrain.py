"""Pretrain: a dataset snapshot to a backbone, resumable from the checkpoints in the store."""

import hashlib
from pathlib import Path

from pipeline.errors import InvalidInput, Unavailable
from pipeline.pretraining import PretrainingHooks, PretrainingProgress
from pipeline.pretraining import pretrain as pretrain_on_shards
from pipeline.tar_dataset import read_shard, write_shard
from service import layout
from service.folder_sync import FolderSync
from service.records import commit, find, origin
from service.runner import StepContext
from service.steps.gather import DatasetRecord, DatasetShard, dataset_of
from service.store import Store
from service.training_records import BackboneRecord, CurveRow, backbone_id_of


def pretrain(context: StepContext, run: str) -> BackboneRecord:
    """Train on the run's snapshot, or find that these frames and settings have been trained on already.

    Raises:
        InvalidInput: there is no snapshot, or its frames cannot be learnt from.
        Stopped: told to stop; a checkpoint is in the store and the next call continues from it.
        Unavailable: the store cannot be reached.
    """
    dataset = dataset_of(context.store, run)
    identity = backbone_id_of(context.settings, dataset.dataset)
    key = layout.backbone(identity, "record.json")
    known = find(context.store, key, BackboneRecord)
    if known is None:
        known = _train(context, dataset, identity)
        commit(context.store, key, known)
    return known


def _train(context: StepContext, dataset: DatasetRecord, identity: str) -> BackboneRecord:
    shards = [fetch_shard(context.store, shard, context.scratch) for shard in dataset.shards]
    checkpoints = FolderSync(context.store, layout.backbone(identity, "checkpoints"), context.scratch / "checkpoints")
    checkpoints.fetch()

    def on_progress(progress: PretrainingProgress) -> None:
        context.metrics.set_training("pretrain", progress.iteration, progress.loss)
        facts = f"loss {progress.loss:.3f}, {progress.images_per_second:.0f} images/s"
        context.progress.update("pretrain", progress.iteration, progress.iterations, facts)

    hooks = PretrainingHooks(checkpoints.folder, on_progress, context.stop.is_set, checkpoints.store_new)
    result = pretrain_on_shards(shards, context.settings.pretrain, hooks)
    weights_key = layout.backbone(identity, "backbone.safetensors")
    context.store.upload(weights_key, result.backbone)
    return BackboneRecord(
        made_by=origin(context.settings, {f"{context.store.uri}/{layout.dataset(dataset.dataset)}": dataset.dataset}),
        backbone=identity,
        dataset=dataset.dataset,
        weights_key=weights_key,
        weights_sha256=hashlib.sha256(result.backbone.read_bytes()).hexdigest(),
        images_per_second=result.images_per_second,
        curve=tuple(CurveRow(**vars(point)) for point in result.curve),
    )


def fetch_shard(store: Store, shard: DatasetShard, scratch: Path) -> Path:
    """A local copy of a snapshot's shard with its content checked, and without the frames that do not belong to it.

    Raises:
        InvalidInput: the shard is gone. Unavailable: what arrived is not what was written.
    """
    path = store.local(shard.key, scratch / shard.sha256)
    if path is None:
        raise InvalidInput(f"{store.uri}/{shard.key}: the snapshot names it, but it is gone; extract and gather again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != shard.sha256:
        raise Unavailable(f"{store.uri}/{shard.key}: content differs from its record; fetch or extract it again")
    if not shard.left_out:
        return path
    belonging = scratch / f"{shard.sha256}-belonging.tar"
    write_shard(belonging, (s for s in read_shard(path) if s.metadata.get("video_id") not in shard.left_out))
    return belonging
