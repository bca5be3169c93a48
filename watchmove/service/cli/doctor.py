"""The command that checks the machine, the store and the cluster before a run, and the table that it prints."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from watchmove.service.cli.options import AsJson, Overrides, SettingsFile, end
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings
from watchmove.service.watching.checks import Check, State, not_checked, raise_failures

on_doctor = typer.Typer()

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "bold red", State.NOT_CHECKED: "dim"}


@on_doctor.command()
def doctor(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Kubernetes namespace in which workflows are to run.")
    ] = "watchmove",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check the place where a run is to take place.

    Checks this machine, the store, the cluster if there is a kubeconfig, and GPUs. Each check is ok, a warning, failed
    or not checked, with what would fix it.
    Exits with 65 if something must be changed, and with 75 if all failures may pass.
    """

    def body() -> None:
        loaded = load_settings(settings, overrides or ())
        checks = list(_all_checks(loaded, namespace))
        if as_json:
            print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=1, ensure_ascii=False))
        else:
            print_checks(checks, Console())
        raise_failures(checks)

    end(body)


def _all_checks(settings: Settings, namespace: str) -> Iterator[Check]:
    from watchmove.service.watching.cluster_checks import cluster_checks
    from watchmove.service.watching.gpu_checks import gpu_checks
    from watchmove.service.watching.machine_checks import machine_checks
    from watchmove.service.watching.store_checks import store_checks, videos_check

    yield from machine_checks(settings)
    yield from _decoder_checks(settings)
    yield from store_checks(settings)
    yield videos_check(settings)
    yield from cluster_checks(namespace)
    yield from gpu_checks(settings)


def _decoder_checks(settings: Settings) -> Iterator[Check]:
    try:
        from watchmove.service.watching.decoder_checks import decoder_checks
    except ModuleNotFoundError as error:
        # The slim image, whose commands decode no video.
        yield not_checked("ffmpeg", f"the Python package {error.name}, which decoding needs, is not installed")
        return
    yield from decoder_checks(settings)


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """Print a table with a row for each check; its two columns also fit a terminal of 40 columns."""
    table = Table(show_lines=False)
    table.add_column("state", no_wrap=True)
    table.add_column("check", overflow="fold")
    for check in checks:
        words = Text(check.name, style="bold").append(f"\n{check.finding}", style="not bold")
        if check.remedy:
            words.append(f"\n→ {check.remedy}", style="not bold")
        table.add_row(Text(check.state, style=_STYLES[check.state]), words)
    console.print(table)
