"""Human-annotated masks in place of masks from motion, as a control: COCO's instances as shards of an extraction.

Each image is a video of one frame, so that the gather, pretraining and report steps handle it like any other. Its mask
is the union of its objects' masks, as a mask from motion is the union of all moving objects: training crops around the
largest connected component, and would learn other objects as background if each had a frame of its own.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from watchmove.pipeline.coco.masks import soft_mask_of
from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.errors import InvalidInput, UnreadableVideo
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.settings.pretraining import FOREGROUND_THRESHOLD
from watchmove.service.extraction.child import JPEG_QUALITY, KEPT
from watchmove.service.extraction.coco_instances import ImageAnnotations, Instances
from watchmove.service.extraction.fetcher import ScratchSpace
from watchmove.service.extraction.shard_part import OpenPart, committed_parts
from watchmove.service.records import layout
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.outcomes import NO_DEVICE, Outcome, Video, VideoOutcome
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import commit, find, json_lines, need, origin
from watchmove.service.records.shard_index import frame_key
from watchmove.service.runner.events import log_step
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.opening import open_videos
from watchmove.service.store.store import Store

IMPORT_VERSION = 3
"""Part of the recipe; to be increased when the same annotations would give other masks."""

UNLISTED = "annotation-of-unlisted-image"
"""Key, in the plan's record, of the number of annotations that were left out for this reason."""

_MAX_IMAGE_BYTES = 2**26
"""A bound on memory, not a tuned value."""


@log_step
def import_coco(context: StepContext, run: str, annotations: Path) -> PlanRecord:
    """Write the run's plan and all its shards for `gather`; parts that an earlier call committed are kept.

    Stopped by a signal, it commits the finished images and raises Stopped.

    Raises:
        InvalidInput: the annotations are not COCO's, or the run has a plan of something else.
        Unavailable: a store cannot be reached, or the disk is full.
    """
    folder = Path(tempfile.mkdtemp(prefix="coco-", dir=context.scratch))
    try:
        instances = Instances(annotations, context.settings.videos, folder, context.check_stop)
        plan = _planned(context, run, annotations, instances)
        for shard in range(plan.shards):
            _import_shard(context, plan, shard, instances)
        return plan
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _planned(context: StepContext, run: str, annotations: Path, instances: Instances) -> PlanRecord:
    """The run's plan; a new one is committed after its lists."""
    extract = context.settings.extract
    # Only the settings that `_sample` uses, so that a change of others repeats no import.
    limits = [extract.shorter_side_pixels, extract.min_area_fraction, extract.max_area_fraction]
    recipe = settings_hash("coco", instances.sha256, limits, extract.max_source_pixels, IMPORT_VERSION)
    made_by = origin(context.settings, {str(annotations): instances.sha256})
    listing, digest = instances.listing(made_by)
    plan = settings_hash(recipe, digest)
    known = find(context.store, layout.run_record(run, "plan"), PlanRecord)
    if known is not None:
        if (known.recipe, known.plan) != (recipe, plan):
            raise InvalidInput(f"run {run}: has a plan of other videos, annotations or settings; name another run")
        return known
    for shard in range(instances.shards):
        context.store.write(layout.shard_list(recipe, plan, shard), json_lines(instances.images_of(shard)))
    context.store.upload(layout.listing(recipe, plan), listing)
    record = PlanRecord(
        made_by=made_by,
        recipe=recipe,
        plan=plan,
        shards=instances.shards,
        videos_listed=len(instances),
        videos_new=len(instances),
        files_ignored=0,
        filtered={UNLISTED: instances.annotations_unlisted} if instances.annotations_unlisted else {},
        masks_from="annotations",
    )
    commit(context.store, layout.run_record(run, "plan"), record)
    # Read back: of two processes, the first one's record is the plan.
    return need(context.store, layout.run_record(run, "plan"), PlanRecord, "import-coco")


def _import_shard(context: StepContext, plan: PlanRecord, shard: int, instances: Instances) -> None:
    """Import the images of a shard that no part has yet, and commit them in parts as an extraction does."""
    parts = list(committed_parts(context.store, plan, shard))
    done = {row.video.id for part in parts for row in part.videos}
    forgotten, place = forgotten_works(context.store), context.settings.videos
    left = [
        picture
        for picture in instances.images_of(shard)
        if picture.id not in done and not forgotten.has(place, picture.key)
    ]
    if not left:
        return
    folder = Path(tempfile.mkdtemp(prefix=f"shard-{shard}-", dir=context.scratch))
    space = ScratchSpace(context.settings.work.scratch_mebibytes * 2**20)
    part = OpenPart(
        context.settings, context.store, plan, (shard, len(parts)), folder, space, {"masks": "COCO annotations"}
    )
    faulty = 0
    try:
        for row in _outcomes(context, left, instances.annotations_of(shard), folder):
            part.add(row)
            faulty += row.outcome in (Outcome.KEPT, Outcome.REJECTED) and bool(row.detail)
            context.metrics.count_video(row.outcome.value, row.reason)
            # False: another process imports this shard and has committed the part, so the rest is left to it.
            if part.is_due() and not part.commit(NO_DEVICE):
                return
    finally:
        try:
            part.commit(NO_DEVICE)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    facts = [f"{len(left)} images in the last shard"]
    facts += [f"{faulty} of them with objects left out"] if faulty else []
    unlisted = instances.annotations_unlisted
    facts += [f"{unlisted} annotations of images that the file does not list"] if unlisted else []
    context.progress.update("import-coco", shard + 1, plan.shards, ", ".join(facts))


def _outcomes(
    context: StepContext, images: Sequence[Video], annotations: Mapping[str, ImageAnnotations], folder: Path
) -> Iterator[VideoOutcome]:
    """Yield the outcome of each image; the frame of a kept one is in its folder before its outcome is yielded."""
    store = open_videos(context.settings)
    for picture in images:
        context.check_stop()
        try:
            found = annotations.get(picture.key, ImageAnnotations())
            sample, problems = _sample(context, picture, found, store)
        except UnreadableVideo as error:
            missing = error.reason == "not-in-store"
            outcome = Outcome.MISSING if missing else Outcome.UNREADABLE
            yield VideoOutcome(video=picture, outcome=outcome, reason=error.reason, detail=error.detail[:500])
            continue
        detail = f"{len(problems)} objects left out; {problems[0]}"[:500] if problems else ""
        if isinstance(sample, str):
            rejected = VideoOutcome(
                video=picture, outcome=Outcome.REJECTED, reason=sample, detail=detail, frames_seen=1
            )
            yield rejected.model_copy(update={"frames_rejected": {sample: 1}})
            continue
        (folder / picture.id).mkdir()
        # Where extraction's workers leave the frames of a video, and where `OpenPart` reads them.
        write_shard(folder / picture.id / KEPT, [sample])
        yield VideoOutcome(video=picture, outcome=Outcome.KEPT, detail=detail, frames_seen=1, frames_kept=1)


def _sample(
    context: StepContext, picture: Video, annotations: ImageAnnotations, store: Store
) -> tuple[Sample | str, tuple[str, ...]]:
    """The frame with its mask at extraction's size, or the reason for its rejection; and the faults of its objects.

    Raises UnreadableVideo.
    """
    settings = context.settings.extract
    image = _decoded(store, picture.key)
    height, width = image.shape[:2]
    if height * width > settings.max_source_pixels:
        raise UnreadableVideo("too-large", f"{width} x {height} pixels, above extract.max_source_pixels")
    if annotations.size not in (None, (height, width)):
        listed = " x ".join(map(str, reversed(annotations.size or ())))
        raise UnreadableVideo("other-size", f"{width} x {height} pixels, {listed} in the annotations")
    # Crowd regions are below the threshold: an image that shows only a crowd has no object to learn.
    soft_mask, problems = soft_mask_of(annotations.objects, height, width)
    area = float((soft_mask >= FOREGROUND_THRESHOLD).mean())
    if area == 0:
        return "no-object", problems
    if not settings.min_area_fraction <= area <= settings.max_area_fraction:
        return ("too-small" if area < settings.min_area_fraction else "too-large"), problems
    scale = min(1.0, settings.shorter_side_pixels / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    _, jpeg = cv2.imencode(
        ".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    # INTER_AREA averages, so a pixel on the outline gets the fraction that the object covers.
    small = cv2.resize(soft_mask, size, interpolation=cv2.INTER_AREA)
    _, png = cv2.imencode(".png", np.rint(small * 255).astype(np.uint8))
    return Sample(frame_key(picture.id, 0), jpeg.tobytes(), png.tobytes(), _metadata(picture)), problems


def _decoded(store: Store, key: str) -> cv2.typing.MatLike:
    """Read an image, uint8 BGR (H, W, 3); not rotated by EXIF, because COCO's annotations refer to stored pixels."""
    try:
        item = store.head(key)
    except InvalidInput as error:
        raise UnreadableVideo("outside-prefix", str(error)) from error
    if item is None:
        raise UnreadableVideo("not-in-store", f"{store.uri}/{key}: not there")
    if item.size_bytes > _MAX_IMAGE_BYTES:
        raise UnreadableVideo("too-large", f"{item.size_bytes} bytes, more than {_MAX_IMAGE_BYTES}")
    image = decoded_image(store.read(key) or b"")
    if image is None:
        raise UnreadableVideo("not-a-picture", f"{store.uri}/{key}: cannot be decoded completely")
    return image


def _metadata(picture: Video) -> dict[str, object]:
    """Metadata of an image, with the fields of a video's frame."""
    credit = picture.credit
    return {
        "video": picture.key,
        "video_id": picture.id,
        "frame": 0,
        "time_seconds": 0.0,
        "shot": 0,
        "confidence": 1.0,
        "reject_reason": None,
        "conditions": [],
        "masks": "COCO annotations",
        "title": credit.title,
        "owner": credit.owner,
        "licence": credit.licence,
        "licence_url": credit.licence_url,
        "page_url": credit.page_url,
    }
