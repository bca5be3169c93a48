"""Forget: remove works and all that was derived from them from a store, so that no later step takes them up again.

The receipt is written first. It puts the works on the list of those that are forgotten, by hashes. Then each object
that names or shows a work is written again without it or removed: what names another object before that object, and
what shows that something is to be done last. A call that is killed at any moment is finished by the next one. Of calls
at the same time, each looks again after its changes if it sees by the receipts that there was another one: what one of
them writes from an object of before the changes of another is found by the one that ends last.
"""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from watchmove.service.forgetting.plan_files import malformed_changes, plan_changes
from watchmove.service.forgetting.reports import failure_changes, report_changes
from watchmove.service.forgetting.selection import Selector, as_recorded, select
from watchmove.service.forgetting.snapshots import Snapshots
from watchmove.service.forgetting.target import Change, Target, keys_of
from watchmove.service.forgetting.tars import Tars
from watchmove.service.records import layout
from watchmove.service.records.forgotten import ForgetRecord, ForgottenWork, Removal, receipts_of
from watchmove.service.records.record import find, origin
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.store import Store


class Request(NamedTuple):
    """What one call does: the id of its receipt, the receipt, and the changes in their order."""

    receipt: str
    record: ForgetRecord
    changes: tuple[Change, ...]


def forget(context: StepContext, selector: Selector) -> tuple[str, ForgetRecord]:
    """Remove the selected works, and what earlier calls have left; return the receipt's key and the receipt.

    Works that the list holds already are looked for again, so a second call removes what was written meanwhile.

    Raises:
        InvalidInput: the selector selects nothing, which changes nothing; or a record is damaged.
        Unavailable: the store cannot be reached.
        Stopped: stopped by a signal; the next call goes on.
    """
    while True:
        before = receipts_of(context.store)
        receipt, done = _forget_once(context, selector, before)
        after = receipts_of(context.store)
        if _others(before, receipt) == _others(after, receipt):
            return layout.receipt(receipt), done


def _others(receipts: dict[str, ForgetRecord], own: str) -> dict[str, tuple[object, ...]]:
    """What calls other than that of the receipt `own` have said, and whether they have ended."""
    return {
        name: (record.works, record.removals, record.finished_at_unix_seconds is None)
        for name, record in receipts.items()
        if name != own
    }


def _forget_once(
    context: StepContext, selector: Selector, receipts: dict[str, ForgetRecord]
) -> tuple[str, ForgetRecord]:
    """Remove what a search finds; return the id of the receipt and the receipt. Updates `receipts` as it does those."""
    store = context.store
    selector = as_recorded(store, selector, receipts)
    works, target = select(store, selector, receipts)
    receipt, record = _receipt(context, selector, works, receipts)
    # The list comes before the search, so that steps which commit meanwhile leave the works out.
    _write(store, receipt, record)
    earlier = receipts.get(receipt)
    is_finished = earlier is not None and earlier.finished_at_unix_seconds is not None
    request = _request(context, target, receipt, record, is_finished=is_finished)
    _write(store, receipt, request.record)
    for number, change in enumerate(request.changes):
        context.check_stop()
        context.progress.update("forget", number, len(request.changes), "changes")
        change.apply()
    context.progress.update("forget", len(request.changes), len(request.changes), "changes")
    done = request.record.model_copy(update={"finished_at_unix_seconds": time.time()})
    _write(store, receipt, done)
    for name, other in receipts.items():
        # Their remains were removed too. What has changed since is of a call that works at this moment, and ends it.
        is_left = name != receipt and other.finished_at_unix_seconds is None
        if is_left and find(store, layout.receipt(name), ForgetRecord) == other:
            receipts[name] = other.model_copy(update={"finished_at_unix_seconds": time.time()})
            _write(store, name, receipts[name])
    return receipt, done


def to_forget(context: StepContext, selector: Selector) -> ForgetRecord:
    """Return the receipt that `forget` would begin with, and change nothing; raises the errors of `forget`."""
    receipts = receipts_of(context.store)
    selector = as_recorded(context.store, selector, receipts)
    works, target = select(context.store, selector, receipts)
    receipt, record = _receipt(context, selector, works, receipts)
    return _request(context, target, receipt, record.model_copy(update={"removals": ()})).record


def _receipt(
    context: StepContext, selector: Selector, works: Iterable[ForgottenWork], receipts: dict[str, ForgetRecord]
) -> tuple[str, ForgetRecord]:
    """The id and the receipt of a request, which the same request before it may have begun."""
    hashes = selector.hashes()
    receipt = settings_hash(selector.kind, list(hashes))
    known = receipts.get(receipt)
    if known is None:
        made_by = origin(context.settings, {})
        return receipt, ForgetRecord(
            made_by=made_by, selector=selector.kind, selector_hashes=hashes, works=tuple(works)
        )
    videos: dict[str, set[str]] = {}
    for work in (*known.works, *works):
        videos.setdefault(work.work, set()).update(work.videos)
    both = tuple(ForgottenWork(work=work, videos=tuple(sorted(ids))) for work, ids in sorted(videos.items()))
    return receipt, known.model_copy(update={"works": both, "finished_at_unix_seconds": None})


def _together(earlier: Removal, later: Removal | None, *, is_finished: bool) -> Removal:
    """What the receipt says of an object that an earlier call has changed, or was about to change."""
    if later is None or not is_finished:
        return earlier
    counts = {"entries": earlier.entries + later.entries, "frames": earlier.frames + later.frames}
    return later.model_copy(update=counts)


def _request(
    context: StepContext, target: Target, receipt: str, record: ForgetRecord, *, is_finished: bool = False
) -> Request:
    """Find all changes, and complete the receipt with them; `is_finished` says whether its earlier changes are done."""
    tars = Tars(context.store, target, context.scratch)
    tars.find()
    snapshots = Snapshots(tars)
    snapshots.find()
    changes = tuple(_changes(context, target, snapshots, receipt))
    removals = {change.removal.key: change.removal for change in changes if change.removal is not None}
    for removal in record.removals:
        removals[removal.key] = _together(removal, removals.get(removal.key), is_finished=is_finished)
    complete = record.model_copy(
        update={
            "removals": tuple(removals[key] for key in sorted(removals)),
            "datasets": tuple(sorted({*record.datasets, *snapshots.learnt_datasets})),
            "backbones": tuple(sorted({*record.backbones, *snapshots.learnt_backbones})),
            "unknown_checkpoints": tuple(sorted(snapshots.unknown_checkpoints)),
        }
    )
    return Request(receipt, complete, changes)


def _changes(context: StepContext, target: Target, snapshots: Snapshots, receipt: str) -> Iterator[Change]:
    """Yield all changes in an order in which each can be the last one before the process is killed."""
    store, tars = context.store, snapshots.tars
    yield from malformed_changes(store, target)
    yield from failure_changes(store, target)
    yield from report_changes(store, target)
    yield from snapshots.marks(context.settings, receipt)
    yield from tars.replacements(snapshots.without_replacement())
    yield from tars.record_changes()
    yield from snapshots.changes()
    yield from plan_changes(store, target, context.scratch)
    yield from tars.removals()
    # After the records, from which an exporter could otherwise make them again.
    for key in keys_of(store, layout.all_extractions(), "/attempts.npz"):
        yield Change(partial(store.remove, key), Removal(key=key, what="removed"))


def _write(store: Store, receipt: str, record: ForgetRecord) -> None:
    store.write(layout.receipt(receipt), record.model_dump_json(indent=1).encode())
