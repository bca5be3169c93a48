"""Control: the frames of a run with other masks or with labels, as the snapshot of a run of its own."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from watchmove.pipeline.dataset.other_masks import label_of, shuffled_masks, true_masks
from watchmove.pipeline.dataset.shard import Sample, SamplePlace, index_shard, read_sample, write_shard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.pretraining.class_prediction import LABEL
from watchmove.pipeline.voc.annotations import VocImage, read_voc
from watchmove.pipeline.voc.images import read_image_bgr
from watchmove.service.evaluation.detection_set import DetectionSet
from watchmove.service.extraction.child import JPEG_QUALITY
from watchmove.service.extraction.truth_folder import TruthFolder
from watchmove.service.records import layout
from watchmove.service.records.datasets import (
    DatasetRecord,
    DatasetShard,
    GatherRecord,
    MasksFrom,
    dataset_of,
    gathered_of,
)
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import commit, find, need, origin
from watchmove.service.records.shard_index import frame_key, index_bytes, index_key
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.store import Store

CONTROL_VERSION = 1
"""Part of a snapshot's identity; to be increased when the same frames would get other masks."""

Kind = Literal["same", "shuffled-masks", "true-masks", "masks-with-truth", "labels", "labelled-boxes"]
"""What a control changes: nothing; or each mask is another frame's; or the true one; or nothing, for the frames with a
known true mask, which `true-masks` compares with; or each frame gets the true class of its object beside its mask; or
the frames are instead images of the detection set's split `val`, each with the box and the class of an object."""

_MASKS_FROM: dict[Kind, MasksFrom] = {
    "shuffled-masks": "shuffled-masks",
    "true-masks": "true-masks",
    "labelled-boxes": "annotations",
}
"""Where the masks are from; from motion in all other kinds."""

LABELLED_SPLIT = "val"
"""Split of the detection set whose boxes are labels; no detector may train or be tested on it."""

_WITHOUT_TRUTH = ("same", "shuffled-masks", "labelled-boxes")
"""Kinds that need no folder of true masks."""

_DOWNLOADS = 4
"""Files of the detection set that are fetched at once."""

_FRAMES_OF_A_SHARD = 4096
"""Most frames of one tar: some hundred megabytes. Set by hand."""


def control(
    context: StepContext, run: str, source_run: str, kind: Kind, truth: str = "", *, fraction: float = 1.0
) -> DatasetRecord:
    """Write the frames of `source_run` with other masks, as the snapshot on which `run` pretrains.

    With a `fraction` below 1 only the frames of that fraction of the videos are taken, those with the lowest hashes, so
    that a smaller fraction is part of a larger one. `truth` is the URI of a folder with a file `NAME.npz` for each
    video `NAME.SUFFIX`; see `read_truth`. A control needs scratch space for its dataset twice.

    Raises:
        InvalidInput: the source has no snapshot, `run` has one of something else, or no frame's truth is known.
        Unavailable: the store cannot be reached, or the disk is full.
    """
    source = dataset_of(context.store, source_run)
    if kind not in _WITHOUT_TRUTH and not truth:
        raise InvalidInput(f"control {kind}: needs true masks; name their folder in the setting `truth`")
    known_truth = None if kind in _WITHOUT_TRUTH else TruthFolder(truth, context.scratch / "truth")
    boxes = DetectionSet.at(context.settings) if kind == "labelled-boxes" else None
    known_as = boxes.identity if boxes else known_truth.identity if known_truth else ""
    identity = settings_hash("control", source.dataset, kind, known_as, fraction, CONTROL_VERSION)
    record = find(context.store, layout.dataset(identity), DatasetRecord)
    if record is None:
        record = _written(context, source, (identity, kind, fraction), known_truth, boxes)
        commit(context.store, layout.dataset(identity), record)
    _give_to_run(context, run, source_run, record)
    return record


def _written(
    context: StepContext,
    source: DatasetRecord,
    wanted: tuple[str, Kind, float],
    truth: TruthFolder | None,
    boxes: DetectionSet | None,
) -> DatasetRecord:
    """Write the control's tars and their indexes, and return its record, which is not written yet."""
    identity, kind, fraction = wanted
    folder = Path(tempfile.mkdtemp(prefix="control-", dir=context.scratch))
    try:
        if boxes is not None:
            samples = _labelled_boxes(read_voc(boxes.fetch(folder / "voc", _DOWNLOADS), LABELLED_SPLIT))
        else:
            places = list(chain.from_iterable(_places(context.store, shard, folder) for shard in source.shards))
            samples = _changed(list(_of_fewer_videos(places, fraction)), kind, truth)
        shards: list[DatasetShard] = []
        videos: set[object] = set()
        labels: set[str] = set()
        while True:
            context.check_stop()
            part = list(islice(samples, _FRAMES_OF_A_SHARD))
            if not part:
                break
            videos |= {sample.metadata.get("video") for sample in part}
            labels |= {str(sample.metadata[LABEL]) for sample in part if LABEL in sample.metadata}
            shards.append(_stored(context.store, identity, len(shards), part, folder))
            done = sum(shard.frames for shard in shards)
            context.progress.update("control", done, max(done, source.kept_frames), "frames")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not shards:
        raise InvalidInput(
            f"control {kind}: no frame of dataset {source.dataset} has a known truth; check the setting truth"
        )
    return source.model_copy(
        update={
            "made_by": origin(context.settings, {layout.dataset(source.dataset): source.dataset}),
            "dataset": identity,
            "masks_from": _MASKS_FROM.get(kind, "motion"),
            "shards": tuple(shards),
            "kept_frames": sum(shard.frames for shard in shards),
            "kept_videos": len(videos),
            "labels": tuple(sorted(labels)),
        }
    )


def _places(store: Store, shard: DatasetShard, folder: Path) -> list[SamplePlace]:
    """The places of a shard's frames that belong to the snapshot, in a local copy."""
    path = store.local(shard.key, folder / Path(shard.key).name)
    if path is None:
        raise InvalidInput(f"{store.uri}/{shard.key}: not there; extract and gather again")
    left_out = set(shard.left_out)
    return [place for place in index_shard(path) if _video_of(place) not in left_out]


def _of_fewer_videos(places: list[SamplePlace], fraction: float) -> Iterator[SamplePlace]:
    """Yield the frames of the videos with the lowest hashes, at least one video."""
    videos = sorted(
        {_video_of(place) for place in places}, key=lambda video: hashlib.sha256(f"fraction {video}".encode()).digest()
    )
    chosen = set(videos[: max(1, round(fraction * len(videos)))])
    yield from (place for place in places if _video_of(place) in chosen)


def _video_of(place: SamplePlace) -> str:
    return place.key.rpartition("-")[0]


def _changed(places: list[SamplePlace], kind: Kind, truth: TruthFolder | None) -> Iterator[Sample]:
    if kind == "shuffled-masks":
        yield from shuffled_masks(places)
        return
    if truth is None:
        yield from map(read_sample, places)
        return
    for place in places:
        sample = read_sample(place)
        known = truth.of(sample)
        if kind == "labels":
            label = label_of(sample, known)
            if label is not None:
                yield replace(sample, metadata=sample.metadata | {LABEL: label})
            continue
        for changed in true_masks(iter([sample]), known):
            yield sample if kind == "masks-with-truth" else changed


def _labelled_boxes(images: Sequence[VocImage]) -> Iterator[Sample]:
    """Yield a frame for each object that is not difficult: its image, its box as the mask, its class as the label."""
    for image in images:
        pixels = read_image_bgr(image.path)
        if pixels is None:
            raise InvalidInput(f"{image.path}: cannot be decoded; repair it, or take it out of {LABELLED_SPLIT}.txt")
        video = hashlib.sha256(image.image_id.encode()).hexdigest()[:16]
        _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        for number, annotated in enumerate(image.objects):
            left, top, right, bottom = (round(edge) for edge in annotated.box_xyxy)
            mask = np.zeros(pixels.shape[:2], np.uint8)
            mask[top:bottom, left:right] = 255
            if mask.any() and not annotated.difficult:
                _, png = cv2.imencode(".png", mask)
                metadata: dict[str, object] = {"video": image.image_id, "frame": number, LABEL: annotated.name}
                yield Sample(frame_key(video, number), jpeg.tobytes(), png.tobytes(), metadata)


def _stored(store: Store, identity: str, number: int, samples: list[Sample], folder: Path) -> DatasetShard:
    """Write one tar and its index to the store."""
    path = folder / f"control-{number:05d}.tar"
    frames = write_shard(path, samples)
    digest = file_sha256(path)
    key = layout.control(identity, layout.with_digest(f"{number:05d}", digest, ".tar"))
    store.upload(key, path)
    store.write(index_key(key), index_bytes(path))
    size_bytes = path.stat().st_size
    path.unlink()
    return DatasetShard(key=key, sha256=digest, size_bytes=size_bytes, index_key=index_key(key), frames=frames)


def _give_to_run(context: StepContext, run: str, source_run: str, dataset: DatasetRecord) -> None:
    """Write the run's records of plan and gather: those of its source, with the control's snapshot."""
    plan = need(context.store, layout.run_record(source_run, "plan"), PlanRecord, "plan")
    gathered = gathered_of(context.store, source_run)
    commit(context.store, layout.run_record(run, "plan"), plan)
    key = layout.run_record(run, "gather")
    # new frames are counted for the source's snapshot alone
    commit(context.store, key, gathered.model_copy(update={"dataset": dataset.dataset, "new_frames": None}))
    if need(context.store, key, GatherRecord, "gather").dataset != dataset.dataset:
        raise InvalidInput(f"run {run}: has a snapshot of something else; name another run")
