"""Image classification by linear SVMs on the features of each layer of a frozen trunk, one record for each layer."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from watchmove.pipeline.classification.classification import (
    ClassificationScores,
    Labels,
    classification_scores,
    image_labels,
)
from watchmove.pipeline.classification.features import write_features
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.voc.annotations import VocImage
from watchmove.service.records import layout
from watchmove.service.records.record import commit, find, origin
from watchmove.service.records.training import ClassificationRecord, ClassificationRow, Evaluation
from watchmove.service.runner.progress import ProgressReport
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.store import Store

CLASSIFICATION_VERSION = 2
"""Version of the code; it is increased when the same trunk and images would give other figures."""


class Trunk(NamedTuple):
    """A trunk to be measured, its evaluation, and the identity of its weights."""

    cell: Evaluation
    backbone_id: str
    network: AlexNet


class ImageSet(NamedTuple):
    """Annotated images for training and testing; `identity` changes when they do."""

    identity: str
    train: Sequence[VocImage]
    test: Sequence[VocImage]


def classify_layers(
    settings: Settings,
    store: Store,
    scratch: Path,
    trunk: Trunk,
    images: ImageSet,
    *,
    progress: ProgressReport,
    check_stop: Callable[[], None],
) -> tuple[str, ...]:
    """Measure the layers that have no record yet; return the keys of all records in the order of the layers.

    If only some layers are random, they are left out: their figures would not describe the file's weights.

    Raises:
        InvalidInput: an image cannot be read.
        Stopped: stopped by a signal; finished layers are committed.
        Unavailable: the store cannot be reached.
    """
    names = [name for name, _ in trunk.network.layers()]
    # In a trunk of initialisation `random` all layers are random; it is the baseline and is measured completely.
    measured = [name for name in names if name not in trunk.network.random_layers] or names
    # The seed counts because random layers are drawn from it; the classifiers themselves are not random.
    identity = settings_hash(trunk.backbone_id, trunk.cell.seed, images.identity, CLASSIFICATION_VERSION)
    keys = {name: layout.classification(identity, name) for name in measured}
    missing = [name for name in measured if find(store, keys[name], ClassificationRecord) is None]
    if missing:
        folder = scratch / "layer-features"
        folder.mkdir(exist_ok=True)
        try:
            _classify(
                settings, store, folder, trunk, images, {name: keys[name] for name in missing}, progress, check_stop
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(keys.values())


def _classify(
    settings: Settings,
    store: Store,
    folder: Path,
    trunk: Trunk,
    images: ImageSet,
    keys: dict[str, str],
    progress: ProgressReport,
    check_stop: Callable[[], None],
) -> None:
    """Commit a record for each layer in `keys`; the features are written to `folder`."""
    classes = sorted({item.name for image in images.train for item in image.objects})
    labels = image_labels(images.train, classes), image_labels(images.test, classes)
    device = torch.device(settings.evaluate.detector.device)
    name = f"classify {trunk.cell.trunk} s{trunk.cell.seed}"
    paths = [image.path for image in (*images.train, *images.test)]

    def after_images(done: int) -> None:
        check_stop()
        progress.update(name, done, len(paths), "features")

    files = write_features(trunk.network.to(device), list(keys), paths, folder, after_images)
    for layer, key in keys.items():
        check_stop()
        scores, seconds = _scored(files[layer], device, labels, classes)
        commit(store, key, _record(settings, trunk, images.identity, layer, scores, seconds))
        # The features of all layers are large; removing each early frees the scratch disk for other steps.
        files[layer].unlink()
        progress.update(name, len(paths), len(paths), layer)


def _scored(
    features: Path, device: torch.device, labels: tuple[Labels, Labels], classes: Sequence[str]
) -> tuple[ClassificationScores, float]:
    """Scores of a layer, and the seconds they took. The file of features holds those of training images first."""
    began = time.monotonic()
    every = torch.from_numpy(np.load(features)).to(device)
    count = len(labels[0])
    scores = classification_scores(every[:count], labels[0], every[count:], labels[1], classes)
    return scores, time.monotonic() - began


def _record(
    settings: Settings, trunk: Trunk, images: str, layer: str, scores: ClassificationScores, seconds: float
) -> ClassificationRecord:
    return ClassificationRecord(
        made_by=origin(settings, {settings.voc: images, "backbone": trunk.backbone_id}),
        initialisation=trunk.cell.initialisation,
        seed=trunk.cell.trunk_seed,
        layer=layer,
        backbone=trunk.backbone_id,
        mean_ap_11_point=scores.mean_ap_11_point,
        mean_ap_area=scores.mean_ap_area,
        per_class={name: ClassificationRow(**dataclasses.asdict(score)) for name, score in scores.per_class.items()},
        seconds=round(seconds, 1),
    )
