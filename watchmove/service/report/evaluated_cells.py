"""The records of a run's evaluations and classifications, checked to be those that its settings list."""

from collections.abc import Iterator

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.record import find, need
from watchmove.service.records.training import (
    ClassificationPointer,
    ClassificationRecord,
    Evaluation,
    EvaluationPointer,
    EvaluationRecord,
    backbone_of_cell,
    evaluations_of,
    is_first_of_trunk,
)
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store


def evaluation_records(
    store: Store, run: str, settings: Settings, dataset: str
) -> Iterator[tuple[str, EvaluationRecord]]:
    """The key and record of each evaluation that the settings list; `dataset` is the run's snapshot.

    Raises InvalidInput if one is missing, or was made with other settings or another backbone than its cell names.
    """
    for number, cell in enumerate(evaluations_of(settings)):
        pointer = need(store, layout.run_record(run, f"evaluate-{number}"), EvaluationPointer, "evaluate")
        record = need(store, pointer.key, EvaluationRecord, "evaluate")
        # A run's name may be used again with other settings; its pointers then name the earlier evaluations.
        if not _is_of_cell(record, cell, backbone_of_cell(store, settings, dataset, cell)):
            raise InvalidInput(
                f"run {run}: evaluation {number} was made with other settings or weights; run evaluate again"
            )
        # An equal evaluation may have been made first for a run that calls the same backbone by another name.
        yield pointer.key, record.model_copy(update={"evaluation": cell})


def _is_of_cell(record: EvaluationRecord, cell: Evaluation, backbone: str | None) -> bool:
    if backbone is None:
        return record.evaluation == cell
    made = record.evaluation
    return (record.backbone, made.freeze_through, made.seed) == (backbone, cell.freeze_through, cell.seed)


def classification_records(store: Store, run: str, settings: Settings, dataset: str) -> Iterator[ClassificationRecord]:
    """The classification record of each layer of each trunk; none if `evaluate.classification` is off.

    The seed of a pretrained trunk is that of its pretraining.
    """
    for number, cell in enumerate(evaluations_of(settings)):
        if not settings.evaluate.classification or not is_first_of_trunk(settings.evaluate, cell):
            continue
        # A run that was evaluated before classification was turned on has no pointer.
        pointer = find(store, layout.run_record(run, f"classify-{number}"), ClassificationPointer)
        for key in pointer.keys if pointer else ():
            record = need(store, key, ClassificationRecord, "evaluate")
            # With changed settings, the pointer of the same number may be that of another trunk.
            backbone = backbone_of_cell(store, settings, dataset, cell)
            if backbone is not None and record.backbone == backbone:
                names = {"initialisation": cell.initialisation, "seed": cell.pretraining_seed}
                yield record.model_copy(update=names)
            elif backbone is None and (record.initialisation, record.seed) == (cell.initialisation, cell.seed):
                yield record
