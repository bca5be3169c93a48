"""The commands of a cluster: they start, watch and stop a workflow, and serve metrics of a store's runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable
from watchmove.pipeline.files.text_lines import printable
from watchmove.service.cli.options import Overrides, SettingsFile, end
from watchmove.service.cluster.watch import COUNTS, changes, headline
from watchmove.service.cluster.watch import watch as watch_to_end
from watchmove.service.cluster.workflow_api import WorkflowApi, connect
from watchmove.service.cluster.workflow_names import find_workflow, run_of
from watchmove.service.cluster.workflow_state import POD_LOST, WorkflowState, phase_of, state_of
from watchmove.service.records.layout import run_record
from watchmove.service.runner.exit_codes import RETRIED_EXIT_CODES
from watchmove.service.settings.loading import LAPTOP, load_settings

on_cluster = typer.Typer()

POD_KILLED = 137
"""Exit code of a container that was ended by SIGKILL (128 + 9), as for its memory or with its node."""
_MOST_LINES = 5
"""Most failures, and most reasons to wait, that a live display shows. Set by hand; not tuned."""

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Kubernetes namespace of the workflow.")]
Workflow = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="Name of the workflow, or of the run that it works on.")
]
WorkflowOrLast = Annotated[
    str,
    typer.Argument(
        metavar="WORKFLOW",
        help="Name of the workflow, or of the run that it works on; by default the last workflow of the namespace.",
    ),
]


@on_cluster.command()
def submit(
    template: Annotated[str, typer.Option(help="Name of the WorkflowTemplate.")] = "watchmove",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Kubernetes namespace of the template.")
    ] = "watchmove",
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Workflow parameter; repeatable."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch the workflow until it has ended, and fail if it failed.")
    ] = False,
) -> None:
    """Start a workflow on the cluster.

    Does what `argo submit --from workflowtemplate/NAME` does, without the argo program.
    """
    from watchmove.service.cluster.submit import submit as start

    def body() -> None:
        given = dict(_parameter(text) for text in parameters or ())
        if given.get("run"):
            run_record(given["run"], "plan")  # refuses a name that every step would refuse
        api = connect(namespace)
        state = start(api, template, given)
        if wait:
            _watch(api, state)
        else:
            print(headline(state))

    end(body)


@on_cluster.command()
def watch(name: WorkflowOrLast = "", namespace: Namespace = "watchmove") -> None:
    """Watch a workflow until it has ended.

    Shows its steps with their pods and failures, live on a terminal and as a line for each change elsewhere. Exits as
    `submit --wait` does: with 0 if the workflow has succeeded.
    """

    def body() -> None:
        api = connect(namespace)
        _watch(api, state_of(find_workflow(api, namespace, name)))

    end(body)


@on_cluster.command()
def logs(
    name: WorkflowOrLast = "",
    step: Annotated[
        str, typer.Option(help="Only pods of this step, as extract, or one pod, as `extract(3:3)(0)`.")
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only pods that have failed.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the workflow has ended.")] = False,
    namespace: Namespace = "watchmove",
) -> None:
    """Print what a workflow's pods have written.

    Each line begins with the name of its pod in the workflow. What is said in parentheses is no line of the pod.
    """
    from watchmove.service.cluster.logs import Choice, follow_logs, read_logs

    def body() -> None:
        api = connect(namespace)
        read = follow_logs if follow else read_logs
        for line in read(api, find_workflow(api, namespace, name), Choice(step, failed)):
            print(printable(f"{line.node}: {line.text.expandtabs()}"), flush=follow)

    end(body)


@on_cluster.command()
def stop(name: Workflow, namespace: Namespace = "watchmove") -> None:
    """Stop a workflow.

    Its pods save what they have and end, and its exit handler runs. A second request changes nothing.
    """
    from watchmove.service.cluster.stop import Stopping
    from watchmove.service.cluster.stop import stop as ask

    def body() -> None:
        api = connect(namespace)
        document = find_workflow(api, namespace, name)
        workflow, found = document["metadata"]["name"], ask(api, document)
        again = f"`watchmove resubmit {workflow} -n {namespace}` continues its run"
        if found is Stopping.ENDED:
            phase = phase_of(document)
            print(f"{workflow}: has ended ({phase}); nothing to stop{'' if phase == 'Succeeded' else f'; {again}'}")
            return
        print(f"{workflow}: {'is stopping' if found is Stopping.ASKED else 'was asked to stop before'}")
        print("kept: what is committed in the store, checkpoints, the workflow, and failed pods with their logs")
        print(f"once it has ended, {again}")

    end(body)


@on_cluster.command()
def resubmit(name: Workflow, namespace: Namespace = "watchmove") -> None:
    """Submit a failed workflow again.

    A new workflow with the same parameters continues its run: what is committed in the store is not repeated.
    """
    from watchmove.service.cluster.submit import resubmit as start

    def body() -> None:
        api = connect(namespace)
        document = find_workflow(api, namespace, name)
        state = start(api, document)
        line = f"{state.name}: submitted, to continue run {run_of(document)} of {document['metadata']['name']}"
        print(printable(line))

    end(body)


def _watch(api: WorkflowApi, state: WorkflowState) -> None:
    """Show a workflow until it has ended.

    Raises:
        InvalidInput: it has failed.
        Unavailable: it has failed for what may pass, or the cluster cannot be reached.
        Stopped: a signal has ended the watching.
    """
    try:
        with _display() as show:
            show(state)
            state = watch_to_end(api, state, show)
    except KeyboardInterrupt as error:
        raise Stopped(f"received a signal; workflow {state.name} goes on; `watchmove stop` would stop it") from error
    if state.succeeded:
        return
    why = "; ".join(state.failures) or "no pod reported a reason"
    line = printable(f"workflow {state.name} ended as {state.phase}: {why}")
    # a stopped workflow, or one that failed without a pod, has no code that says more
    if state.exit_codes and set(state.exit_codes) <= {*RETRIED_EXIT_CODES, POD_KILLED, POD_LOST}:
        raise Unavailable(f"{line}; submit it again with the same run to continue")
    raise InvalidInput(line)


@contextmanager
def _display() -> Iterator[Callable[[WorkflowState], None]]:
    """Provide a function that shows a state: on a terminal in place of the one before, elsewhere what has changed."""
    console = Console()
    if not console.is_terminal:
        last = WorkflowState("", "", 0, 0, ())

        def show_changes(state: WorkflowState) -> None:
            nonlocal last
            for line in changes(last, state):
                print(printable(line), flush=True)
            last = state

        yield show_changes
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda state: live.update(_picture(state), refresh=True)


def _picture(state: WorkflowState) -> Group:
    """The whole state, for a terminal."""
    table = Table(title=Text(printable(headline(state)), style="bold"), title_justify="left")
    for name in ("step", *COUNTS, "progress"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in state.steps:
        counts = (str(getattr(step, name) or "") for name in COUNTS)
        progress = f"{step.done}/{step.total}" if step.total else ""
        table.add_row(Text(printable(step.name)), *counts, progress)
    return Group(
        table, *_lines(state.waits, "yellow", "other reasons"), *_lines(state.failures, "red", "earlier failures")
    )


def _lines(words: tuple[str, ...], style: str, of_others: str) -> list[Text]:
    """The last lines of several, after one for how many there are before them."""
    before = len(words) - _MOST_LINES
    shown = [f"{before} {of_others}"] if before > 0 else []
    return [Text(printable(line), style=style) for line in (*shown, *words[-_MOST_LINES:])]


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--parameter {text}: not of the form NAME=VALUE")
    return name, value


@on_cluster.command()
def exporter(settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Serve Prometheus metrics of a store's runs.

    They are computed from the records in the store, on the port work.metrics_port, until a signal stops the server.
    """
    from watchmove.service.watching.exporter import serve_records

    def body() -> None:
        loaded = load_settings(settings, overrides or ())
        if not loaded.work.metrics_port:
            raise InvalidInput("work.metrics_port = 0 serves nothing; set it, for example --set work.metrics_port=9090")
        serve_records(loaded)

    end(body)
