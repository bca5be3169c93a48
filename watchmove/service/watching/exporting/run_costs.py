"""Core-hours, GPU-hours and estimated costs of the newest runs, as far as records have them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from prometheus_client.core import Metric

from watchmove.service.records import layout
from watchmove.service.records.attempts import AttemptTable
from watchmove.service.records.outcomes import MachineUse
from watchmove.service.records.plans import PlanRecord
from watchmove.service.runner import metrics
from watchmove.service.settings.settings import WorkSettings
from watchmove.service.watching.exporting.reading import Reading, newest_plans, run_of


class Hours(NamedTuple):
    """Hours of cores and of GPUs."""

    core: float = 0.0
    gpu: float = 0.0


def cost_metrics(reading: Reading, prices: WorkSettings) -> Iterator[Metric]:
    """The metrics of hours, and of costs where each kind of hours that was used has a price."""
    core, gpu, cost = (d.family() for d in (metrics.RUN_CORE_HOURS, metrics.RUN_GPU_HOURS, metrics.RUN_COST))
    trained, evaluated = _backbones(reading), _evaluations(reading)
    for run, plan in newest_plans(reading).items():
        table = reading.tables.get(plan.recipe)
        steps = {
            "extract": None if table is None else _extraction(table, plan),
            "pretrain": _sum(trained.get(run, ())),
            "evaluate": _sum(evaluated.get(run, ())),
        }
        for step, hours in steps.items():
            if hours is None:
                continue
            core.add_metric([run, step], hours.core)
            gpu.add_metric([run, step], hours.gpu)
            priced = (not hours.core or prices.price_per_core_hour) and (not hours.gpu or prices.price_per_gpu_hour)
            if priced and any(hours):
                price = hours.core * prices.price_per_core_hour + hours.gpu * prices.price_per_gpu_hour
                cost.add_metric([run, step], price)
    yield from (core, gpu, cost)


def _extraction(table: AttemptTable, plan: PlanRecord) -> Hours:
    """The hours of the workers, each of which uses one core, and of the process that holds a GPU, if one does."""
    seconds = float(table.seconds[table.of_plan(plan.plan)].sum(dtype=np.float64))
    has_gpu = plan.made_by.settings.get("extract", {}).get("device") == "cuda"
    uses = (part.device for part in table.parts if part.plan == plan.plan) if has_gpu else ()
    return Hours(seconds / 3600, sum(use.busy_seconds + use.waiting_seconds for use in uses) / 3600)


def _sum(uses: Iterable[MachineUse | None]) -> Hours | None:
    """The hours of all; None if there is none, or if the record of one, of an earlier version, does not have them."""
    known = tuple(uses)
    if not known or None in known:
        return None
    return Hours(sum(use.core_hours for use in known if use), sum(use.gpu_hours for use in known if use))


def _backbones(reading: Reading) -> dict[str, list[MachineUse | None]]:
    """The use of each run's trainings."""
    named = {
        (run_of(key), layout.backbone(backbone, "record.json")): pointer.made_by.written_at_unix_seconds
        for key, pointer in reading.pretrained.items()
        for backbone in pointer.backbones.values()
    }
    return _by_first(named, {key: record.use for key, record in reading.backbones.items()})


def _evaluations(reading: Reading) -> dict[str, list[MachineUse | None]]:
    """The use of each run's evaluations."""
    named = {
        (run_of(key), pointer.key): pointer.made_by.written_at_unix_seconds
        for key, pointer in reading.evaluated.items()
    }
    return _by_first(named, {key: record.use for key, record in reading.evaluations.items()})


def _by_first(
    named: Mapping[tuple[str, str], float], uses: Mapping[str, MachineUse | None]
) -> dict[str, list[MachineUse | None]]:
    """The uses by run, each counted for the run that named its record first: later ones have reused the work."""
    first: dict[str, str] = {}
    for (run, key), _ in sorted(named.items(), key=lambda row: row[1]):
        first.setdefault(key, run)
    by_run: dict[str, list[MachineUse | None]] = {}
    for key, run in first.items():
        if key in uses:
            by_run.setdefault(run, []).append(uses[key])
    return by_run
