"""The commands in README and docs do what the pages show.

Commands run in the order of their pages in one folder that contains this repository's `docs`, the tutorial first. The
output is compared by shape: digits, identifiers, absolute paths and the widths of columns may differ.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, Command, consoles, page_name, python_blocks

TUTORIAL = DOCS / "tutorial.md"
TIMEOUT_SECONDS = 1800
"""A limit for a machine that is busy with other work; all commands together take about a minute on two idle cores."""

RUN_PAGES = [TUTORIAL, *(page for page in PAGES if page != TUTORIAL and any(not c.reason for c in consoles(page)))]
PROGRAM_PAGES = [page for page in PAGES if python_blocks(page)]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader's: the repository's `docs`, and `watchmove` as a command."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "docs").symlink_to(DOCS)
    program = folder / "bin" / "watchmove"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m watchmove "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize("page", RUN_PAGES, ids=page_name)
def test_commands_print_what_the_page_shows(page: Path, workplace: Path) -> None:
    """Every command of the page succeeds, and its standard output has the shape that the page shows."""
    for console in consoles(page):
        for command in () if console.reason else console.commands:
            assert _shape(_output(command, workplace)) == _shape(command.output), command.text


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize("page", PROGRAM_PAGES, ids=page_name)
def test_programs_run(page: Path, workplace: Path) -> None:
    """The Python programs of a page run after the tutorial's commands."""
    run = next(command for console in consoles(TUTORIAL) for command in console.commands if " run " in command.text)
    _output(run, workplace)

    for program in python_blocks(page):
        subprocess.run([sys.executable, "-c", program], cwd=workplace, env=_environment(workplace), check=True)


def test_commands_that_are_not_run_have_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Each block of commands is run, or says why it is not; the reasons are printed."""
    skipped = [(page_name(page), console) for page in PAGES for console in consoles(page) if console.reason]
    with capsys.disabled():
        print(f"\n{sum(len(console.commands) for _, console in skipped)} commands of the docs are not run:")
        for name, console in skipped:
            print(f"  {name}: {len(console.commands)}, {console.reason}")

    assert all(len(console.reason.split()) > 1 for _, console in skipped)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_are_understood(page: Path) -> None:
    """Every block of commands has a command, and its info string is `console`, alone or with a reason."""
    text = page.read_text(encoding="utf-8")
    infos = re.findall(r"^```(console[^\n]*)$", text, re.MULTILINE)

    assert all(re.fullmatch(r"console( not-run: .+)?", info) for info in infos)
    assert all(console.commands for console in consoles(page))


def _output(command: Command, workplace: Path) -> str:
    words = ["bash", "-c", command.text]
    done = subprocess.run(
        words, cwd=workplace, env=_environment(workplace), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"{command.text}\n{done.stdout}{done.stderr}"
    return done.stdout


def _environment(workplace: Path) -> dict[str, str]:
    path = f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def _shape(output: str) -> list[str]:
    """Lines without what may differ from run to run."""
    text = re.sub(r"(file://)?/\S*/out/", r"\1/…/out/", output)
    text = re.sub(r"[─━═┏┓┡┩└┘┴┻╇┳┬┼╋┃│]+", "|", text)
    text = re.sub(r"\d+([.,:]\d+)*", "0", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]
