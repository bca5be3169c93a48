"""Search the recipe of each initialisation of the claims on real videos, with the same tries for each objective.

    python tests/bench/recipes.py --store URI --voc DIR --out recipes.jsonl [--only masks ...]

`--store` is that of `watchmove claims` on real videos, of which the snapshots and proposals are used. Each try
pretrains with one setting changed, and trains a detector with each of two seeds on the split `train`; its figure is
their mean 11-point mAP on the second half of `val`. Class labels are those of the first half, so that no image is in
both. Masks have two tries more, of thresholds; tries of random weights change the detector. Those that are in the file
`--out` are not repeated.
"""

import argparse
import dataclasses
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.dataset.frame_table import Frame, FrameTable, frame_table
from watchmove.pipeline.detection.testing import detect_objects
from watchmove.pipeline.detection.training import DetectorHooks, train_detector
from watchmove.pipeline.networks.alexnet import AlexNet, load_backbone, random_backbone
from watchmove.pipeline.networks.alexnet_shape import SMALL_ALEXNET
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining import objectives
from watchmove.pipeline.pretraining.mask_network import LOGIT_WEIGHT_STD, MaskNetwork
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, pretrain_frames
from watchmove.pipeline.voc.annotations import VocImage, read_voc
from watchmove.pipeline.voc.average_precision import evaluate_detections
from watchmove.service.evaluation.proposal_cache import proposals_of
from watchmove.service.records.datasets import dataset_of
from watchmove.service.records.shard_index import read_index
from watchmove.service.runner.progress import LoggedProgress
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store
from watchmove.service.training.shard_cache import shard_bytes
from watchmove.service.training.snapshot_frames import snapshot_frames

SEEDS = (0, 1)
RATES = {
    "masks": ("learning_rate", 0.8),
    "rotation": ("rotation_learning_rate", 0.015),
    "colour": ("colour_learning_rate", 0.05),
    "labels": ("labels_learning_rate", 0.02),
}
"""The setting of each objective's highest learning rate, and its value in the preset."""
WITHOUT_BATCH_NORM = {"masks": 0.05, "rotation": 0.005, "colour": 0.01, "labels": 0.01}
"""The rates of rescaled trunks without batch normalisation, which need lower ones. Set by hand."""


class Try(NamedTuple):
    """One try: what is learnt ("random": nothing), its name, and overrides of the preset's settings."""

    what: str
    name: str
    overrides: tuple[str, ...] = ()
    conv_head: bool = False


def tries() -> Iterator[Try]:
    """The tries of each objective, then those of random weights."""
    for what, (rate, value) in RATES.items():
        # the preset's rate of masks is high already
        higher = 2.0 if what == "masks" else 2.5
        rescaled = ("batch_norm=false", "rescale_trunk=true", f"{rate}={WITHOUT_BATCH_NORM[what]}")
        changes: dict[str, tuple[str, ...]] = {
            "as in the preset": (),
            "learning rate / 2.5": (f"{rate}={value / 2.5}",),
            f"learning rate × {higher:g}": (f"{rate}={value * higher}",),
            "wide crops": ("object_fraction=0.4", "scale_octaves=1.0", "shift_fraction=0.2"),
            "no batch normalisation": rescaled,
            "1,400 steps": ("iterations=1400",),
            "32 frames in a step": ("batch_size=32",),
            "warm-up over a fifth of the steps": ("warmup_fraction=0.2",),
        }
        for name, changed in changes.items():
            yield Try(what, name, tuple(f"pretrain.{one}" for one in changed))
        yield Try(what, "8 images in a step of the detector", ("evaluate.detector.images_per_batch=8",))
    yield Try("masks", "head on conv5", conv_head=True)
    for foreground, background in ((0.5, 0.4999), (0.9, 0.1)):
        limits = (f"pretrain.foreground_threshold={foreground}", f"pretrain.background_threshold={background}")
        yield Try("masks", f"thresholds {foreground} and {background}", limits)
    yield Try("rotation", "colour jitter 0.4", ("pretrain.colour_jitter=0.4",))
    yield Try("colour", "dropout 0.5", ("pretrain.dropout=0.5",))
    yield Try("labels", "dropout 0.5", ("pretrain.dropout=0.5",))
    changes = {
        "as in the preset": (),
        "not rescaled": ("rescale_trunk=false",),
        "rescaled between layers": ("rescaling=between-layers",),
        "warm-up over 100 steps": ("warmup_iterations=100",),
        "8 images in a step": ("images_per_batch=8",),
        "no dropout": ("dropout=0",),
        "weight decay 0.005": ("weight_decay=0.005",),
    }
    for name, changed in changes.items():
        yield Try("random", name, tuple(f"evaluate.detector.{one}" for one in changed))


class ConvHead(MaskNetwork):
    """A mask network whose head is on conv5's 6 × 6 cells, so that fc6 and fc7 learn nothing."""

    def __init__(self, trunk: Trunk, generator: torch.Generator) -> None:
        super().__init__(trunk, generator)
        last = nn.Conv2d(128, 1, 1)
        nn.init.normal_(last.weight, std=LOGIT_WEIGHT_STD, generator=generator)
        self.mask = nn.Sequential(nn.Conv2d(SMALL_ALEXNET.channels[-1], 128, 3, padding=1), nn.ReLU(), last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 56, 56) of normalised images (N, 3, 115, 115)."""
        assert isinstance(self.trunk, AlexNet)
        cells = self.mask(self.trunk._convolutions(images, aligned=False))
        return functional.interpolate(cells, (56, 56), mode="bilinear", align_corners=False)[:, 0]


def do(one: Try, base: tuple[str, ...], voc: Path) -> dict[str, object]:
    """Do one try, and return its row."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    settings = load_settings(LAPTOP.with_name("claims-real.yaml"), [*base, *one.overrides])
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        heads = {"masks": dataclasses.replace(objectives._OBJECTIVES["masks"], network=ConvHead)}
        with patch.dict(objectives._OBJECTIVES, heads if one.conv_head else {}):
            trunk = None if one.what == "random" else pretrained(one, settings, voc, scratch)
        figures = [detected(trunk, seed, settings, voc, scratch) for seed in SEEDS]
    return {"what": one.what, "name": one.name, "figures": figures, "seconds": time.perf_counter() - began}


def pretrained(one: Try, settings: Settings, voc: Path, scratch: Path) -> Path:
    """Pretrain as a try says, and return the file of the trunk's weights."""
    store = open_store(settings.store)
    dataset = dataset_of(store, f"claims-real-{one.what}")
    pretraining = settings.pretrain.model_copy(update={"objective": one.what, "labels": dataset.labels})
    frames = snapshot_frames(store, dataset.shards)
    if one.what == "labels":
        first_half = {hashlib.sha256(image.image_id.encode()).hexdigest()[:16] for image in halves(voc)[0]}
        frames = only(first_half, settings)
    sizes = {shard.key: shard.size_bytes for shard in dataset.shards}
    source = shard_bytes(store, sizes, scratch / "pieces", 2**32)
    hooks = PretrainingHooks(scratch / "checkpoints", readers=1)
    return pretrain_frames(frames, source, pretraining.with_seed(0), hooks).backbone


def only(videos: set[str], settings: Settings) -> FrameTable:
    """The labelled objects of some images, which are the videos of their frames."""
    store = open_store(settings.store)

    def shards() -> Iterator[tuple[str, list[Frame]]]:
        for shard in dataset_of(store, "claims-real-labels").shards:
            places = (place for place in read_index(store, shard.index_key) if place.video in videos)
            yield shard.key, [Frame(p.key, p.offset, p.size_bytes, p.video, p.crc32) for p in places]

    return frame_table(shards())


def halves(voc: Path) -> tuple[list[VocImage], list[VocImage]]:
    """Both halves of `val`: for class labels, and for figures."""
    images = list(read_voc(voc, "val"))
    return images[: len(images) // 2], images[len(images) // 2 :]


def detected(trunk: Path | None, seed: int, settings: Settings, voc: Path, scratch: Path) -> float:
    """Train a detector with one seed on a trunk, or on a random one of that seed, and return its mAP."""
    train, (others, test) = list(read_voc(voc, "train")), halves(voc)
    store = open_store(settings.store)
    proposals = proposals_of(
        settings, store, scratch, [*train, *others, *test], progress=LoggedProgress(), check_stop=lambda: None
    )
    start = random_backbone(seed, SMALL_ALEXNET) if trunk is None else load_backbone(trunk)
    detector = settings.evaluate.detector.model_copy(update={"seed": seed})
    classes = sorted({one.name for image in train for one in image.objects})
    hooks = DetectorHooks(scratch / f"detector-{seed}")
    trained = train_detector(start, train, proposals, classes, detector, hooks)
    scores = evaluate_detections(test, detect_objects(trained.model, test, proposals, detector), iou_threshold=0.5)
    assert scores.mean_ap_11_point is not None
    return scores.mean_ap_11_point


def main() -> None:
    """Do the tries that are not in the file yet, and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", required=True)
    parser.add_argument("--voc", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[*RATES, "random"])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of all tries")
    given = parser.parse_args()
    base = (f"store={given.store}", f"voc=file://{given.voc.absolute()}", *given.overrides)
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    done = {(row["what"], row["name"]) for row in rows}
    missing = [one for one in tries() if one.what in given.only and (one.what, one.name) not in done]
    with given.out.open("a") as out:
        for one in missing:
            rows.append(do(one, base, given.voc))
            out.write(json.dumps(rows[-1]) + "\n")
            out.flush()
    table = Table("initialisation", "try", "mAP, mean of two seeds", "of each seed")
    for row in sorted(rows, key=lambda row: (row["what"], -statistics.mean(row["figures"]))):
        figures = row["figures"]
        each = ", ".join(f"{figure:.4f}" for figure in figures)
        table.add_row(row["what"], row["name"], f"{statistics.mean(figures):.4f}", each)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
