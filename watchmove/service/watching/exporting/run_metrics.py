"""Metrics of the newest runs: how far each is, and what it has found."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Record
from watchmove.service.report.comparison import PROTOCOL
from watchmove.service.runner import metrics
from watchmove.service.watching.exporting.reading import RUNS_SHOWN, Reading, RunFigures, by_run, newest_plans
from watchmove.service.watching.exporting.run_states import ended_videos, state_metrics

_CLOCK_ERROR_SECONDS = 3600.0
"""How far a record's time may be ahead of this machine's. Set by hand: clocks that a store accepts differ by less."""


def run_metrics(reading: Reading) -> Iterator[Metric]:
    """All metrics of runs."""
    yield _videos(reading)
    yield from state_metrics(reading)
    yield from _endings(reading)
    yield from _results(reading)


def _videos(reading: Reading) -> Metric:
    """The videos of the newest runs by outcome; those without one are `waiting`."""
    family = metrics.RUN_VIDEOS.family()
    for run, plan in newest_plans(reading).items():
        table = reading.tables.get(plan.recipe, Attempts().table())
        ended: Counter[str] = Counter()
        for (outcome, _), count in table.outcomes(table.of_plan(plan.plan)).items():
            ended[outcome] += count
        # A forged record may name a video twice, or one that was not planned.
        waiting = max(plan.videos_new - ended_videos(table, plan), 0)
        for outcome, count in (*ended.items(), ("waiting", waiting)):
            family.add_metric([run, outcome], count)
    return family


def _endings(reading: Reading) -> Iterator[Metric]:
    """Runs that have not ended, the last end of a run, and the newest record: what shows that nothing goes on."""
    declared = (metrics.UNFINISHED_RUN, metrics.RUN_ENDED_AT, metrics.LAST_RECORD_AT)
    unfinished, ended, last = (d.family() for d in declared)
    gathered, results = by_run(reading.gathered), by_run(reading.results)
    for run, planned_at in _unfinished_runs(newest_plans(reading), gathered, results).items():
        unfinished.add_metric([run], planned_at)
    latest = reading.at + _CLOCK_ERROR_SECONDS
    _add_newest(ended, _ended_runs(gathered, results).values(), latest)
    written = [record.made_by.written_at_unix_seconds for records in reading.records() for record in records.values()]
    written += [part.written_at_unix_seconds for table in reading.tables.values() for part in table.parts]
    _add_newest(last, written, latest)
    yield from (unfinished, ended, last)


def _add_newest(family: GaugeMetricFamily, times: Iterable[float], latest: float) -> None:
    """Add the newest of some Unix times. Those after `latest` are left out: by them, a run would go on for ever."""
    known = [at for at in times if at <= latest]
    if known:
        family.add_metric([], max(known))


def _ended_runs(gathered: Mapping[str, GatherRecord], results: Mapping[str, Record]) -> dict[str, float]:
    """The Unix times at which runs ended, by name: with a result, or without training after gather."""
    ended = {run: record.made_by.written_at_unix_seconds for run, record in gathered.items() if record.no_training}
    return ended | {run: record.made_by.written_at_unix_seconds for run, record in results.items()}


def _unfinished_runs(
    plans: Mapping[str, PlanRecord], gathered: Mapping[str, GatherRecord], results: Mapping[str, Record]
) -> dict[str, float]:
    """The Unix times of the plans of runs that have not ended, without those that a later run has made up for.

    A run that was planned later and has ended makes up for an earlier one. If the earlier one has gathered enough new
    frames for a training, only a later one with a result does: one without training may have found few new frames
    because of the very backbone that the earlier run has trained and not evaluated.
    """
    planned_at = {run: plan.made_by.written_at_unix_seconds for run, plan in plans.items()}
    ended = _ended_runs(gathered, results)
    last_ended = max((planned_at[run] for run in ended if run in planned_at), default=0.0)
    last_result = max((planned_at[run] for run in results if run in planned_at), default=0.0)
    return {
        run: at
        for run, at in planned_at.items()
        if run not in ended and at > (last_result if run in gathered else last_ended)
    }


def _results(reading: Reading) -> Iterator[Metric]:
    """The figures of the newest runs that have a result."""
    declared = (metrics.RUN_MAP, metrics.RUN_MAP_MARGIN, metrics.RUN_RESULT_AT, metrics.RUN_TRAINING_IOU)
    mean_ap, margin, written, iou = (d.family() for d in declared)
    results = sorted(by_run(reading.results).items(), key=lambda row: row[1].made_by.written_at_unix_seconds)
    for run, result in results[-RUNS_SHOWN:]:
        written.add_metric([run], result.made_by.written_at_unix_seconds)
        protocol = result.pretraining.decides.get(PROTOCOL, "") if result.pretraining else ""
        for row in result.rows:
            labels = [run, protocol, row.initialisation, str(row.freeze_through)]
            if row.ap_11_point is not None:
                mean_ap.add_metric(labels, row.ap_11_point.mean)
            if row.ap_11_point is not None and row.ap_11_point.high is not None:
                margin.add_metric(labels, row.ap_11_point.high - row.ap_11_point.mean)
        measured = _validation_ious(reading, result)
        if measured:
            iou.add_metric([run], sum(measured) / len(measured))
    yield from (mean_ap, margin, written, iou)


def _validation_ious(reading: Reading, result: RunFigures) -> list[float]:
    """The last IoU on held-out videos of each of a run's backbones."""
    names = result.pretraining.backbone.split() if result.pretraining else []
    backbones = (reading.backbones.get(layout.backbone(name, "record.json")) for name in names)
    curves = ([point.validation_iou for point in backbone.curve] for backbone in backbones if backbone is not None)
    return [curve[-1] for curve in curves if curve and curve[-1] is not None]
