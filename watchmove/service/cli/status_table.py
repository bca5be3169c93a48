"""Runs, their status and videos, and a planned retry, printed for people or as JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from rich.console import Console
from rich.table import Table

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.text_lines import printable, visible
from watchmove.service.records.forgotten import FORGOTTEN
from watchmove.service.records.outcomes import VideoOutcome
from watchmove.service.records.plans import RetryRecord
from watchmove.service.records.record import END_OF_DATES
from watchmove.service.runner.narrow_tables import cell, print_table
from watchmove.service.watching.pace import Speed
from watchmove.service.watching.runs import RunSummary
from watchmove.service.watching.status import RunStatus

_FAILURES_SHOWN = 3
"""Most failures of steps that are printed. Set by hand; not tuned."""

_LAST_UNIX_SECONDS = END_OF_DATES - 1
"""The latest end that is printed: a list whose durations are in another unit gives ends that are later."""


def print_status(status: RunStatus, console: Console, *, as_json: bool) -> None:
    """Print the status as tables, or as JSON on standard output.

    Raises:
        InvalidInput: records are damaged or counts do not add up; it is raised after printing.
    """
    if as_json:
        print(status.model_dump_json(indent=1))
    else:
        for table in (_head(status), _outcomes(status), _frames(status)):
            print_table(console, table)
        console.print(_steps(status), highlight=False, markup=False)
        for line in _failures(status):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        for line in _trainings(status):
            console.print(line, highlight=False)
        console.print(_pace(status))
        if status.no_training:
            console.print(f"no training: {cell(status.no_training)}", soft_wrap=True, highlight=False)
    if status.faults:
        more = f" (and {len(status.faults) - 1} more)" if len(status.faults) > 1 else ""
        raise InvalidInput(f"run {status.run}: not all videos are accounted for: {status.faults[0]}{more}")


def print_runs(runs: Sequence[RunSummary], now: float, console: Console, *, as_json: bool) -> None:
    """Print the runs of a store, of which ages are at the time `now`, as a table or as a JSON list."""
    if as_json:
        print(json.dumps([run.model_dump() for run in runs], indent=1))
        return
    table = Table(title="runs", title_justify="left")
    # names are what the other commands take, so they are broken rather than cut
    table.add_column("run", overflow="fold")
    table.add_column("last record")
    table.add_column("made", overflow="fold")
    for run in runs:
        counts = ((run.videos_listed, "videos"), (run.frames_kept, "frames"))
        made = [", ".join(f"{count:,} {what}" for count, what in counts if count is not None)]
        made += [f"{cell(name)} {figure:.3f}" for name, figure in run.mean_ap.items()]
        when = f"{run.state}, {_age(now - run.last_record_unix_seconds)} ago"
        table.add_row(cell(run.run), when, "\n".join(filter(None, made)))
    table.caption = "figures: 11-point mAP without frozen layers, mean over seeds"
    console.print(table)


def print_video(video: VideoOutcome, *, as_json: bool) -> None:
    """Print how a video ended as a line of fields separated by tabs, or its record as a line of JSON.

    Its name is printed as other commands take it: with codes in place of characters that cannot be seen.
    """
    if as_json:
        print(video.model_dump_json())
        return
    before = (video.outcome, printable(video.reason) or "-", str(video.frames_kept))
    print("\t".join((*before, visible(video.video.key), printable(video.detail))).rstrip())


def print_retry(run: str, record: RetryRecord) -> None:
    """Print what a retry planned, and the commands that continue."""
    if not record.shards:
        print(f"run {run}: nothing to retry, 0 shards")
        return
    print(f"run {run}: {record.videos_new} videos in {record.shards} shards")
    print(f"on a cluster: watchmove submit --parameter run={run}")
    print(f"on this machine: watchmove run --run {run}, with all other options of the run that failed")


def _head(status: RunStatus) -> Table:
    table = Table(title=f"run {status.run}", title_justify="left", show_header=False)
    for _ in range(2):
        table.add_column(justify="right")
    table.add_column()
    retry = ""
    if status.retries is not None:
        retry = f"retry of plan {cell(status.retries.plan)}: {cell(', '.join(status.retries.outcomes))}"
    elsewhere = status.videos_waiting_elsewhere
    rows = (
        ("videos listed", status.videos_listed, retry),
        ("ended before", status.videos_ended_before, "by other runs of the same recipe"),
        *([("waiting elsewhere", elsewhere, "planned by another run")] if elsewhere else []),
        ("planned", status.videos_planned, f"in {status.shards:,} shards"),
        ("ended", status.videos_ended, f"{status.shards_done:,} shards done"),
        ("waiting", status.videos_waiting, f"{status.shards_open:,} shards open"),
        ("new versions", status.videos_changed, "an earlier version was extracted before"),
        ("no longer listed", status.videos_removed, "ended before, left out of the dataset"),
        *((f"left out: {cell(reason)}", count, _by(reason)) for reason, count in status.videos_filtered.items()),
        ("malformed rows", status.rows_malformed, "of the list of videos"),
    )
    for name, count, note in rows:
        table.add_row(name, f"{count:,}", note)
    return table


def _outcomes(status: RunStatus) -> Table:
    table = Table(title="outcomes of the listed videos", title_justify="left")
    table.add_column("outcome")
    table.add_column("reason")
    table.add_column("videos", justify="right")
    table.add_column("attempts of this run", justify="right")
    for row in status.outcomes:
        table.add_row(row.outcome, cell(row.reason), f"{row.videos:,}", f"{row.attempts:,}")
    table.add_row("none yet", "", f"{status.videos_without_outcome:,}", "")
    numbers = sorted(status.attempts_per_video.items())
    table.caption = ", ".join(f"{count:,} {_tried(attempts)}" for attempts, count in numbers)
    return table


def _by(reason: str) -> str:
    """Who has left videos out."""
    return "by `watchmove forget`" if reason == FORGOTTEN else "by the settings"


def _tried(attempts: int) -> str:
    return {0: "not tried yet", 1: "tried once"}.get(attempts, f"tried {attempts} times")


def _frames(status: RunStatus) -> Table:
    table = Table(title="sampled frames", title_justify="left")
    table.add_column("outcome")
    table.add_column("reason")
    table.add_column("frames", justify="right")
    for row in status.frames:
        table.add_row(row.outcome, cell(row.reason), f"{row.frames:,}")
    table.caption = f"{status.frames_seen:,} frames in videos"
    return table


def _steps(status: RunStatus) -> str:
    """The steps after the plan with their states, those of one state together as long as they follow each other."""
    groups = groupby(status.steps.items(), key=lambda step: step[1])
    # a step may be in progress before its first record or checkpoint
    said = {"waiting": "not done yet", "left-out": "left out"}
    words = [f"{', '.join(name for name, _ in steps)} {said.get(state, state)}" for state, steps in groups]
    return f"steps: {'; '.join(words)}"


def _failures(status: RunStatus) -> Iterator[str]:
    """A line for each step that has failed, with its message; of many, the first ones."""
    for name, message in [*status.failures.items()][:_FAILURES_SHOWN]:
        yield f"{name} failed{': ' if message else ''}{printable(message)}"
    if (more := len(status.failures) - _FAILURES_SHOWN) > 0:
        yield f"{more:,} more failed; --json has them all"


def _trainings(status: RunStatus) -> Iterator[str]:
    """A line for each pretraining that has begun, and one for the evaluations."""
    for training in status.pretrainings:
        stored = f"pretraining with seed {training.seed}: {training.steps_stored:,} of {training.steps:,} steps stored"
        yield stored + _expected_end(training.end_unix_seconds, status.asked_at_unix_seconds)
    if status.evaluations is not None:
        done = f"evaluations: {status.evaluations.done:,} of {status.evaluations.evaluations:,} done"
        yield done + _expected_end(status.evaluations.end_unix_seconds, status.asked_at_unix_seconds)


def _expected_end(end: float | None, now: float) -> str:
    """The expected end as the rest of a line; an end that has passed says that the work stands still, or is slower."""
    if end is None:
        return ""
    left = end - now
    return f", expected end {_when(end)}, " + (f"in {_span(left)}" if left >= 0 else f"{_span(-left)} ago: late")


def _pace(status: RunStatus) -> str:
    lines = []
    if status.last_commit_unix_seconds is not None:
        ago = status.asked_at_unix_seconds - status.last_commit_unix_seconds
        lines.append(f"last commit: {_when(status.last_commit_unix_seconds)}, {_span(ago)} ago")
    for name, speed in (("overall", status.overall), ("recently", status.recent)):
        if speed is not None:
            lines.append(f"{name}: {_speed(speed)}")
    if status.finish is not None:
        end = f"{_when(status.finish.at_unix_seconds)}, in {_span(status.finish.seconds_left)}"
        lines.append(f"expected end of extraction: {end}, estimated from {status.finish.rests_on}")
    elif status.videos_waiting:
        lines.append("expected end of extraction: unknown until the first videos are committed")
    return "\n".join(lines)


def _speed(speed: Speed) -> str:
    rates = f"{speed.videos_per_second:,.2f} videos/s, {speed.frames_per_second:,.1f} frames/s"
    return f"{rates} over {_span(speed.seconds)} ({speed.parts:,} commits)"


def _when(unix_seconds: float) -> str:
    return datetime.fromtimestamp(min(unix_seconds, _LAST_UNIX_SECONDS), UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(seconds: float) -> str:
    # The clock of a pod may be ahead of this machine's.
    return str(timedelta(seconds=round(min(max(seconds, 0.0), _LAST_UNIX_SECONDS))))


def _age(seconds: float) -> str:
    """An age in its largest unit: `3 d`, `5 h` or `12 min`."""
    for unit, length in (("d", 86400), ("h", 3600)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0.0) // 60:.0f} min"
