"""The commands' help and the reference page that is generated from it."""

from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from watchmove.service.cli.reference import cli_reference, command_contexts, program_context

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
COMMANDS = list(command_contexts(program_context()))
MOST_SUMMARY_LETTERS = 50
"""A shorter summary fits a line of 80 columns next to the longest command name without being cut."""


def test_the_reference_page_is_current() -> None:
    """The page in the repository is what the program generates."""
    assert PAGE.read_text() == cli_reference(), (
        "run `python -m watchmove.service.cli.reference > docs/reference/cli.md`"
    )


def test_every_command_is_in_the_reference() -> None:
    """Commands of subgroups have a section too."""
    headings = {line.removeprefix("## ") for line in cli_reference().splitlines() if line.startswith("## ")}

    assert {"`watchmove plan`", "`watchmove status`", "`watchmove bench masks`"} <= headings
    assert len(headings) == len(COMMANDS) + 1  # the program itself


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_a_summary_is_a_short_sentence(context: typer.Context) -> None:
    """The first line of a command's help is one complete sentence, and short enough to be shown uncut."""
    summary = (context.command.help or "").split("\n\n")[0]

    assert summary.endswith(".")
    assert len(summary) < MOST_SUMMARY_LETTERS


def test_help_cuts_no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns each command of the program has one line with its full summary."""
    monkeypatch.setenv("COLUMNS", "80")
    program = program_context()
    group = program.command
    assert isinstance(group, TyperGroup)
    lines = [line.strip() for line in group.get_help(program).splitlines()]

    for name, command in group.commands.items():
        summary = (command.help or "").split("\n\n")[0]
        assert any(line.startswith(f"{name} ") and line.endswith(f" {summary}") for line in lines), name


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_every_argument_and_option_has_a_help_text(context: typer.Context) -> None:
    """A reader of `COMMAND --help` learns what each of them is for."""
    for parameter in context.command.params:
        assert getattr(parameter, "help", None), parameter.name
