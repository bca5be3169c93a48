"""`watchmove teach`: the motion network that learns from a run's frames and the masks that the run has made of them."""

from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

from watchmove.pipeline.dataset.shard import sample_in
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.files.atomic import make_writable_folder
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.masks.drawn_faults import TaughtFrame
from watchmove.pipeline.masks.motion_network_layers import save_network
from watchmove.pipeline.masks.motion_network_training import taught_frame, train_motion_network
from watchmove.service.records.datasets import DatasetRecord, dataset_of, evenly_chosen
from watchmove.service.runner.events import log_step
from watchmove.service.runner.runner import StepContext
from watchmove.service.training.shard_cache import shard_bytes
from watchmove.service.training.snapshot_frames import snapshot_frames

MOST_FRAMES = 10_000
"""Frames of a snapshot that are learnt from, chosen evenly: 1.8 GB at a working size of 107x60. A bound on memory."""

_SUFFIX = ".safetensors"
_REPORTED_STEPS = 10
"""Steps between two reports. Set by hand."""


@log_step
def teach(context: StepContext, run: str, out: Path, seed: int, steps: int) -> str:
    """Train a motion network on the snapshot of a run, write its weights to `out`, and return what was done in words.

    The file appears when the training has ended; stopped before, it is as it was.

    Raises:
        InvalidInput: the run has not gathered, its frames have no motion, or `out` has another suffix or cannot be
            written.
        Stopped: stopped by a signal.
        Unavailable: the store cannot be read or the disk cannot be written.
    """
    if out.suffix != _SUFFIX:
        raise InvalidInput(f"--out {out}: does not end in {_SUFFIX}, by which weights are known; name it so")
    # before minutes of work
    make_writable_folder(out.parent)
    if out.is_dir():
        raise InvalidInput(f"--out {out}: is a folder; name a file")
    dataset = dataset_of(context.store, run)
    frames = list(_frames(context, dataset))

    def report(step: int, loss: float) -> None:
        if step % _REPORTED_STEPS == 0 or step == steps:
            context.progress.update("teach", step, steps, f"steps, loss {loss:.3f}")
        _check(context)

    # one thread: sums of several have another order on other machines, and so have the weights
    with threadpool_limits(limits=1):
        network = train_motion_network(frames, seed, steps, report)
    save_network(network, out, {"dataset": dataset.dataset, "frames": len(frames), "seed": seed})
    return f"{len(frames)} frames, sha256 {file_sha256(out)}: {out}"


def _frames(context: StepContext, dataset: DatasetRecord) -> Iterator[TaughtFrame]:
    """Yield what is learnt from the frames of a snapshot that have motion and are whole."""
    sizes = {shard.key: shard.size_bytes for shard in dataset.shards}
    limit = context.settings.work.training_cache_mebibytes * 2**20
    source = shard_bytes(context.store, sizes, context.scratch / "pieces", limit)
    table = snapshot_frames(context.store, dataset.shards)
    chosen = evenly_chosen(range(len(table)), MOST_FRAMES)
    for number, row in enumerate(chosen):
        _check(context)
        context.progress.update("read", number + 1, len(chosen), "frames")
        content = source.read_range(table.shards[table.shard[row]], int(table.offset[row]), int(table.size_bytes[row]))
        if table.is_whole(row, content) and (frame := taught_frame(sample_in(content, table.keys[row].decode()))):
            yield frame


def _check(context: StepContext) -> None:
    if context.stop.is_set():
        raise Stopped("stopped before the weights were written; run again to start over")
