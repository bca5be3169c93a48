"""Pretrain: a dataset snapshot to a backbone, by one process or many, resumable from the checkpoints in the store."""

from pathlib import Path

from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, PretrainingProgress, pretrain_frames
from watchmove.pipeline.training.ranks import Ranks, joined_ranks, ranks_on_this_machine
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, dataset_of
from watchmove.service.records.record import commit, find, need, origin
from watchmove.service.records.training import BackboneRecord, CurveRow, backbone_id_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import usable_cores
from watchmove.service.store.folder_sync import FolderSync
from watchmove.service.training.shard_cache import shard_bytes
from watchmove.service.training.snapshot_frames import snapshot_frames

_MOST_READERS = 16


def pretrain(context: StepContext, run: str) -> BackboneRecord:
    """Train on the run's snapshot, or find that these frames and settings have been trained on already.

    Started by torchrun, all ranks call it; the first one alone writes.

    Raises:
        InvalidInput: there is no snapshot, or its frames cannot be learnt from.
        Stopped: told to stop; a checkpoint is in the store and the next call continues from it.
        Unavailable: the store cannot be reached, or another rank is lost.
    """
    dataset = dataset_of(context.store, run)
    identity = backbone_id_of(context.settings, dataset.dataset)
    key = layout.backbone(identity, "record.json")
    known = find(context.store, key, BackboneRecord)
    if known is not None:
        return known
    timeout = context.settings.work.rank_timeout_seconds
    with joined_ranks(context.settings.pretrain.device, timeout) as ranks:
        record = _train(context, dataset, identity, ranks)
        if ranks.is_first:
            commit(context.store, key, record)
        ranks.total(0)  # the others wait for the record
    return need(context.store, key, BackboneRecord, "pretrain")


def _train(context: StepContext, dataset: DatasetRecord, identity: str, ranks: Ranks) -> BackboneRecord:
    checkpoints = FolderSync(context.store, layout.backbone(identity, "checkpoints"), context.scratch / "checkpoints")
    if ranks.is_first:
        checkpoints.fetch()
    sizes = {shard.key: shard.size_bytes for shard in dataset.shards}
    limit = context.settings.work.training_cache_mebibytes * 2**20 // ranks_on_this_machine()
    source = shard_bytes(context.store, sizes, context.scratch / "pieces", limit)
    hooks = PretrainingHooks(
        checkpoints.folder,
        lambda progress: _tell(context, progress),
        context.stop.is_set,
        checkpoints.store_new,
        ranks,
        _readers(ranks),
    )
    frames = snapshot_frames(context.store, dataset.shards)
    with checkpoints.naming_the_store():
        result = pretrain_frames(frames, source, context.settings.pretrain, hooks)
    backbone, mask_network = (
        _stored(context, identity, path) if ranks.is_first and path else ("", "")
        for path in (result.backbone, result.mask_network)
    )
    return BackboneRecord(
        made_by=origin(context.settings, {f"{context.store.uri}/{layout.dataset(dataset.dataset)}": dataset.dataset}),
        backbone=identity,
        dataset=dataset.dataset,
        objective=context.settings.pretrain.objective,
        weights_key=backbone[0],
        weights_sha256=backbone[1],
        mask_network_key=mask_network[0],
        mask_network_sha256=mask_network[1],
        images_per_second=result.images_per_second,
        frames_unusable=result.frames_unusable,
        curve=tuple(CurveRow(**vars(point)) for point in result.curve),
    )


def _stored(context: StepContext, identity: str, path: Path) -> tuple[str, str]:
    """Key and sha256 of a file of weights, put into the store."""
    sha256 = file_sha256(path)
    # two pods on one training may write equal weights in other bytes: each names its own, the record decides
    key = layout.backbone(identity, f"{path.stem}-{sha256[:12]}.safetensors")
    context.store.upload(key, path)
    return key, sha256


def _readers(ranks: Ranks) -> int:
    """Threads that read for a rank: a GPU leaves it its cores, a network on them leaves half."""
    cores = usable_cores() // ranks_on_this_machine()
    return max(1, min(_MOST_READERS, cores if ranks.device.type == "cuda" else cores // 2))


def _tell(context: StepContext, progress: PretrainingProgress) -> None:
    context.metrics.set_training("pretrain", progress.iteration, progress.loss)
    facts = f"loss {progress.loss:.3f}, {progress.images_per_second:.0f} images/s"
    if progress.frames_unusable:
        facts += f", {progress.frames_unusable} frames unusable"
    context.progress.update("pretrain", progress.iteration, progress.iterations, facts)
