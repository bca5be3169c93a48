"""The frames of a snapshot as pretraining reads them."""

from watchmove.pipeline.dataset.shard import Sample, sample_in
from watchmove.service.records.datasets import DatasetRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.training.shard_cache import shard_bytes
from watchmove.service.training.snapshot_frames import snapshot_frames


def snapshot_samples(context: StepContext, dataset: DatasetRecord) -> list[Sample]:
    """Every frame of a snapshot, by its place in the index."""
    table = snapshot_frames(context.store, dataset.shards)
    sizes = {shard.key: shard.size_bytes for shard in dataset.shards}
    source = shard_bytes(context.store, sizes, context.scratch / "pieces", 2**24)
    places = zip(table.shard.tolist(), table.offset.tolist(), table.size_bytes.tolist(), table.keys, strict=True)
    return [sample_in(source.read_range(table.shards[n], at, size), key.decode()) for n, at, size, key in places]
