"""The reference page of the command line, generated from the commands: `python -m watchmove.service.cli.reference`."""

from collections.abc import Iterator, Sequence

import typer
from typer.core import TyperGroup
from typer.main import get_command

from watchmove.service.cli.main import app

_PROGRAM = "watchmove"
_INTRODUCTION = f"""# Command line

This page is generated from the program: `python -m watchmove.service.cli.reference`. `{_PROGRAM} COMMAND --help` prints
the same text. `{_PROGRAM} settings --reference` prints the settings."""


def cli_reference() -> str:
    """A Markdown page with a section for the program and for each command: summary, usage, arguments and options."""
    program = program_context()
    sections = [_section(context) for context in (program, *command_contexts(program))]
    return "\n\n".join([_INTRODUCTION, *sections]) + "\n"


def program_context() -> typer.Context:
    """The context of the program itself, as if it were called by its installed name."""
    return typer.Context(get_command(app), info_name=_PROGRAM)


def command_contexts(context: typer.Context) -> Iterator[typer.Context]:
    """The contexts of the commands below `context`, in the order of its help, or `context` itself if it is no group."""
    command = context.command
    if not isinstance(command, TyperGroup):
        yield context
        return
    for name in command.list_commands(context):
        yield from command_contexts(typer.Context(command.commands[name], info_name=name, parent=context))


def _section(context: typer.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    described = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    parts = [f"## `{context.command_path}`", (command.help or "").strip(), f"```\n{usage}\n```"]
    return "\n\n".join([*parts, _table([record for record in described if record])])


def _table(records: Sequence[tuple[str, str]]) -> str:
    # a line between choices would end the cell, also in code
    rows = ["| `{}` | {} |".format(*(text.replace("|", "\\|") for text in record)) for record in records]
    return "\n".join(["| argument or option | meaning |", "| --- | --- |", *rows])


if __name__ == "__main__":
    print(cli_reference(), end="")
