"""Progress on a terminal, and for Argo."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from watchmove.service.runner.progress import LiveProgress, LoggedProgress, progress_for


def test_a_step_is_named_as_it_is() -> None:
    """Evaluations are named after files, and brackets in a file's name are no markup."""
    terminal = StringIO()
    bars = LiveProgress(Console(file=terminal, force_terminal=True, width=160))
    bars.update("evaluate file:///[/x]/[bold].safetensors f0 s0", 1, 2, "loss [/y]")
    bars.close()

    assert "file:///[/x]/[bold].safetensors" in terminal.getvalue()
    assert "loss [/y]" in terminal.getvalue()


def test_a_stage_of_a_run_is_a_line_of_its_own() -> None:
    """With what is left of the run, if that is known."""
    terminal = StringIO()
    bars = LiveProgress(Console(file=terminal, force_terminal=True, width=40))
    bars.stage("gather", 3, 8, "")
    bars.stage("pretrain", 4, 8, "about 2 min left")
    bars.close()

    assert "step 3 of 8: gather\n" in terminal.getvalue()
    assert "step 4 of 8: pretrain (about 2 min left)" in terminal.getvalue()


def test_the_time_left_of_a_step_that_resumes_is_that_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 iterations, 900 were done before; ten take 20 s, so that 90 take 180 s more."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with capture_logs() as lines:
        progress = LoggedProgress()
        for done, clock[0] in ((900, 0.0), (910, 20.0), (1000, 200.0)):
            progress.update("pretrain", done, 1000, "")

    assert [line["seconds_left"] for line in lines] == [180, 0]


@pytest.mark.parametrize(("term", "kind"), [("xterm", LiveProgress), ("dumb", LoggedProgress)])
def test_a_terminal_without_a_movable_cursor_has_lines(term: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """On which bars would be shown at the end only."""
    monkeypatch.setenv("TERM", term)
    progress = progress_for(Console(file=StringIO(), force_terminal=True))
    progress.close()

    assert type(progress) is kind


def test_argo_is_told_the_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, then at intervals, and at the end; a file that cannot be written fails no step."""
    path = tmp_path / "progress"
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(path))
    progress = LoggedProgress()
    said = []
    for done in (1, 2, 10):
        progress.update("gather", done, 10, "")
        said.append(path.read_text())
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "absent" / "progress"))
    LoggedProgress().update("gather", 1, 2, "")

    assert said == ["1/10", "1/10", "10/10"]
