"""Progress on a terminal."""

from io import StringIO

from rich.console import Console

from watchmove.service.runner.progress import LiveProgress


def test_a_step_is_named_as_it_is() -> None:
    """Evaluations are named after files, and brackets in a file's name are no markup."""
    terminal = StringIO()
    bars = LiveProgress(Console(file=terminal, force_terminal=True, width=160))
    bars.update("evaluate file:///[/x]/[bold].safetensors f0 s0", 1, 2, "loss [/y]")
    bars.close()

    assert "file:///[/x]/[bold].safetensors" in terminal.getvalue()
    assert "loss [/y]" in terminal.getvalue()
