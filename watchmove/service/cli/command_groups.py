"""The help of the program, which lists its commands by what they are for."""

from typing import Any

import typer
from typer.core import TyperGroup

from watchmove.service.runner.exit_codes import INVALID_INPUT
from watchmove.service.runner.logs import are_json, configure_logs, log_failure

_UsageError: Any = typer.BadParameter.__bases__[0]
"""The error of arguments that cannot be parsed: click's, of which recent versions of typer have a private copy."""

GROUPS = {
    "Everything on this machine": ("run", "claims"),
    "Steps of a run": ("world", "plan", "extract", "gather", "pretrain", "evaluate", "report"),
    "Runs": (
        "runs",
        "status",
        "videos",
        "why",
        "show",
        "results",
        "compare",
        "retry",
        "teach",
        "export",
        "import-coco",
        "forget",
    ),
    "Local files": ("segment", "score", "bench"),
    "Workflows on a cluster": ("submit", "watch", "logs", "stop", "resubmit"),
    "Service": ("doctor", "exporter", "settings"),
}
"""Headings of the help, and the commands below each; every command is below one."""


class GroupedCommands(TyperGroup):
    """The program's group of commands, whose help has a heading for each of GROUPS."""

    # the types of `ctx` and `formatter` are click's
    def invoke(self, ctx: Any) -> Any:
        """Run the command; where logs are JSON, report arguments that cannot be parsed as one line of them."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            configure_logs(ctx.params["log"])  # not done before an unknown command
            if not are_json():
                raise
            log_failure(INVALID_INPUT, f"{(error.ctx or ctx).command_path}: {error.format_message()}")
            raise typer.Exit(INVALID_INPUT.exit_code) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the commands below their headings, each with the first sentence of its help."""
        width = formatter.width - max(map(len, self.commands))
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(width)) for name in names])
