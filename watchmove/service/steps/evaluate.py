"""Evaluate: train a detector on a trunk, and score it by average precision on a detection set in VOC's layout."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from watchmove.pipeline.detection.testing import detect_objects
from watchmove.pipeline.detection.training import DetectorHooks, DetectorProgress, train_detector
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import AlexNet, load_backbone, random_backbone
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, SHAPES, AlexNetShape
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import read_voc
from watchmove.pipeline.voc.average_precision import DetectionScores, evaluate_detections
from watchmove.pipeline.voc.detections import Detection, write_detections
from watchmove.service.evaluation.classification import ImageSet, Trunk, classify_layers
from watchmove.service.evaluation.detection_set import DetectionSet, first_by_hash, warn_of_learnt_images
from watchmove.service.evaluation.proposal_cache import proposal_files_identity, proposals_of
from watchmove.service.evaluation.trunks import NamedWeights, load_named, named_weights
from watchmove.service.records import layout
from watchmove.service.records.datasets import dataset_of
from watchmove.service.records.outcomes import MachineUse
from watchmove.service.records.record import commit, find, need, origin, point
from watchmove.service.records.training import (
    EVALUATION_VERSION,
    PRETRAINED,
    RANDOM,
    BackboneRecord,
    ClassificationPointer,
    ClassRow,
    Evaluation,
    EvaluationPointer,
    EvaluationRecord,
    MappedWeights,
    backbone_of_cell,
    evaluations_of,
    is_first_of_trunk,
)
from watchmove.service.runner.events import log_event, log_step, with_event
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.evaluate import EvaluateSettings, preset_in_words
from watchmove.service.settings.settings import settings_hash, usable_cores, worker_count
from watchmove.service.steps.failures import record_failure
from watchmove.service.store.folder_sync import FolderSync, remove_checkpoints
from watchmove.service.training.backbone_files import fetch_backbone


@log_step
@record_failure
def evaluate(context: StepContext, run: str, number: int) -> EvaluationRecord:
    """Train and score one detector, or reuse the record of an equal trunk, detection set and settings.

    Raises:
        InvalidInput: there is no evaluation of that number, or the detection set cannot be used.
        Stopped: stopped by a signal; a checkpoint is in the store and the next call continues from it.
        Unavailable: the store cannot be reached.
    """
    cells = evaluations_of(context.settings)
    if not 0 <= number < len(cells):
        raise InvalidInput(f"evaluation {number}: the settings make {len(cells)}, counted from 0; name one of them")
    cell = cells[number]
    detector = detector_settings(context.settings.evaluate, cell)
    source = _trunk_source(context, run, cell)
    backbone_id = _random_id(context) if source is None else _identity_of(source)
    voc = DetectionSet.at(context.settings)
    splits = [context.settings.evaluate.train_split, context.settings.evaluate.test_split]
    # Boxes of selective search need no entry: they follow from the images and the settings of the detector.
    data = [splits, context.settings.evaluate.train_images, proposal_files_identity(context.settings)]
    identity = settings_hash(backbone_id, voc.identity, data, detector, EVALUATION_VERSION)
    key = layout.evaluation(identity, "record.json")
    record = find(context.store, key, EvaluationRecord)
    if record is None:
        trunk, weights = _load_trunk(context, source, cell)
        record = _train_and_score(context, _Work(cell, detector, backbone_id, voc, identity, weights), trunk)
        commit(context.store, key, record)
        figures = {"mean_ap_11_point": record.mean_ap_11_point, "seconds": record.seconds}
        log_event("evaluation", evaluation=identity, **cell.model_dump(), **figures)
    remove_checkpoints(context.store, layout.evaluation(identity, "checkpoints"))
    for method, value in (("11-point", record.mean_ap_11_point), ("area", record.mean_ap_area)):
        if value is not None:
            context.metrics.set_mean_ap([*record.evaluation.metric_labels(), method], value)
    if context.settings.evaluate.classification and is_first_of_trunk(context.settings.evaluate, cell):
        # The trunk is loaded again, because training the detector has changed it.
        trunk, _ = _load_trunk(context, source, cell)
        keys = _classify_layers(context, Trunk(cell, backbone_id, trunk), voc)
        classified = ClassificationPointer(made_by=origin(context.settings, {}), keys=keys)
        point(context.store, layout.run_record(run, f"classify-{number}"), classified)
    # Last, because the report requires this pointer and takes a missing classification for one that is turned off.
    pointer = EvaluationPointer(made_by=origin(context.settings, {}), key=key)
    point(context.store, layout.run_record(run, f"evaluate-{number}"), pointer)
    return record


def detector_settings(settings: EvaluateSettings, cell: Evaluation) -> EvaluationSettings:
    """Return the detector's settings for one evaluation."""
    return settings.detector.model_copy(update={"freeze_through": cell.freeze_through, "seed": cell.seed})


class _Work(NamedTuple):
    """One evaluation: its cell of the settings, its inputs, and the identity that names its record."""

    cell: Evaluation
    detector: EvaluationSettings
    backbone_id: str
    voc: DetectionSet
    identity: str
    weights: MappedWeights | None


def _trunk_source(context: StepContext, run: str, cell: Evaluation) -> BackboneRecord | NamedWeights | None:
    """The weights that a cell's trunk starts from; None for random weights."""
    if cell.initialisation == RANDOM:
        return None
    if not cell.is_pretrained:
        return named_weights(cell.initialisation)
    # Another run's backbone needs no snapshot of this one.
    dataset = dataset_of(context.store, run).dataset if cell.initialisation == PRETRAINED else ""
    identity = backbone_of_cell(context.store, context.settings, dataset, cell)
    return need(context.store, layout.backbone(str(identity), "record.json"), BackboneRecord, "pretrain")


def _identity_of(source: BackboneRecord | NamedWeights) -> str:
    return source.backbone if isinstance(source, BackboneRecord) else source.identity


def _random_shape(context: StepContext) -> AlexNetShape:
    """The size of a random trunk: that of the pretrained one, so that the two compare."""
    return SHAPES.get(context.settings.pretrain.trunk, ALEXNET)


def _random_id(context: StepContext) -> str:
    shape = _random_shape(context)
    # the published size came first, and so has no name in the identities of stored evaluations
    return RANDOM if shape == ALEXNET else f"{RANDOM} {shape.kind}"


def _load_trunk(
    context: StepContext, source: BackboneRecord | NamedWeights | None, cell: Evaluation
) -> tuple[AlexNet, MappedWeights | None]:
    """The trunk, and for named weights how their file was mapped to its layers.

    Raises InvalidInput if it has another size than a random trunk of the same evaluation.
    """
    if source is None:
        return random_backbone(cell.seed, _random_shape(context)), None
    if isinstance(source, NamedWeights):
        trunk, weights = load_named(source, cell.seed, context.scratch)
    else:
        path = fetch_backbone(context.store, source, context.scratch / "backbone.safetensors")
        trunk, weights = load_backbone(path), None
    if trunk.shape != _random_shape(context):
        raise InvalidInput(
            f"{cell.initialisation}: its trunk is {trunk.shape.kind}, and pretrain.trunk is "
            f"{context.settings.pretrain.trunk}; figures of different sizes do not compare, so set pretrain.trunk to it"
        )
    return trunk, weights


def _train_and_score(context: StepContext, work: _Work, trunk: AlexNet) -> EvaluationRecord:
    """Train the detector, which changes `trunk`, score it, and return its record, which is not written yet."""
    began = time.monotonic()
    settings = context.settings.evaluate
    root = work.voc.fetch(context.scratch / "voc", worker_count(context.settings))
    train = first_by_hash(read_voc(root, settings.train_split), settings.train_images)
    test = read_voc(root, settings.test_split)
    warn_of_learnt_images(train, test)
    proposals = proposals_of(
        context.settings,
        context.store,
        context.scratch,
        [*train, *test],
        progress=context.progress,
        check_stop=context.check_stop,
    )
    # Sorted, because a class's position is its output unit, and sets of strings have another order in each process.
    classes = sorted({item.name for image in train for item in image.objects})
    name = f"evaluate {work.cell.trunk} f{work.cell.freeze_through} s{work.cell.seed}"
    prefix = layout.evaluation(work.identity, "checkpoints")
    # A folder for each evaluation, because `watchmove run` trains several detectors in one scratch folder.
    checkpoints = FolderSync(context.store, prefix, context.scratch / f"detector-{work.identity}")
    checkpoints.fetch()

    def on_progress(progress: DetectorProgress) -> None:
        context.metrics.set_training(name, progress.iteration, progress.loss)
        context.progress.update(name, progress.iteration, work.detector.iterations, f"loss {progress.loss:.3f}")

    def on_image(done: int) -> None:
        context.progress.update(f"{name}, test", done, len(test), "images")

    stored = with_event(checkpoints.store_new, "checkpoint", evaluation=work.identity)
    hooks = DetectorHooks(checkpoints.folder, on_progress, context.stop.is_set, stored)
    with checkpoints.naming_the_store():
        trained = train_detector(trunk, train, proposals, classes, work.detector, hooks)
    # If stopped here, the next call loads the last checkpoint, trains no more and only repeats the test.
    detections = detect_objects(trained.model, test, proposals, work.detector, on_image, context.stop.is_set)
    # Before the record, which commits them.
    _store_detections(context, work.identity, detections)
    scores = evaluate_detections(test, detections, iou_threshold=0.5)  # the criterion of PASCAL VOC
    # Stored only for a sample: all images of a split follow from the settings.
    train_image_ids = tuple(image.image_id for image in train) if settings.train_images else ()
    record = _record(context, work, scores, trained.curve, time.monotonic() - began)
    return record.model_copy(update={"train_image_ids": train_image_ids})


def _classify_layers(context: StepContext, trunk: Trunk, voc: DetectionSet) -> tuple[str, ...]:
    """Measure how well a trunk's layers classify images, and return the keys of the records."""
    settings = context.settings.evaluate
    root = voc.fetch(context.scratch / "voc", worker_count(context.settings))
    train = first_by_hash(read_voc(root, settings.train_split), settings.train_images)
    splits = [settings.train_split, settings.test_split, settings.train_images]
    identity = settings_hash(voc.identity, splits)
    return classify_layers(
        context.settings,
        context.store,
        context.scratch,
        trunk,
        ImageSet(identity, train, read_voc(root, settings.test_split)),
        progress=context.progress,
        check_stop=context.check_stop,
    )


def _store_detections(context: StepContext, identity: str, detections: Mapping[str, Sequence[Detection]]) -> None:
    """Store the detections as the VOC development kit's files, so that another scorer can check the figures."""
    folder = context.scratch / f"detections-{identity}"
    write_detections(folder, context.settings.evaluate.test_split, detections)
    for path in sorted(folder.iterdir()):
        context.store.upload(layout.evaluation(identity, path.name), path)


def _record(
    context: StepContext, work: _Work, scores: DetectionScores, curve: Sequence[tuple[int, float]], seconds: float
) -> EvaluationRecord:
    rows = {
        name: ClassRow(ap_11_point=score.ap_11_point, ap_area=score.ap_area, ground_truth=score.n_ground_truth)
        for name, score in scores.per_class.items()
    }
    return EvaluationRecord(
        made_by=origin(context.settings, {context.settings.voc: work.voc.identity, "backbone": work.backbone_id}),
        evaluation=work.cell,
        backbone=work.backbone_id,
        mean_ap_11_point=scores.mean_ap_11_point,
        mean_ap_area=scores.mean_ap_area,
        per_class=rows,
        preset=preset_in_words(context.settings.evaluate),
        weights=work.weights,
        loss=tuple(curve),
        seconds=round(seconds, 1),
        use=MachineUse(seconds=seconds, cores=usable_cores(), gpus=int(work.detector.device.startswith("cuda"))),
    )
