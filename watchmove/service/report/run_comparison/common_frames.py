"""The frames that two runs have both sampled, with the verdict and the mask of each run."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from watchmove.pipeline.dataset.shard import Sample, read_shard, sample_in
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.pretraining import FOREGROUND_THRESHOLD
from watchmove.service.records import layout
from watchmove.service.records.attempts import Ids, id_of, number_of
from watchmove.service.records.datasets import evenly_chosen
from watchmove.service.records.frame_verdicts import read_verdicts
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.shard_index import FramePlace, frame_key, read_index
from watchmove.service.records.stream import in_order, read_ahead
from watchmove.service.report.images import soft_mask_of
from watchmove.service.report.run_comparison.run_facts import RunFacts
from watchmove.service.store.store import ObjectChanged, Store, StoredObject

MOST_VIDEOS = 64
"""Most videos whose frames are compared, chosen evenly: a few reads for each. Set by hand; not tuned."""
MOST_MASKS = 256
"""Most frames of which both masks are read, chosen evenly, with equal and with other verdicts. Set by hand."""
MOST_AUDITS = 16
"""Most tars of rejected frames that are read of a run, chosen evenly: each is read as a whole. Set by hand."""
MOST_SHOWN = 24
"""Most frames that are shown. Set by hand: with two images of 320 pixels each they take about 2 MB."""


class SampledFrame(NamedTuple):
    """A frame that a run has sampled: why it was rejected, None if it was kept, and the tar that has its mask.

    `tar` has the frame at `place`; of a rejected frame `place` is None, and the tar has only a few of them.
    """

    reject_reason: str | None
    tar: str
    place: FramePlace | None = None


class CommonFrame(NamedTuple):
    """A frame that both runs have sampled, with what each has stored of it: None where it has not.

    iou: intersection over union of both masks at FOREGROUND_THRESHOLD, from 0 to 1; None without both masks.
    """

    key: str
    a: SampledFrame
    b: SampledFrame
    sample_a: Sample | None
    sample_b: Sample | None
    iou: float | None


class CommonFrames(NamedTuple):
    """What two runs have sampled in common.

    videos: number of videos that both have decoded; videos_compared: of those whose frames were compared; frames: of
    their frames that both have sampled; kept: those that both keep; kept_in_one: those that one keeps and the other
    rejects; ious: of the compared pairs of kept frames; shown: the frames that differ most, by verdict and then by IoU.
    """

    videos: int
    videos_compared: int
    frames: int
    kept: int
    kept_in_one: int
    ious: tuple[float, ...]
    shown: tuple[CommonFrame, ...]


def common_frames(store: Store, scratch: Path, a: RunFacts, b: RunFacts) -> CommonFrames:
    """Compare the frames of videos that two runs have decoded; of many videos and frames an even choice.

    Raises:
        InvalidInput: a record or a file that it names is absent, changed or damaged.
        Unavailable: the store cannot be reached.
    """
    common = np.intersect1d(_decoded(a), _decoded(b))
    chosen = np.array(evenly_chosen(common.tolist(), MOST_VIDEOS), np.uint64)
    of_a, of_b = (_sampled(store, run, chosen) for run in (a, b))
    keys = sorted(of_a.keys() & of_b.keys())
    kept = [key for key in keys if of_a[key].reject_reason is of_b[key].reject_reason is None]
    in_one = [key for key in keys if (of_a[key].reject_reason is None) != (of_b[key].reject_reason is None)]
    masks = _pairs(store, scratch, evenly_chosen(kept, MOST_MASKS), of_a, of_b)
    verdicts = _pairs(store, scratch, evenly_chosen(in_one, MOST_MASKS), of_a, of_b)
    return CommonFrames(
        videos=len(common),
        videos_compared=len(chosen),
        frames=len(keys),
        kept=len(kept),
        kept_in_one=len(in_one),
        ious=tuple(pair.iou for pair in masks if pair.iou is not None),
        shown=_shown(verdicts, masks),
    )


def _decoded(run: RunFacts) -> Ids:
    """(M,) numbers of the listed videos that a run has decoded."""
    return run.table.video[run.rows & ~run.table.failed]


def _shown(verdicts: Iterable[CommonFrame], masks: Iterable[CommonFrame]) -> tuple[CommonFrame, ...]:
    """The frames to show: those with other verdicts take half of the places, or all that the others leave."""

    def in_doubt(pair: CommonFrame) -> tuple[bool, float]:
        return pair.iou is None, pair.iou or 0.0  # those with both masks first

    by_verdict = sorted(verdicts, key=in_doubt)
    by_mask = sorted((pair for pair in masks if pair.iou is None or pair.iou < 1), key=in_doubt)
    first = by_verdict[: max(MOST_SHOWN // 2, MOST_SHOWN - len(by_mask))]
    return (*first, *by_mask[: MOST_SHOWN - len(first)])


def _sampled(store: Store, run: RunFacts, videos: Ids) -> dict[str, SampledFrame]:
    """The frames that a run has sampled of videos, by key; those of a control are the frames of its snapshot."""
    if run.dataset and any(shard.key.startswith(layout.all_controls()) for shard in run.dataset.shards):
        wanted = {id_of(number) for number in videos.tolist()}
        places = ((shard.key, place) for shard in run.dataset.shards for place in read_index(store, shard.index_key))
        return {place.key: SampledFrame(None, tar, place) for tar, place in places if place.video in wanted}
    rows = np.flatnonzero(run.rows & run.table.of(videos))
    # of several attempts at a video in different parts, one counts
    by_part: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows.tolist():
        by_part[run.table.parts[run.table.part[row]].key].add(int(run.table.video[row]))
    frames: dict[str, SampledFrame] = {}
    for key, part in read_ahead(store, by_part, ShardRecord):
        frames |= _of_part(store, key, part, by_part[key])
    return frames


def _of_part(store: Store, key: str, part: ShardRecord, videos: set[int]) -> dict[str, SampledFrame]:
    """The sampled frames of videos of one part; of records without verdicts only the kept ones are known."""
    rows = [row for row in part.videos if number_of(row.video.id, key) in videos]
    frames = {
        frame_key(row.video.id, verdict.frame): SampledFrame(verdict.reject_reason, part.audit_key)
        for row in rows
        for verdict in read_verdicts(store, part, row)
    }
    ids = {row.video.id for row in rows if row.frames_kept}
    for place in read_index(store, part.index_key) if ids else ():
        if place.video in ids:
            frames[place.key] = SampledFrame(None, part.data_key, place)
    return frames


def _pairs(
    store: Store, scratch: Path, keys: Sequence[str], of_a: Mapping[str, SampledFrame], of_b: Mapping[str, SampledFrame]
) -> list[CommonFrame]:
    """Frames with what both runs have stored of them."""
    samples_a, samples_b = (_samples(store, scratch, {key: of[key] for key in keys}) for of in (of_a, of_b))
    return [
        CommonFrame(key, of_a[key], of_b[key], one, two, mask_iou(one, two) if one and two else None)
        for key, one, two in ((key, samples_a.get(key), samples_b.get(key)) for key in keys)
    ]


def mask_iou(one: Sample, two: Sample) -> float | None:
    """Intersection over union of two masks at FOREGROUND_THRESHOLD, from 0 to 1; None if one cannot be decoded.

    Runs may decode frames at different sizes: the second mask is scaled to the size of the first.
    """
    first, second = soft_mask_of(one), soft_mask_of(two)
    if first is None or second is None:
        return None
    if first.shape != second.shape:
        import cv2  # rarely needed, and not in the slim image

        second = np.asarray(cv2.resize(second, first.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return jaccard(first >= FOREGROUND_THRESHOLD, second >= FOREGROUND_THRESHOLD)


def _samples(store: Store, scratch: Path, frames: Mapping[str, SampledFrame]) -> dict[str, Sample]:
    """The stored frames: kept ones by their place, and of the rejected those that were stored for inspection."""
    kept = {key: frame for key, frame in frames.items() if frame.place is not None}
    items = {tar: store.head(tar) for tar in {frame.tar for frame in kept.values()}}
    samples = dict(in_order(lambda key: (key, _read(store, items[kept[key].tar], kept[key])), kept))
    audits: defaultdict[str, set[str]] = defaultdict(set)
    for key, frame in frames.items():
        if frame.place is None:
            audits[frame.tar].add(key)
    for tar in evenly_chosen(sorted(audits), MOST_AUDITS):
        copy = scratch / "compared.tar"
        try:
            path = store.local(tar, copy)
            samples |= {
                sample.key: sample for sample in (read_shard(path) if path else ()) if sample.key in audits[tar]
            }
        finally:
            copy.unlink(missing_ok=True)  # a folder's own file is not at this path
    return samples


def _read(store: Store, item: StoredObject | None, frame: SampledFrame) -> Sample:
    place, where = frame.place, f"{store.uri}/{frame.tar}"
    if item is None or place is None:
        raise InvalidInput(f"{where}: not there; extract its shard again")
    try:
        return sample_in(store.read_range(item, place.offset, place.size_bytes), place.key)
    except ObjectChanged as error:
        raise InvalidInput(f"{where}: changed; extract its shard again") from error
