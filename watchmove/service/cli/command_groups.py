"""The help of the program, which lists its commands by what they are for."""

from typing import Any

from typer.core import TyperGroup

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

    # click's types, of which recent versions of typer have a private copy
    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the commands below their headings, each with the first sentence of its help."""
        width = formatter.width - max(map(len, self.commands))
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(width)) for name in names])
