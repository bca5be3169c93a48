"""The states of a run's steps, and how far its pretrainings are, read from records and stored checkpoints alone."""

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from watchmove.service.records import layout
from watchmove.service.records.attempts import AttemptTable
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import AnyRecord, StepFailure
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import EvaluationPointer, PretrainPointer, backbone_id_of
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store
from watchmove.service.watching.exporting.reading import Reading, RunFigures
from watchmove.service.watching.exporting.run_states import State, step_states


class TrainingProgress(BaseModel):
    """The number of steps of a pretraining that the store has, of how many; `seed` is that of its settings.

    A killed training continues from there. The training itself is further on.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    steps_stored: int
    steps: int


class _Checkpoint(BaseModel):
    iteration: NonNegativeInt


def steps_of(store: Store, run: str, plan: PlanRecord, table: AttemptTable) -> dict[str, State]:
    """The states of a run's steps after its plan, as the exporter has them; `table` has the attempts of its recipe.

    Raises:
        InvalidInput: a record of the run is damaged.
        Unavailable: the store cannot be reached.
    """
    prefix = layout.run_records(run)
    keys = [item.key for item in store.list(prefix)]

    def of(name: str, kind: type[AnyRecord]) -> dict[str, AnyRecord]:
        named = (key for key in keys if key.startswith(f"{prefix}{name}") and key.endswith(".json"))
        return dict(read_ahead(store, named, kind))

    reading = Reading(
        tables={plan.recipe: table},
        gathered=of("gather.", GatherRecord),
        pretrained=of("pretrain.", PretrainPointer),
        evaluated=of("evaluate-", EvaluationPointer),
        results=of("result.", RunFigures),
        failures=of("failure-", StepFailure),
        reports=frozenset(keys),
    )
    return step_states(reading, run, plan)


def trainings_of(store: Store, gathered: GatherRecord | None, settings: Settings) -> tuple[TrainingProgress, ...]:
    """The pretrainings of a run, with the settings of its plan, of which the store has a checkpoint or the backbone.

    There is none before the run has gathered, nor where it ends without training. A damaged checkpoint is passed over,
    as training does. Raises Unavailable if the store cannot be reached.
    """
    if gathered is None or gathered.no_training:
        return ()
    steps, found = settings.pretrain.iterations, []
    for seed in settings.pretrain.all_seeds():
        identity = backbone_id_of(settings, gathered.dataset, seed)
        is_done = store.head(layout.backbone(identity, "record.json")) is not None
        stored = steps if is_done else _newest(store, layout.backbone(identity, "checkpoints"))
        if stored is not None:
            found.append(TrainingProgress(seed=seed, steps_stored=min(stored, steps), steps=steps))
    return tuple(found)


def _newest(store: Store, folder: str) -> int | None:
    """The number of steps done in the newest checkpoint in a folder; None if there is none."""
    known = []
    for item in store.list(f"{folder}/"):
        if item.key.endswith(".json"):
            try:
                known.append(_Checkpoint.model_validate_json(store.read(item.key) or b"").iteration)
            except ValidationError:
                continue
    return max(known, default=None)
