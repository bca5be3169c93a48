"""Which runs of a store have ended, and which have not and were not made up for by a later one."""

from collections.abc import Mapping

from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Record


def ended_runs(gathered: Mapping[str, GatherRecord], results: Mapping[str, Record]) -> dict[str, float]:
    """The Unix times at which runs ended, by name: with a result, or without training after gather."""
    ended = {run: record.made_by.written_at_unix_seconds for run, record in gathered.items() if record.no_training}
    return ended | {run: record.made_by.written_at_unix_seconds for run, record in results.items()}


def unfinished_runs(
    plans: Mapping[str, PlanRecord], gathered: Mapping[str, GatherRecord], results: Mapping[str, Record]
) -> dict[str, float]:
    """The Unix times of the plans of runs that have not ended, without those that a later run has made up for.

    A run that was planned later and has ended makes up for an earlier one. If the earlier one has gathered enough new
    frames for a training, only a later one with a result does: one without training may have found few new frames
    because of the very backbone that the earlier run has trained and not evaluated.
    """
    planned_at = {run: plan.made_by.written_at_unix_seconds for run, plan in plans.items()}
    ended = ended_runs(gathered, results)
    last_ended = max((planned_at[run] for run in ended if run in planned_at), default=0.0)
    last_result = max((planned_at[run] for run in results if run in planned_at), default=0.0)
    return {
        run: at
        for run, at in planned_at.items()
        if run not in ended and at > (last_result if run in gathered else last_ended)
    }
