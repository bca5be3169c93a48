"""Export of a run's backbone: weights that other programs can load, and a model card that describes them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing, write_bytes
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.networks.alexnet import CHANNEL_MEAN, CHANNEL_STD, load_backbone, save_backbone
from watchmove.pipeline.networks.alexnet_shape import ALEXNET, SHAPES
from watchmove.pipeline.networks.choice import input_pixels_of
from watchmove.pipeline.networks.resnet import load_resnet, resnet_lines, save_resnet
from watchmove.pipeline.networks.torchvision_layout import loading_lines, save_in_torchvision_layout
from watchmove.pipeline.pretraining.mask_network_file import MASK_NETWORK_NAME
from watchmove.service.records import layout
from watchmove.service.records.datasets import dataset_of
from watchmove.service.records.record import find, need
from watchmove.service.records.run_settings import settings_of_run
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import (
    BackboneRecord,
    EvaluationPointer,
    EvaluationRecord,
    PretrainPointer,
    backbone_id_of,
)
from watchmove.service.report.images import curve_png
from watchmove.service.runner.events import log_step
from watchmove.service.store.store import Store
from watchmove.service.training.backbone_files import fetch_backbone, fetch_mask_network

WEIGHTS, TORCHVISION_WEIGHTS, CARD = "backbone.safetensors", "backbone.torchvision.safetensors", "README.md"
CURVE = "curve.png"


@log_step
def export(
    store: Store,
    scratch: Path,
    run: str,
    out: Path,
    seed: int | None = None,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Path:
    """Write the weights, the training curve and, last, the model card into `out`; return the card's path.

    The files of an earlier export are removed first: its card would describe other weights until the new one is there.
    `seed` is that of the backbone's pretraining; None: the first of the run's settings. `on_progress` is called with
    the number of files that are written, that of all, and what is written next.

    Raises:
        InvalidInput: the run has no backbone of this seed, or its weights differ from its record.
        Unavailable: the store cannot be read or the disk cannot be written.
    """
    dataset = dataset_of(store, run)
    backbones = _backbones(store, run, dataset.dataset)
    if seed is not None and seed not in backbones:
        named = ", ".join(map(str, backbones))
        raise InvalidInput(f"seed {seed} is not among those of pretraining ({named}); name one of them")
    chosen = next(iter(backbones)) if seed is None else seed
    record = need(store, layout.backbone(backbones[chosen], "record.json"), BackboneRecord, "pretrain")
    pretrain_settings = _settings_of(record)
    # Records that were written before there was a choice of trunks do not name one.
    trunk = str(pretrain_settings.get("trunk", ALEXNET.kind))
    count = (2 if trunk in SHAPES else 1) + bool(record.mask_network_key) + len((CURVE, CARD))
    on_progress(0, count, "weights")
    written = _write_weights(store, scratch, record, trunk, out)
    if record.mask_network_key:
        on_progress(len(written), count, "mask network")
        written += _write_mask_network(store, scratch, record, out)
    on_progress(len(written), count, "model card")
    page = _template().render(
        run=run,
        record=record,
        dataset=dataset,
        settings=pretrain_settings,
        trunk=trunk,
        alexnet=SHAPES.get(trunk),
        evaluations=list(_evaluations(store, run, record)),
        has_learnt_from_forgotten=store.head(layout.learnt_backbone(record.backbone)) is not None,
        files={name: file_sha256(out / name) for name in written},
        loading_lines=loading_lines(SHAPES[trunk]) if trunk in SHAPES else resnet_lines(trunk),
        mean=CHANNEL_MEAN,
        std=CHANNEL_STD,
        pixels=input_pixels_of(trunk),
    )
    write_bytes(out / CURVE, curve_png(record.curve, record.score_name))
    write_bytes(out / CARD, page.encode())
    on_progress(count, count, "files")
    return out / CARD


def _backbones(store: Store, run: str, dataset: str) -> dict[int, str]:
    """The ids of a run's backbones by the seed of their pretraining, in the order of the settings."""
    pointer = find(store, layout.run_record(run, "pretrain"), PretrainPointer)
    if pointer is not None:
        return pointer.backbones
    # Runs that were pretrained before there were such pointers.
    settings = settings_of_run(store, run)
    return {seed: backbone_id_of(settings, dataset, seed) for seed in settings.pretrain.all_seeds()}


def _settings_of(record: BackboneRecord) -> dict[str, Any]:
    """The settings of this backbone's training: those of the step, with its own seed in place of all seeds."""
    settings = dict(record.made_by.settings.get("pretrain", {}))
    return settings | {"seed": record.seed} if settings.pop("seeds", ()) else settings


def _write_weights(store: Store, scratch: Path, record: BackboneRecord, kind: str, out: Path) -> list[str]:
    """Write the weights after checking their SHA-256; return the names of the files, two for an AlexNet."""
    fetched = fetch_backbone(store, record, scratch / WEIGHTS)
    # Loaded and saved again instead of copied, so that the exported files name their backbone and dataset.
    metadata = {"format": "pt", "backbone": record.backbone, "dataset": record.dataset}
    if kind not in SHAPES:
        resnet = load_resnet(fetched, kind)
        _remove_earlier(out)
        save_resnet(resnet, out / WEIGHTS, metadata)
        return [WEIGHTS]
    trunk = load_backbone(fetched)
    _remove_earlier(out)
    save_backbone(trunk, out / WEIGHTS, metadata)
    save_in_torchvision_layout(trunk, out / TORCHVISION_WEIGHTS, metadata)
    return [WEIGHTS, TORCHVISION_WEIGHTS]


def _remove_earlier(out: Path) -> None:
    """Remove the files of an earlier export, the card first. Weights that cannot be loaded do not cost them."""
    for name in (CARD, CURVE, WEIGHTS, TORCHVISION_WEIGHTS, MASK_NETWORK_NAME):
        with suppress(FileNotFoundError, NotADirectoryError):  # writing refuses a folder that is a file
            (out / name).unlink()


def _write_mask_network(store: Store, scratch: Path, record: BackboneRecord, out: Path) -> list[str]:
    """Copy the mask network, which the record must have; return the names of the files written."""
    fetched = fetch_mask_network(store, record, scratch / MASK_NETWORK_NAME)
    with replacing(out / MASK_NETWORK_NAME) as temporary:
        shutil.copyfile(fetched, temporary)
    return [MASK_NETWORK_NAME]


def _evaluations(store: Store, run: str, record: BackboneRecord) -> Iterator[EvaluationRecord]:
    """The evaluations of this backbone that the run has finished so far, in the order of their numbers."""
    prefix = layout.run_records(run) + "evaluate-"
    keys = sorted((item.key for item in store.list(prefix)), key=lambda key: (len(key), key))
    # Each once: a run may name its own backbone in two ways.
    evaluations = dict.fromkeys(pointer.key for _, pointer in read_ahead(store, keys, EvaluationPointer))
    for _, evaluation in read_ahead(store, evaluations, EvaluationRecord):
        if evaluation.backbone == record.backbone:
            yield evaluation


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("watchmove.service.report"),
        autoescape=False,  # noqa: S701 (the output is Markdown made from the project's own records)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2")
