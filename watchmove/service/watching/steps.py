"""The states of a run's steps, and how far its trainings are, read from records and stored checkpoints alone."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from watchmove.service.records import layout
from watchmove.service.records.attempts import AttemptTable
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import FINITE, AnyRecord, StepFailure, UnixSeconds
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import EvaluationPointer, EvaluationRecord, PretrainPointer, backbone_id_of
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store
from watchmove.service.watching.exporting.reading import Reading, RunFigures
from watchmove.service.watching.exporting.run_states import State, evaluations_in, failures_of, step_states


class TrainingProgress(BaseModel):
    """The number of steps of a pretraining that the store has, of how many; `seed` is that of its settings.

    A killed training continues from there. The training itself is further on. Its expected end goes by the pace between
    its two newest checkpoints, and is None without two; interruptions between them count.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    steps_stored: int
    steps: int
    end_unix_seconds: float | None = None


class EvaluationProgress(BaseModel):
    """The number of a run's evaluations that are done, of how many, and when the last is expected to end.

    The expected end goes by the mean duration of those that are done, and by how many of them ran at once on average.
    """

    model_config = ConfigDict(frozen=True)

    done: int
    evaluations: int
    end_unix_seconds: float


class Steps(NamedTuple):
    """How far the steps of a run are.

    `steps` has the state of each step after the plan, as the metric `watchmove_run_step_state` has it; `pretrain` has
    also begun once the store has a checkpoint of it. `failures` has the messages of the steps that have failed, by step
    and number of shard or evaluation. `pretrainings` says how far those are that have begun, until all
    are done, and `evaluations` how far those are, from the first that is done to the last.
    """

    steps: dict[str, State]
    failures: dict[str, str]
    pretrainings: tuple[TrainingProgress, ...]
    evaluations: EvaluationProgress | None


class _Checkpoint(BaseModel):
    model_config = FINITE

    iteration: NonNegativeInt
    written_at_unix_seconds: UnixSeconds = 0.0


def steps_of(
    store: Store, run: str, plan: PlanRecord, table: AttemptTable, gathered: GatherRecord | None, settings: Settings
) -> Steps:
    """How far a run's steps are; `table` has the attempts of its recipe, and `settings` are those of its plan.

    Raises:
        InvalidInput: a record of the run is damaged.
        Unavailable: the store cannot be reached.
    """
    reading = _reading(store, run, plan, table)
    states = step_states(reading, run, plan)
    failures = {failure.name: failure.message for failure in failures_of(reading, run)}
    trainings = () if states["pretrain"] == "done" else _trainings(store, gathered, settings)
    if trainings and states["pretrain"] == "waiting":
        states["pretrain"] = "begun"
    return Steps(states, failures, trainings, _evaluations(store, run) if states["evaluate"] == "begun" else None)


def failure_of(store: Store, run: str) -> StepFailure | None:
    """The first failure of a run's steps that a step has not made up for since; None if there is none."""
    keys = [item.key for item in store.list(layout.failure(run, "").removesuffix(".json"))]
    failures = [failure for _, failure in read_ahead(store, filter(layout.is_record, keys), StepFailure)]
    return min(failures, key=lambda failure: failure.made_by.written_at_unix_seconds, default=None)


def _reading(store: Store, run: str, plan: PlanRecord, table: AttemptTable) -> Reading:
    """What the exporter would read of one run."""
    prefix = layout.run_records(run)
    keys = [item.key for item in store.list(prefix)]

    def of(name: str, kind: type[AnyRecord]) -> dict[str, AnyRecord]:
        named = (key for key in keys if key.startswith(f"{prefix}{name}") and key.endswith(".json"))
        return dict(read_ahead(store, named, kind))

    return Reading(
        tables={plan.recipe: table},
        gathered=of("gather.", GatherRecord),
        pretrained=of("pretrain.", PretrainPointer),
        evaluated=of("evaluate-", EvaluationPointer),
        results=of("result.", RunFigures),
        failures=of("failure-", StepFailure),
        reports=frozenset(keys),
    )


def _trainings(store: Store, gathered: GatherRecord | None, settings: Settings) -> tuple[TrainingProgress, ...]:
    """The pretrainings of a run of which the store has a checkpoint or the backbone.

    There is none before the run has gathered, nor where it ends without training. A damaged checkpoint is passed over,
    as training does.
    """
    if gathered is None or gathered.no_training:
        return ()
    steps, found = settings.pretrain.iterations, []
    for seed in settings.pretrain.all_seeds():
        identity = backbone_id_of(settings, gathered.dataset, seed)
        if store.head(layout.backbone(identity, "record.json")) is not None:
            found.append(TrainingProgress(seed=seed, steps_stored=steps, steps=steps))
        elif checkpoints := _checkpoints(store, layout.backbone(identity, "checkpoints")):
            stored, end = min(checkpoints[0].iteration, steps), _end(checkpoints, steps)
            found.append(TrainingProgress(seed=seed, steps_stored=stored, steps=steps, end_unix_seconds=end))
    return tuple(found)


def _evaluations(store: Store, run: str) -> EvaluationProgress | None:
    """How far the evaluations of a run are; None if none is done, or the records do not say how many there are."""
    keys = [item.key for item in store.list(layout.run_record(run, "evaluate-").removesuffix(".json"))]
    pointers = [pointer for _, pointer in read_ahead(store, filter(layout.is_record, keys), EvaluationPointer)]
    count = evaluations_in(pointers, run) if pointers else None
    records = [record for _, record in read_ahead(store, {one.key for one in pointers}, EvaluationRecord)]
    if count is None or not records:
        return None
    ends = [record.made_by.written_at_unix_seconds for record in records]
    worked = sum(record.seconds for record in records)
    span = max(ends) - min(end - record.seconds for end, record in zip(ends, records, strict=True))
    # An evaluation of another run, which this one takes over, may have ended long before: at least one runs at a time.
    at_once = max(1.0, worked / span if span > 0 else 1.0)
    left = max(count - len(pointers), 0) * worked / len(records) / at_once
    return EvaluationProgress(done=len(pointers), evaluations=count, end_unix_seconds=max(ends) + left)


def _checkpoints(store: Store, folder: str) -> list[_Checkpoint]:
    """The checkpoints in a folder, the newest first."""
    known = []
    for item in store.list(f"{folder}/"):
        if item.key.endswith(".json"):
            try:
                known.append(_Checkpoint.model_validate_json(store.read(item.key) or b""))
            except ValidationError:
                continue
    return sorted(known, key=lambda one: one.iteration, reverse=True)


def _end(checkpoints: list[_Checkpoint], steps: int) -> float | None:
    """When a training of so many steps ends at the pace between its two newest checkpoints; None if it has no two."""
    newest, before, *_ = (*checkpoints, None, None)
    if newest is None or before is None or not before.written_at_unix_seconds:
        return None
    done, took = newest.iteration - before.iteration, newest.written_at_unix_seconds - before.written_at_unix_seconds
    if done <= 0 or took <= 0:
        return None
    return newest.written_at_unix_seconds + max(steps - newest.iteration, 0) * took / done
