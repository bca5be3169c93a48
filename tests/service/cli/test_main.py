"""Bad input on the command line: one clear line and an exit code of the table."""

import os
import resource
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from watchmove.service.cli.command_groups import GROUPS
from watchmove.service.cli.main import app
from watchmove.service.cli.options import as_uri, override
from watchmove.service.settings.loading import LAPTOP, load_settings


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A finished `watchmove` command."""
    return subprocess.run(
        [sys.executable, "-m", "watchmove", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "no detection set there"),
        (["plan", "--run", "x", "--set", "videos=file://EMPTY"], "no video there"),
        (["import-coco", "--run", "x", "--images", "EMPTY/#1: a", "--annotations", "EMPTY/absent"], "no such folder"),
        (["import-coco", "--run", "x", "--images", "EMPTY", "--annotations", "EMPTY/absent"], "cannot be read"),
        (["run", "--set", "pretrain.iteration=3"], "pretrain.iteration is no setting"),
        (["run", "--settings", "EMPTY/absent.yaml"], "cannot be read"),
        (["gather", "--run", "../x"], "a run's name"),
        (["extract", "--run", "x"], "--shard"),
        (["plan", "--run", "x", "--licences", "fun"], "plan.licences"),
        (["extract", "--run", "x", "--shard", "1_0"], "not a whole number: '1_0'"),
        (["extract", "--run", "x", "--shard", "3-"], "not a whole number: '3-'"),
        (["extract", "--run", "x", "--shard", "5-3"], "5-3: the last shard is before the first"),
        (["evaluate", "--run", "x", "--evaluation", "１"], "not a whole number: '１'"),
        (["score", "--voc", "EMPTY", "--detections", "EMPTY", "--iou", "nan"], "nan is not from 0 to 1"),
        (["report", "--run", "x", "--folder", __file__], "test_main.py: could not be written"),
        (["walk"], "walk"),
        (["score", "--voc", "EMPTY", "--detections", "EMPTY"], "EMPTY"),
        (["exporter"], "work.metrics_port"),
        (["submit", "-p", "novalue"], "NAME=VALUE"),
    ],
)
def test_bad_input_exits_65_with_a_line(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """The last line names the mistake, and no trace is printed."""
    empty = tmp_path / "empty"
    empty.mkdir()
    places = ["--store", str(tmp_path / "store"), "--voc", str(empty)] if arguments[0] == "run" else []
    done = run(*(word.replace("EMPTY", str(empty)) for word in arguments), *places)

    assert done.returncode == 65
    assert expected.replace("EMPTY", str(empty)) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["watchmove", "plan", "--run", "x"],
        ["watchmove", "evaluate", "--run", "x", "--evaluation", "0"],
        ["watchmove.service.launch", "--standalone", "--nproc-per-node", "1", "--", "pretrain", "--run", "x"],
    ],
)
def test_a_full_disk_of_temporary_files_is_retried(words: list[str]) -> None:
    """At the start of a step too, and while libraries load, where `tempfile` finds no directory to write to."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),  # no file can grow, as on a full disk
    )

    assert done.returncode == 75
    assert "unavailable, retry later: [Errno 2] No usable temporary directory" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_has_escapes_for_what_its_encoding_lacks(tmp_path: Path, encoding: str) -> None:
    """A terminal of another encoding, or a name that is not UTF-8, is no error of the program."""
    name = os.fsdecode(b"M\xfcnchen")
    lines = [("runs", "--store", "out…"), ("segment", name, "--out", "masks")]
    listed, refused = [
        subprocess.run(
            [sys.executable, "-m", "watchmove", *line],
            env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        for line in lines
    ]

    assert (listed.returncode, listed.stderr) == (0, b"")
    assert (b"out\\u2026" if encoding != "utf-8" else "out…".encode()) in listed.stdout
    assert refused.returncode == 65
    assert refused.stderr.startswith(b"watchmove: invalid input: M")
    assert refused.stderr.count(b"\n") == 1


def test_a_closed_pipe_ends_output_without_an_error() -> None:
    """`watchmove settings | head -1` ends without a trace and without a failure."""
    words = [sys.executable, "-m", "watchmove", "settings", "--reference"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as printing:
        assert printing.stdout is not None
        printing.stdout.close()
        _, said = printing.communicate(timeout=60)

    assert (printing.returncode, said) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_named() -> None:
    """Less than a buffer of output is refused at the end, more of it in between; either way, once."""
    expected = "watchmove: unavailable, retry later: No space left on device, for standard output"
    for words in (["settings"], ["settings", "--reference"]):
        with Path("/dev/full").open("w") as full:
            line = [sys.executable, "-m", "watchmove", *words]
            ended = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

        assert ended.returncode == 75
        assert ended.stderr.startswith(expected)
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["clips #2", "a: b", "[x]", "'", "é 🎬"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Characters that YAML reads as a comment or a key remain part of the name."""
    folder = tmp_path / name
    word = override("videos", as_uri(str(folder)))

    assert load_settings(LAPTOP, [word]).videos == f"file://{folder}"


@pytest.mark.parametrize(("local_rank", "expected"), [("0", "metrics port"), ("1", "run `watchmove gather` first")])
def test_the_first_rank_of_each_machine_serves_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_rank: str, expected: str
) -> None:
    """Of the ranks on a machine only the first opens the metrics port, so only it fails when the port is in use."""
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--set", f"work.metrics_port={port}", "--set", f"store=file://{tmp_path}"]
        done = run("pretrain", "--run", "x", *words)

    assert done.returncode == 65
    assert expected in done.stderr.splitlines()[-1]


def test_the_commands_load_no_network_before_one_needs_it() -> None:
    """PyTorch's libraries take seconds, and the address space of a video's process, which loads what its parent has."""
    line = "import sys, watchmove.service.cli.main; print(sorted({'torch', 'matplotlib'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_completion_makes_no_folder(tmp_path: Path) -> None:
    """A shell parses the words so far, among them the folder of a report that may never be made."""
    words = {"_WATCHMOVE_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    words["COMP_WORDS"] = f"watchmove report --folder {tmp_path}/new --si"
    done = subprocess.run(
        [Path(sys.executable).with_name("watchmove")],
        env=os.environ | words,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["--single-file"]
    assert not (tmp_path / "new").exists()


def test_help_lists_the_commands() -> None:
    """The help of the program lists every step and every tool."""
    done = run("--help")

    assert done.returncode == 0
    for name in ("plan", "extract", "gather", "pretrain", "evaluate", "report", "run", "status", "retry", "results"):
        assert name in done.stdout
    for name in ("segment", "bench", "score", "export", "exporter", "submit", "settings", "claims", "runs", "videos"):
        assert name in done.stdout


def test_the_help_has_every_command_once() -> None:
    """Each command is below one heading of the help, and no heading names a command that does not exist."""
    grouped = [name for names in GROUPS.values() for name in names]

    program = get_command(app)
    assert isinstance(program, TyperGroup)
    assert sorted(grouped) == sorted(program.commands)


def test_version_is_that_of_the_distribution() -> None:
    """`watchmove --version` prints the installed version."""
    done = run("--version")

    assert (done.returncode, done.stdout) == (0, f"watchmove {version('watchmove')}\n")
