"""The states of a run's steps, read from its records alone."""

from watchmove.service.records import layout
from watchmove.service.records.attempts import AttemptTable
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import AnyRecord, StepFailure
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import EvaluationPointer, PretrainPointer
from watchmove.service.store.store import Store
from watchmove.service.watching.exporting.reading import Reading, RunFigures
from watchmove.service.watching.exporting.run_states import State, step_states


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
