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
from watchmove.service.store.store import Store
from watchmove.service.training.shard_cache import shard_bytes
from watchmove.service.training.snapshot_frames import snapshot_frames

_MOST_READERS = 16
"""Most threads that read frames for one rank. Set by hand; not tuned."""


def pretrain(context: StepContext, run: str) -> BackboneRecord:
    """Pretrain on the run's snapshot, or return the record of an equal training that has ended.

    Under torchrun all ranks call this function, and only the first rank writes to the store.

    Raises:
        InvalidInput: there is no snapshot, or it has too few usable frames.
        Stopped: stopped by a signal; a checkpoint is in the store and the next call continues from it.
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
        # A barrier: the other ranks read the record only after the first has committed it.
        ranks.total(0)
    # Read back on every rank: only the first rank uploads the weights and knows their keys.
    return need(context.store, key, BackboneRecord, "pretrain")


def _train(context: StepContext, dataset: DatasetRecord, identity: str, ranks: Ranks) -> BackboneRecord:
    """Train, store the weights, and return the record, which is not written yet."""
    checkpoints = FolderSync(context.store, layout.backbone(identity, "checkpoints"), context.scratch / "checkpoints")
    # The other ranks need no copy: the training sends them the state that the first has loaded.
    if ranks.is_first:
        checkpoints.fetch()
    sizes = {shard.key: shard.size_bytes for shard in dataset.shards}
    # The setting is for a machine, and each rank has a cache of its own.
    limit = context.settings.work.training_cache_mebibytes * 2**20 // ranks_on_this_machine()
    source = shard_bytes(context.store, sizes, context.scratch / "pieces", limit)
    hooks = PretrainingHooks(
        checkpoints.folder,
        lambda progress: _report_progress(context, progress),
        context.stop.is_set,
        checkpoints.store_new,
        ranks,
        _readers(ranks),
    )
    frames = snapshot_frames(context.store, dataset.shards)
    with checkpoints.naming_the_store():
        result = pretrain_frames(frames, source, context.settings.pretrain, hooks)
    # Other ranks upload nothing, and the objective `rotation` has no mask network.
    backbone, mask_network = (
        _upload_weights(context.store, identity, path) if ranks.is_first and path else ("", "")
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


def _upload_weights(store: Store, identity: str, path: Path) -> tuple[str, str]:
    """Upload a file of weights, and return its key and its sha256."""
    sha256 = file_sha256(path)
    # Two processes that run one training may write equal weights as different bytes. Each key names one file's bytes,
    # and the record that is committed first decides.
    key = layout.backbone(identity, f"{path.stem}-{sha256[:12]}.safetensors")
    store.upload(key, path)
    return key, sha256


def _readers(ranks: Ranks) -> int:
    """Number of threads that read for a rank: one per core with a GPU, else half, as the network needs the others."""
    cores = usable_cores() // ranks_on_this_machine()
    return max(1, min(_MOST_READERS, cores if ranks.device.type == "cuda" else cores // 2))


def _report_progress(context: StepContext, progress: PretrainingProgress) -> None:
    """Show the progress, and publish it as metrics."""
    context.metrics.set_training("pretrain", progress.iteration, progress.loss)
    facts = f"loss {progress.loss:.3f}, {progress.images_per_second:.0f} images/s"
    if progress.frames_unusable:
        facts += f", {progress.frames_unusable} frames unusable"
    context.progress.update("pretrain", progress.iteration, progress.iterations, facts)
