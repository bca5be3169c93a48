"""Finds a video in the plans of all runs of a store, with the attempts at it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.explanation.answer import why
from watchmove.service.explanation.attempts import Attempt, Planned, attempts_at, counting, planned_by
from watchmove.service.explanation.listed_video import ListedVideo, NotListed, find_listed
from watchmove.service.explanation.unlisted import is_forgotten
from watchmove.service.records import layout
from watchmove.service.records.outcomes import FAILED, Video
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import need
from watchmove.service.records.run_settings import last_origin
from watchmove.service.records.stream import read_ahead
from watchmove.service.store.store import Store

_PLAN_OF_RUN = re.compile(r"runs/([^/]+)/plan\.json")


class RunOfVideo(NamedTuple):
    """A run that lists a video; `planned` and `attempts` are those of its recipe, and `counts` is one of them."""

    run: str
    plan: PlanRecord
    video: Video
    planned: tuple[Planned, ...]
    attempts: tuple[Attempt, ...]
    counts: Attempt | None

    @property
    def place(self) -> str:
        """The URI of the store of videos that the plan has listed."""
        return str(self.plan.made_by.settings.get("videos", ""))


class FoundVideo(NamedTuple):
    """A video in the run that the page tells of, and the other runs that list it, those planned last first."""

    shown: RunOfVideo
    others: tuple[RunOfVideo, ...]


def find_video(store: Store, scratch: Path, name: str, run: str = "") -> FoundVideo:
    """Find the video that `name` means: a key, a URI or an id, or the name of one of its frames.

    The page tells of `run` if it is given; else of the run planned last of those that have decoded the video, or have
    tried to, or list it, in this order. Another video of the same key in another place is not among the runs.

    Raises:
        InvalidInput: no run lists the video, which the message explains, it is forgotten, or a record is damaged.
        Unavailable: the store cannot be reached.
    """
    plans = dict(sorted(_plans(store), key=lambda pair: pair[1].made_by.written_at_unix_seconds, reverse=True))
    if run and run not in plans:
        last_origin(store, run)  # an unknown name is answered with those of the store's runs
        plans[run] = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    if not plans:
        raise InvalidInput(f"{store.uri}: no run of it has a plan; name the store of the run with --store")
    found, missing = _search(store, plans, name)
    places = {str(plan.made_by.settings.get("videos", "")) for plan in plans.values()}
    keys = tuple({key for listed in missing for key in listed.keys} | {one.video.key for one in found})
    if is_forgotten(store, places, keys):
        raise InvalidInput(f"video {name!r}: is forgotten, and nothing of it is shown; `watchmove forget` says more")
    candidates = [one for one in found if not run or one.run == run]
    if not candidates:
        raise InvalidInput(_unknown(store, scratch, run or next(iter(plans)), name, [one.run for one in found]))
    shown = max(candidates, key=_progress)  # of equal ones the first, which was planned last
    same = [one for one in found if (one.place, one.video.key) == (shown.place, shown.video.key)]
    return FoundVideo(shown, tuple(one for one in same if one.run != shown.run))


def _plans(store: Store) -> Iterator[tuple[str, PlanRecord]]:
    """The runs of a store that have a plan, with it."""
    names = {
        item.key: match[1] for item in store.list(layout.all_runs()) if (match := _PLAN_OF_RUN.fullmatch(item.key))
    }
    return ((names[key], plan) for key, plan in read_ahead(store, names, PlanRecord))


def _search(store: Store, plans: dict[str, PlanRecord], name: str) -> tuple[list[RunOfVideo], list[NotListed]]:
    """The runs that list a video, and what the listings of the others say; each listing is read once."""
    listings: dict[tuple[str, str], ListedVideo | NotListed] = {}
    tried: dict[tuple[str, str], tuple[tuple[Planned, ...], tuple[Attempt, ...]]] = {}
    found = []
    for run, plan in plans.items():
        place = plan.recipe, plan.plan
        if place not in listings:
            listings[place] = find_listed(store, plan.recipe, plan.plan, name)
        listed = listings[place]
        if isinstance(listed, NotListed):
            continue
        if place not in tried:
            planned = planned_by(store, plan.recipe, plan.plan, listed)
            tried[place] = tuple(planned), tuple(attempts_at(store, plan.recipe, planned, listed.video.id))
        planned_in, attempts = tried[place]
        found.append(RunOfVideo(run, plan, listed.video, planned_in, attempts, counting(list(attempts))))
    return found, [listed for listed in listings.values() if isinstance(listed, NotListed)]


def _progress(one: RunOfVideo) -> int:
    if one.counts is None:
        return 0
    return 1 if one.counts.row.outcome in FAILED else 2


def _unknown(store: Store, scratch: Path, run: str, name: str, elsewhere: list[str]) -> str:
    """Why no video is shown, in the words of `why`, which names similar ones; or that another run lists it."""
    if elsewhere:
        return f"run {run}: does not list {name!r}; leave out --run, or name one that does ({', '.join(elsewhere[:5])})"
    answer = why(store, scratch, run, name)  # raises InvalidInput with similar names if nothing is known of it
    return f"{name}: {answer.outcome}, {answer.reason}: {answer.detail}; there is nothing to show"
