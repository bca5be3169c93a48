"""The log on standard error is text for a person and JSON for programs, with failures in the same form."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from watchmove.service.runner.logs import configure_logs

EMPTY = ("plan", "--run", "r", "--set", "videos=file:///PLACE/videos", "--set", "store=file:///PLACE/store")


def errors_of(place: Path, *arguments: str, **environment: str) -> list[str]:
    """The lines on standard error of a plan of a folder without videos."""
    line = [sys.executable, "-m", "watchmove", *arguments, *(word.replace("/PLACE", str(place)) for word in EMPTY)]
    named = {key: value for key, value in os.environ.items() if key not in ("WATCHMOVE_LOG", "KUBERNETES_SERVICE_HOST")}
    done = subprocess.run(line, capture_output=True, text=True, env=named | environment, check=False)

    assert done.returncode == 65
    return done.stderr.splitlines()


def test_addresses_in_lists_lose_their_passwords_too(capsys: pytest.CaptureFixture[str]) -> None:
    """As the malformed rows of a list of videos."""
    before = structlog.get_config()
    try:
        configure_logs("json")
        structlog.get_logger().warning("malformed rows", count=1, first=["line 2: s3://KEY:SECRET@bucket/.."])
    finally:
        structlog.configure(**before)
    row = json.loads(capsys.readouterr().err)

    assert (row["count"], row["first"]) == (1, ["line 2: s3://…@bucket/.."])


def test_a_person_who_pipes_reads_text(tmp_path: Path) -> None:
    """One line with the ending and the reason, without colours."""
    (line,) = errors_of(tmp_path)

    assert line.startswith("watchmove: invalid input: videos ")
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--log", "json"), {}), ((), {"WATCHMOVE_LOG": "json"}), ((), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})],
    ids=["option", "variable", "pod"],
)
def test_a_failure_is_json_where_logs_are(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    """The option, its variable, and a pod's environment ask for it; before it is the line of the step's end."""
    step, row = map(json.loads, errors_of(tmp_path, *arguments, **environment))

    assert (step["event"], step["step"], step["run"], step["ending"]) == ("step", "plan", "r", "invalid input")

    assert (row["event"], row["level"], row["ending"], row["exit_code"]) == ("failed", "error", "invalid input", 65)
    assert row["reason"].startswith("videos ")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("extract",), r"watchmove extract: Missing option '--run'"),
        (("extrac", "--run", "r"), r"watchmove: No such command 'extrac'"),
        (("bench", "mask"), r"watchmove bench: No such command 'mask'"),
    ],
)
def test_arguments_that_cannot_be_parsed_are_json_too(arguments: tuple[str, ...], reason: str) -> None:
    """Also where no step has begun yet; a person reads how the command is used."""
    line = [sys.executable, "-m", "watchmove", "--log"]
    done = subprocess.run([*line, "json", *arguments], capture_output=True, text=True, check=False)
    row = json.loads(done.stderr)

    assert (done.returncode, row["event"], row["ending"], row["exit_code"]) == (65, "failed", "invalid input", 65)
    assert re.match(reason, row["reason"].replace("python -m watchmove", "watchmove"))
    done = subprocess.run([*line, "text", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("Usage: ")) == (65, True)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_lines_have_colours_only_where_a_terminal_takes_them(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal that can show them, unless `NO_COLOR` is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    seen, terminal = os.openpty()
    with os.fdopen(seen, "rb"), os.fdopen(terminal, "w") as file, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", file)
        configure_logs("text")
        structlog.get_logger().warning("a line", value=1)
        file.flush()
        line = os.read(seen, 4096)

    assert b"a line" in line
    assert (b"\x1b" in line) is expected


def test_text_can_be_asked_for_in_a_pod(tmp_path: Path) -> None:
    """The option is stronger than the place."""
    (line,) = errors_of(tmp_path, "--log", "text", KUBERNETES_SERVICE_HOST="10.0.0.1")

    assert line.startswith("watchmove: ")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_has_the_password_of_an_address(tmp_path: Path, form: str) -> None:
    """Neither a failure nor a log line, whatever library made the message."""
    program = (
        "import structlog; from watchmove.service.runner.exit_codes import UNAVAILABLE\n"
        "from watchmove.service.runner.logs import configure_logs, log_failure\n"
        f"configure_logs('{form}')\n"
        "structlog.get_logger().info('progress', facts='http://me:WORD@host/a')\n"
        "log_failure(UNAVAILABLE, 'cannot reach http://me:WORD@host/b', 'trace of http://me:WORD@host/c')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ
    )

    assert "WORD" not in done.stderr
    assert all(f"@host/{part}" in done.stderr for part in "abc")
