"""Takes the pictures of works out of the reports of runs, and out of the pages of claims."""

import html
import re
from collections.abc import Iterator
from functools import partial

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.forgetting.target import Change, Target, keys_of
from watchmove.service.records import layout
from watchmove.service.records.forgotten import Removal
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find
from watchmove.service.store.store import Store

_PICTURE = re.compile(r"<figure>(?:(?!</figure>).)*<figcaption>(?P<caption>.*?)</figcaption></figure>\n?", re.DOTALL)
_CAPTION = re.compile(r"(?P<key>.*)(?: at \d+\.\d s: |: IoU with the truth ).*", re.DOTALL)
"""What is written below a frame: the key of its video, then its time in a report, or its IoU in a page of claims."""


def report_changes(store: Store, target: Target) -> Iterator[Change]:
    """Yield the changes of reports and pages of claims: pictures of the works are removed, and all else in them stays.

    Raises:
        InvalidInput: the record of a plan is damaged.
        Unavailable: the store cannot be reached.
    """
    for key in keys_of(store, layout.all_runs(), "/report.html"):
        plan = find(store, layout.run_record(key.split("/")[1], "plan"), PlanRecord)
        places = {plan.made_by.settings.get("videos", "")} if plan is not None else set(target.places)
        yield from _page_change(store, key, target, places)
    for key in keys_of(store, layout.all_claims(), "/claims.html"):
        yield from _page_change(store, key, target, set(target.places))


def _page_change(store: Store, key: str, target: Target, places: set[str]) -> Iterator[Change]:
    """Yield the change of a page, if it shows one of the works as a video of one of the places."""
    pictures = sum(_shows_a_work(found, target, places) for found in _PICTURE.finditer(_page(store, key)))
    if pictures:
        yield Change(
            partial(_remove_pictures, store, key, target, places), Removal(key=key, what="rewritten", entries=pictures)
        )


def _remove_pictures(store: Store, key: str, target: Target, places: set[str]) -> None:
    def kept(found: re.Match[str]) -> str:
        return "" if _shows_a_work(found, target, places) else found[0]

    store.write(key, _PICTURE.sub(kept, _page(store, key)).encode())


def _shows_a_work(picture: re.Match[str], target: Target, places: set[str]) -> bool:
    caption = _CAPTION.fullmatch(html.unescape(picture["caption"]))
    return caption is not None and any(target.works.has(place, caption["key"]) for place in places)


def _page(store: Store, key: str) -> str:
    try:
        return (store.read(key) or b"").decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{store.uri}/{key}: no page of this program; remove it and write it again") from error
