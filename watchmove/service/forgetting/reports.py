"""Takes the pictures and names of works out of the reports and failures of runs, and out of the pages of claims."""

import html
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.text_lines import from_visible
from watchmove.service.forgetting.target import Change, Target, edited, keys_of
from watchmove.service.records import layout
from watchmove.service.records.forgotten import Removal
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import StepFailure, find
from watchmove.service.report.run_page.page_files import pictures_of
from watchmove.service.store.store import Store

_PICTURE = r"<figure>(?:(?!</figure>).)*<figcaption>(?P<caption>.*?)</figcaption></figure>\n?"
_NAME = r"<li><span class=\"video\">(?P<name>.*?)</span>(?:(?!</li>).)*</li>\n?"
_CROP = r"<tr class=\"crop\"><th scope=\"row\"><span class=\"video\">(?P<crop>.*?)</span>(?:(?!</tr>).)*</tr>\n?"
_PLACE = re.compile(f"{_PICTURE}|{_NAME}|{_CROP}", re.DOTALL)
"""Where a page shows a frame, names a video that failed, or shows predictions for a crop of a video."""
_CAPTION = re.compile(r"(?P<key>.*)(?: at \d+\.\d s: |: IoU with the truth ).*", re.DOTALL)
"""What is written below a frame: the key of its video, then its time in a report, or its IoU in a page of claims."""
_PAGES = ("/report/index.html", "/report.html")
"""What the keys of the reports of runs end in: with pictures beside the page, and in one file."""


def report_changes(store: Store, target: Target) -> Iterator[Change]:
    """Yield the changes of reports and pages of claims: pictures and names of the works are removed; all else stays.

    Raises:
        InvalidInput: the record of a plan is damaged.
        Unavailable: the store cannot be reached.
    """
    for key in (key for key in keys_of(store, layout.all_runs()) if key.endswith(_PAGES)):
        plan = find(store, layout.run_record(key.split("/")[1], "plan"), PlanRecord)
        places = {plan.made_by.settings.get("videos", "")} if plan is not None else set(target.places)
        yield from _page_change(store, key, target, places)
    for key in keys_of(store, layout.all_claims(), "/claims.html"):
        yield from _page_change(store, key, target, set(target.places))


def failure_changes(store: Store, target: Target) -> Iterator[Change]:
    """Yield the changes of records of failed steps whose message names one of the works: it is removed.

    The messages are searched for names, which other records have until they are changed.

    Raises:
        InvalidInput: such a record is damaged.
        Unavailable: the store cannot be reached.
    """
    names = (*target.words, *target.videos)
    for key in keys_of(store, layout.all_runs(), ".json"):
        if key.rpartition("/")[2].startswith("failure-"):
            failure = find(store, key, StepFailure)
            if failure is not None and any(name in failure.message for name in names):
                removal = Removal(key=key, what="rewritten", entries=1)
                yield Change(partial(edited, store, key, _remove_message), removal)


def _remove_message(facts: dict[str, Any]) -> None:
    facts["message"] = ""


def _page_change(store: Store, key: str, target: Target, places: set[str]) -> Iterator[Change]:
    """Yield the change of a page, if it shows or names one of the works as a video of one of the places."""
    entries = sum(_is_of_a_work(found, target, places) for found in _PLACE.finditer(_page(store, key)))
    if entries:
        yield Change(
            partial(_remove_entries, store, key, target, places), Removal(key=key, what="rewritten", entries=entries)
        )


def _remove_entries(store: Store, key: str, target: Target, places: set[str]) -> None:
    def kept(found: re.Match[str]) -> str:
        return "" if _is_of_a_work(found, target, places) else found[0]

    page = _page(store, key)
    rest = _PLACE.sub(kept, page)
    # Pictures before the page, so that a call that goes on after a kill still finds which they are.
    for name in sorted(pictures_of(page) - pictures_of(rest)):
        store.remove(f"{key.rpartition('/')[0]}/{name}")
    store.write(key, rest.encode())


def _is_of_a_work(found: re.Match[str], target: Target, places: set[str]) -> bool:
    name = found["crop"] if found["name"] is None else found["name"]
    if name is not None:
        shown = html.unescape(name)
    else:
        caption = _CAPTION.fullmatch(html.unescape(found["caption"]))
        if caption is None:
            return False
        shown = caption["key"]
    # letters that cannot be seen have codes in their place, unless the page is of an earlier version
    keys = {shown, from_visible(shown)}
    return any(target.works.has(place, key) for place in places for key in keys)


def _page(store: Store, key: str) -> str:
    try:
        return (store.read(key) or b"").decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{store.uri}/{key}: no page of this program; remove it and write it again") from error
