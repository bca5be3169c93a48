"""The runner: exceptions become exit codes, signals become a request to stop."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import poll
from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable, UnreadableVideo
from watchmove.service.runner.exit_codes import RETRIED_EXIT_CODES
from watchmove.service.runner.runner import run_to_exit_code, step_context
from watchmove.service.settings.loading import LAPTOP, load_settings


@pytest.mark.parametrize(
    ("error", "code", "prefix"),
    [
        (InvalidInput("x"), 65, "invalid input"),
        (UnreadableVideo("not-a-video", "x"), 65, "invalid input"),
        (Unavailable("x"), 75, "unavailable, retry later"),
        (Stopped("x"), 143, "stopped"),
        (OSError(errno.ENOSPC, "x", "file"), 75, "unavailable, retry later"),
        (FileNotFoundError("No usable temporary directory found in ['/tmp']"), 75, "unavailable, retry later"),
        (OSError(errno.ENOENT, "x"), 70, "internal error"),
        (ModuleNotFoundError("x", name="watchmove.x"), 70, "internal error"),
        (ZeroDivisionError("x"), 70, "internal error"),
        (AssertionError(), 70, "internal error"),
    ],
)
def test_each_exception_has_its_exit_code(
    error: Exception, code: int, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, row by row; the last line on standard error says what happened."""

    def body() -> None:
        raise error

    assert run_to_exit_code(body) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"watchmove: {prefix}: {str(error) or type(error).__name__}"


def test_a_package_that_is_not_installed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the slim image; a module of the program itself that is not there is a bug, as the table says."""

    def body() -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    assert run_to_exit_code(body) == 65
    assert "invalid input: the Python package torch is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG])
def test_a_path_that_cannot_be_used_is_invalid_input(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """As a file in a folder that may not be entered: `Path.exists` raises for it. The line says what would do."""

    def body() -> None:
        raise OSError(number, os.strerror(number), "locked/a.mp4")

    assert run_to_exit_code(body) == 65
    line = f"watchmove: invalid input: locked/a.mp4: {os.strerror(number)}; check the path and its permissions\n"
    assert capsys.readouterr().err == line


def test_ctrl_c_where_nothing_waits_for_it_has_the_code_of_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands on local files have nothing to save: they end at once, with a line and no trace."""

    def body() -> None:
        raise KeyboardInterrupt

    assert run_to_exit_code(body) == 143
    assert capsys.readouterr().err == "watchmove: stopped: received a signal; run again to start over\n"


def test_sigterm_where_nothing_waits_for_it_ends_like_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands on local files clean up and end with the code of a stop, also where a pod is deleted."""
    assert run_to_exit_code(lambda: signal.raise_signal(signal.SIGTERM)) == 143
    assert capsys.readouterr().err == "watchmove: stopped: received a signal; run again to start over\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_libraries_load_has_the_code_of_a_stop(number: signal.Signals) -> None:
    """A pod that is deleted within its first seconds counts as stopped, and so is run again."""
    words = [sys.executable, "-m", "watchmove", "settings"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert poll(lambda: _catches(process.pid, number), 60, every_seconds=0.005)
        process.send_signal(number)
        _, printed = process.communicate(timeout=60)

    assert (process.returncode, printed) == (
        143,
        "watchmove: stopped: received a signal before any work; run it again\n",
    )


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, by Linux's mask of caught signals. Python has one for SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return all(caught >> (each - 1) & 1 for each in (number, signal.SIGTERM))


def test_a_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Names in a message can have line breaks, which could imitate another message."""

    def body() -> None:
        raise InvalidInput("a\nwatchmove: b\u2028c: is wrong")

    assert run_to_exit_code(body) == 65
    assert capsys.readouterr().err == "watchmove: invalid input: a watchmove: b c: is wrong\n"


def test_success_is_zero() -> None:
    """Nothing raised is done."""
    assert run_to_exit_code(lambda: None) == 0


def test_only_what_can_work_later_is_retried() -> None:
    """A bug and bad input are never tried again."""
    assert RETRIED_EXIT_CODES == (75, 143)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_step_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    """The signal interrupts nothing; the step sees it when it looks."""
    settings = load_settings(LAPTOP, [f"store=file://{tmp_path}"])
    before = signal.getsignal(number)
    with step_context(settings) as context:
        signal.raise_signal(number)

        with pytest.raises(Stopped, match="run again"):
            context.check_stop()
    assert signal.getsignal(number) == before


def test_a_step_that_stalls_after_a_signal_ends_in_time(tmp_path: Path) -> None:
    """A store that takes requests and answers none: the process ends as stopped, and says what it waited for."""
    program = (
        "import sys; from watchmove.service.runner import runner; runner._STALLED_SECONDS = 1.0; "
        "from watchmove.__main__ import main; main()"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        words = ["plan", "--run", "r", "--set", "store=s3://b/store", "--set", "videos=s3://b/videos"]
        with subprocess.Popen(
            [sys.executable, "-c", program, *words, "--set", f"work.scratch={tmp_path}"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            taken, _ = listener.accept()  # from here on the step waits for an answer
            process.send_signal(signal.SIGTERM)
            _, printed = process.communicate(timeout=60)
            taken.close()

    assert process.returncode == 143
    assert printed.splitlines()[-1].startswith(
        "watchmove: stopped: received a signal, and did not end within 1 s, as where a store"
    )


def test_scratch_space_is_cleaned(tmp_path: Path) -> None:
    """Nothing stays in the scratch folder, also after a failure."""
    settings = load_settings(LAPTOP, [f"store=file://{tmp_path}/store", f"work.scratch={tmp_path}"])

    def fail() -> None:
        with step_context(settings) as context:
            (context.scratch / "file").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The setting to change is in the line."""
    settings = load_settings(LAPTOP, [f"work.scratch={tmp_path}/absent"])
    with pytest.raises(InvalidInput, match=r"work\.scratch"), step_context(settings):
        pass
