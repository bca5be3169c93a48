"""Plans a retry: a run of those videos of an earlier run that failed with the given outcomes."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.extraction.recipe import recipe_of, with_local_weights
from watchmove.service.planning.planned import listed_videos
from watchmove.service.planning.sharding import divide_into_shards, expected_seconds
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable, Rows, number_of
from watchmove.service.records.listing import listed_ids
from watchmove.service.records.outcomes import FAILED, Outcome, Video
from watchmove.service.records.plans import PlanRecord, Retries, RetryRecord
from watchmove.service.records.record import commit, find, json_lines, need, origin
from watchmove.service.records.run_settings import contradictions, flat
from watchmove.service.records.stream import shard_records
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.store import Store


def outcomes_named(words: str) -> frozenset[Outcome]:
    """The outcomes that a list like `missing,timed-out` names.

    Raises:
        InvalidInput: an outcome is unknown, or is not a failure.
    """
    names = words_of(words)
    known = ", ".join(sorted(FAILED))
    for name in names:
        if name not in set(Outcome):
            raise InvalidInput(f"--outcomes {name}: no such outcome; a retry takes {known}")
        if Outcome(name) not in FAILED:
            raise InvalidInput(f"--outcomes {name}: these videos are done and are not repeated; a retry takes {known}")
    if not names:
        raise InvalidInput(f"--outcomes names none; a retry takes {known}")
    return frozenset(Outcome(name) for name in names)


def retry(
    settings: Settings, store: Store, scratch: Path, run: str, outcomes: str, reasons: str = "", as_run: str = ""
) -> tuple[str, RetryRecord]:
    """Plan failed videos of `run` as a new run; return its name and plan. A repeated call returns the same plan.

    A video that any attempt has finished is never planned. If no video is left, the plan has no shard.

    Raises:
        InvalidInput: an outcome or reason is unknown, the settings give other masks than the run's, or `as_run` has
            another plan already.
        Unavailable: the store cannot be reached.
    """
    wanted = outcomes_named(outcomes)
    parent = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    recipe = recipe_of(with_local_weights(settings, scratch))
    if recipe != parent.recipe:
        differing = contradictions(parent.made_by, flat(settings.model_dump(mode="json", include={"extract"})))
        facts = f" ({', '.join(differing)})" if differing else ""
        raise InvalidInput(
            f"run {run}: planned as recipe {parent.recipe}, but these settings give {recipe}{facts}; "
            "retry with the settings of the run, or start a new one"
        )
    retries = Retries(plan=parent.plan, outcomes=tuple(sorted(wanted)), reasons=tuple(sorted(words_of(reasons))))
    # before planning: once the retry has been extracted, planning again would choose other videos
    if as_run and (known := _own_plan(store, as_run, retries)):
        return as_run, known
    record = _planned(settings, store, scratch, parent, retries)
    while True:
        name = as_run or _free_name(store, run)
        # another process may take a free name first; the next free one is tried then
        if commit(store, layout.run_record(name, "plan"), record).new:
            return name, record
        if as_run and (known := _own_plan(store, as_run, retries)):
            return as_run, known


def words_of(text: str) -> frozenset[str]:
    """The words of an option that takes several, separated by commas."""
    return frozenset(word.strip() for word in text.split(",") if word.strip())


def _own_plan(store: Store, run: str, retries: Retries) -> RetryRecord | None:
    """The plan of a run if it is this retry, else None. Raises InvalidInput if the run has another plan."""
    known = find(store, layout.run_record(run, "plan"), RetryRecord)
    if known is not None and known.retries != retries:
        raise InvalidInput(f"run {run}: it has another plan already; give the retry a name of its own with --as")
    return known


def _free_name(store: Store, run: str) -> str:
    """The first of RUN-retry-1, RUN-retry-2, … that has no plan; a retry of a retry continues the count."""
    stem = re.sub(r"-retry-[0-9]+$", "", run)
    number = 1
    while store.head(layout.run_record(f"{stem}-retry-{number}", "plan")) is not None:
        number += 1
    return f"{stem}-retry-{number}"


def _planned(settings: Settings, store: Store, scratch: Path, parent: PlanRecord, retries: Retries) -> RetryRecord:
    """Write the shards and the listing of a retry; its record is not written yet."""
    attempts = Attempts()
    for key, shard in shard_records(store, parent.recipe):
        attempts.add(key, shard)
    table = attempts.table()
    # the records of a recipe are those of all its runs; a retry is of this run's videos only
    listed = table.counting & table.of(listed_ids(store, parent))
    rows = _chosen(table, listed, retries)
    shards = divide_into_shards(_videos(store, parent, table, rows), settings.plan)
    # The failed attempts are part of the identity: after a retry that failed too, the next retry is another plan.
    tried = sorted(zip(table.video[rows].tolist(), (table.parts[part].key for part in table.part[rows]), strict=True))
    plan = settings_hash(
        parent.recipe, retries.model_dump(), tried, [[video.id for video in shard] for shard in shards]
    )
    for index, videos in enumerate(shards):
        store.write(layout.shard_list(parent.recipe, plan, index), json_lines(videos))
    # the complete listing: the retry's snapshot is to hold the run's other frames too
    _copy(store, scratch, layout.listing(parent.recipe, parent.plan), layout.listing(parent.recipe, plan))
    work = sum(expected_seconds(video, settings.plan) for videos in shards for video in videos)
    new = {"plan": plan, "shards": len(shards), "videos_new": len(tried), "videos_changed": 0}
    made_by = origin(settings, {settings.videos: plan})
    return RetryRecord(
        **{**dict(parent), **new, "made_by": made_by, "expected_seconds": round(work, 1), "retries": retries}
    )


def _chosen(table: AttemptTable, listed: Rows, retries: Retries) -> Rows:
    """(N,) mask of the failed attempts to repeat.

    Raises:
        InvalidInput: no failed video has one of the reasons.
    """
    failed = listed & table.failed
    present = {reason for _, reason in table.outcomes(failed)}
    # A misspelt reason would otherwise silently plan nothing.
    for reason in retries.reasons:
        if reason not in present:
            known = ", ".join(sorted(present - {""})) or "none"
            raise InvalidInput(f"--reasons {reason}: no failed video of the run has this reason; those there: {known}")
    rows = failed & table.with_outcome(frozenset(Outcome(name) for name in retries.outcomes))
    return rows & table.with_reason(frozenset(retries.reasons)) if retries.reasons else rows


def _videos(store: Store, plan: PlanRecord, table: AttemptTable, rows: Rows) -> Sequence[Video]:
    """The listed videos of the attempts in `rows`, in the order of the listing."""
    wanted = set(np.unique(table.video[rows]).tolist())
    if not wanted:
        return ()
    where = layout.listing(plan.recipe, plan.plan)
    return [video for video in listed_videos(store, plan) if number_of(video.id, where) in wanted]


def _copy(store: Store, scratch: Path, key: str, to: str) -> None:
    path = store.local(key, scratch / "listing")
    if path is None:
        raise InvalidInput(f"{store.uri}/{key}: the plan names it, but it is gone; plan again")
    store.upload(to, path)
