"""All runs of a store: how far each is, when it last wrote a record, and what it made."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Record, StepFailure, find
from watchmove.service.records.stream import in_order
from watchmove.service.report.result import RunResult
from watchmove.service.store.store import Store

_STATES = {
    "plan": "planned",
    "gather": "gathered",
    "pretrain": "pretrained",
    "evaluate": "evaluated",
    "result": "ended",
}
"""The record of a step, in the order of a run, and the state that it brings a run to."""
_FAILURE = "failure"
"""How the record of a step that has failed begins."""
_NOT_TRAINED = "ended without training"
"""The state of a run that has gathered, and has too few new frames for a training."""


class RunSummary(BaseModel):
    """A run: its state, the time of its last record, and what it made as far as it is made.

    `state` is that of the last step with a record, one of several evaluations being enough, or that a step has failed
    since. `mean_ap` has the mean of the 11-point mAP over seeds by initialisation, of detectors without frozen layers.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    state: str
    last_record_unix_seconds: float
    videos_listed: int | None = None
    frames_kept: int | None = None
    mean_ap: dict[str, float] = {}


def runs_of(store: Store) -> Iterator[RunSummary]:
    """Yield the runs of a store in the order of their names.

    Raises:
        InvalidInput: a record is damaged.
        Unavailable: the store cannot be reached.
    """
    names: dict[str, set[str]] = {}
    for item in store.list(layout.all_runs()):
        _, run, *rest = item.key.split("/")
        step, _, suffix = "/".join(rest).partition(".")
        if suffix == "json" and step.partition("-")[0] in (*_STATES, _FAILURE):
            names.setdefault(run, set()).add(step)
    return in_order(lambda run: _summary(store, run, names[run]), sorted(names))


def _summary(store: Store, run: str, names: set[str]) -> RunSummary:
    order = [_FAILURE, *_STATES]
    # of several evaluations, the one of the highest number is the last
    newest = max(names, key=lambda name: (order.index(name.partition("-")[0]), len(name), name))
    record = find(store, layout.run_record(run, newest), Record)
    last = record.made_by.written_at_unix_seconds if record is not None else 0.0
    failed = [find(store, layout.run_record(run, name), StepFailure) for name in names if name.startswith(_FAILURE)]
    since = [one for one in failed if one is not None and one.made_by.written_at_unix_seconds >= last]
    plan = find(store, layout.run_record(run, "plan"), PlanRecord)
    gathered = find(store, layout.run_record(run, "gather"), GatherRecord)
    dataset = find(store, layout.dataset(gathered.dataset), DatasetRecord) if gathered else None
    result = find(store, layout.run_record(run, "result"), RunResult) if "result" in names else None
    rows = result.rows if result is not None else ()
    ends_here = newest == "gather" and gathered is not None and gathered.no_training
    state = _NOT_TRAINED if ends_here else _STATES.get(newest.partition("-")[0], "")
    return RunSummary(
        run=run,
        state=f"{max(since, key=_time).step} failed" if since else state,
        last_record_unix_seconds=max([last, *map(_time, since)]),
        videos_listed=plan.videos_listed if plan else None,
        frames_kept=dataset.kept_frames if dataset else None,
        mean_ap={
            row.initialisation: row.ap_11_point.mean for row in rows if row.ap_11_point and not row.freeze_through
        },
    )


def _time(record: Record) -> float:
    return record.made_by.written_at_unix_seconds
