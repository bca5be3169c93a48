"""`watchmove doctor`: its table, its JSON and its exit code."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from watchmove.service.cli.doctor import print_checks
from watchmove.service.cli.main import app
from watchmove.service.watching.checks import failed, not_checked, ok, warning

CHECKS = [
    ok("python", "Python 3.12.1"),
    warning("codecs", "videos of these codecs end as unreadable: AV1", "Install an ffmpeg with these decoders."),
    failed("store: write", "s3://b/p: writing x: the store answered AccessDenied", "grant the credentials this right"),
    not_checked("cluster", "no kubeconfig"),
]


def test_the_table_fits_40_columns() -> None:
    """No line is longer, and every word of every check is there."""
    out = io.StringIO()
    print_checks(CHECKS, Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    printed = "".join(line.strip("│ ").rpartition("│")[2] for line in lines).replace(" ", "")

    assert max(len(line) for line in lines) <= 40
    for check in CHECKS:
        assert check.state in out.getvalue()
        for text in (check.name, check.finding, check.remedy):
            assert text.replace(" ", "") in printed


def test_brackets_of_a_finding_are_no_markup() -> None:
    """A path or an answer may have what rich reads as a style."""
    out = io.StringIO()
    print_checks([ok("[bold]x", "a[/] [red]b")], Console(file=out, width=80))

    assert "[bold]x" in out.getvalue()
    assert "a[/] [red]b" in out.getvalue()


def test_json_has_every_check_and_a_failure_exits_65(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line on standard error names the checks that failed; no cluster is asked without a kubeconfig."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    words = ["--set", f"work.scratch={tmp_path}/absent", "--set", f"store=file://{tmp_path}/store"]
    done = CliRunner().invoke(app, ["doctor", "--json", *words])
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    assert done.exit_code == 65
    assert checks["scratch space"]["state"] == "failed"
    assert checks["python"]["state"] == checks["store: conditional write"]["state"] == "ok"
    assert checks["cluster"] == {
        "name": "cluster",
        "state": "not checked",
        "finding": "no kubeconfig",
        "remedy": "",
        "may_pass": False,
    }
    assert "GPU" in checks
    assert "scratch space" in done.stderr.splitlines()[-1]


def test_wrong_settings_exit_65_with_one_line() -> None:
    """As for every command that reads settings."""
    done = CliRunner().invoke(app, ["doctor", "--set", "work.worker=3"])

    assert done.exit_code == 65
    assert "work.worker is no setting" in done.stderr.splitlines()[-1]
