"""The command that removes works from a store."""

from typing import TYPE_CHECKING, Annotated

import typer

from watchmove.service.cli.options import NO_METRICS, Overrides, SettingsFile, StorePlace, in_context, with_store
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP

if TYPE_CHECKING:
    from watchmove.service.records.forgotten import ForgetRecord

on_forget = typer.Typer()


@on_forget.command()
def forget(
    videos: Annotated[
        list[str] | None,
        typer.Option("--video", metavar="KEY", help="Key or URI of a video; repeatable."),
    ] = None,
    owner: Annotated[str, typer.Option(metavar="NAME", help="Owner of videos, as their list names it.")] = "",
    licence: Annotated[
        str, typer.Option(metavar="NAME", help="Licence of videos, by its full name or as by-nc-sa; unknown for none.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and change nothing.")] = False,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Remove videos and all that was derived from them.

    Removes frames, masks, pictures, credits and names from the store, marks what has learnt from them, and keeps later
    runs from taking them up again. If interrupted, the same command finishes it.
    """
    from watchmove.service.forgetting.forget import forget as remove
    from watchmove.service.forgetting.forget import to_forget
    from watchmove.service.forgetting.selection import selector_of

    def body(context: StepContext) -> None:
        selector = selector_of(videos or [], owner, licence)
        if dry_run:
            _print(to_forget(context, selector), "would be ")
            print("nothing was changed")
            return
        key, record = remove(context, selector)
        context.progress.close()
        _print(record, "")
        print(f"receipt: {context.store.uri}/{key}")

    in_context(settings, [*with_store(overrides, store), NO_METRICS], body)


def _print(record: "ForgetRecord", verb: str) -> None:
    """Print a line for each object, what has learnt from the works, and what is not covered."""
    for removal in record.removals:
        counts = ((removal.frames, "frames"), (removal.entries, "entries"))
        detail = ", ".join(f"{count} {name}" for count, name in counts if count)
        print(f"{verb}{removal.what}: {removal.key}" + (f" ({detail})" if detail else ""))
    for kind, names in (("dataset", record.datasets), ("backbone", record.backbones)):
        for name in names:
            print(f"{verb}marked: {kind} {name} has learnt from it")
    for key in record.unknown_checkpoints:
        print(f"not known: {key} may have learnt from it; no record tells its dataset")
    print(f"works {verb}forgotten: {len(record.works)}")
    print("not touched: the videos themselves, and what was exported or copied out of the store")
