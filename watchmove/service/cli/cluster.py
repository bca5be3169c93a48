"""The commands of a cluster: one starts a workflow, one serves metrics of its runs."""

from typing import Annotated

import typer

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cli.options import Overrides, SettingsFile, end
from watchmove.service.cluster.submit import POD_LOST, WorkflowState
from watchmove.service.runner.exit_codes import RETRIED_EXIT_CODES
from watchmove.service.settings.loading import LAPTOP, load_settings

on_cluster = typer.Typer()

POD_KILLED = 137
"""Exit code of a container that was ended by SIGKILL (128 + 9), as for its memory or with its node."""


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
        bool, typer.Option("--wait", help="Wait until the workflow has ended, and fail if it failed.")
    ] = False,
) -> None:
    """Start a workflow on the cluster.

    Does what `argo submit --from workflowtemplate/NAME` does, without the argo program.
    """
    from watchmove.service.cluster.submit import submit as start

    def body() -> None:
        given = dict(_parameter(text) for text in parameters or ())
        state = start(template, namespace, given, wait, _print_state)
        if state.ended and not state.succeeded:
            why = "; ".join(state.failures) or "no pod reported a reason"
            line = f"workflow {state.name} ended as {state.phase}: {why}"
            # a stopped workflow, or one that failed without a pod, has no code that says more
            if state.exit_codes and set(state.exit_codes) <= {*RETRIED_EXIT_CODES, POD_KILLED, POD_LOST}:
                raise Unavailable(f"{line}; submit it again with the same run to continue")
            raise InvalidInput(line)

    end(body)


def _print_state(state: WorkflowState) -> None:
    print(f"{state.name}: {state.phase}, {state.done_pods} of {state.known_pods} pods", flush=True)


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
