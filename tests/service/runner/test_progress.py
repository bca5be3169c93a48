"""Progress on a terminal, and for Argo."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from watchmove.service.runner.progress import LiveProgress, LoggedProgress


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
