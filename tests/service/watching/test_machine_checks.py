"""The checks of the machine find what is missing, and say what would fix it."""

import resource
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.watching.checks import Check, State, failed, failed_by, ok, raise_failures, warning
from watchmove.service.watching.machine_checks import (
    address_space_check,
    libraries_check,
    machine_checks,
    memory_bytes,
    memory_check,
    scratch_check,
    version_checks,
)

GIBIBYTE = 2**30


def test_this_machine_passes() -> None:
    """The machine of the tests has what the project needs."""
    checks = {check.name: check.state for check in machine_checks(load_settings(LAPTOP))}

    assert list(checks) == ["python", "libraries", "cores", "memory", "address space", "scratch space"]
    assert {checks[name] for name in ("python", "libraries", "cores")} == {State.OK}


def test_missing_and_old_libraries_are_named() -> None:
    """Only a library whose version is permitted, or that this platform does not need, is no fault."""
    words = ["no-such-library>=1", "numpy>=99", "rich>=14", "other-library; sys_platform == 'never'"]
    check = libraries_check([Requirement(word) for word in words])

    assert check.state is State.FAILED
    assert "no-such-library is not installed, numpy " in check.finding
    assert check.finding.endswith("is installed, >=99 is required")
    assert "requirements.txt" in check.remedy


def test_the_slim_image_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without all that it does without, there is a warning; without one of them, something is missing."""
    place = "watchmove.service.watching.machine_checks.NOT_IN_SLIM_IMAGE"
    monkeypatch.setattr(place, {"no-such-library", "nor-this-one"})
    one = libraries_check([Requirement("no-such-library>=1"), Requirement("rich>=14")])
    both = libraries_check([Requirement("no-such-library>=1"), Requirement("nor-this-one"), Requirement("rich>=14")])

    assert one.state is State.FAILED
    assert both.state is State.WARNING
    assert "no-such-library, nor-this-one are not installed" in both.finding


def test_a_package_that_is_not_installed_has_no_requirements() -> None:
    """A source tree without metadata gives no false alarm."""
    checks = list(version_checks("no-such-package"))

    assert [check.state for check in checks] == [State.NOT_CHECKED] * 2


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [("memory.max", "1048576", 2**20), ("memory/memory.limit_in_bytes", "2097152", 2**21), ("memory.max", "max", 0)],
)
def test_memory_is_bounded_by_the_control_group(tmp_path: Path, file: str, text: str, expected: int) -> None:
    """In a pod its limit counts and not the node's memory, under both versions of control groups."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"{text}\n")

    assert memory_bytes(tmp_path) == (expected or memory_bytes(tmp_path / "absent"))


def test_scarce_memory_disk_and_address_space_are_warnings() -> None:
    """Small videos still work there, so that nothing fails."""
    settings = load_settings(LAPTOP, ["work.workers=4", "work.scratch_mebibytes=3072"])
    scarce = [
        memory_check(settings, GIBIBYTE),
        address_space_check(settings, GIBIBYTE),
        scratch_check(settings, "/tmp", 4 * GIBIBYTE),
    ]
    ample = [
        memory_check(settings, 64 * GIBIBYTE),
        address_space_check(settings, resource.RLIM_INFINITY),
        scratch_check(settings, "/tmp", 64 * GIBIBYTE),
    ]

    assert [check.state for check in scarce] == [State.WARNING] * 3
    assert all(check.remedy for check in scarce)
    assert "work.training_cache_mebibytes = 16384" in scarce[2].finding
    assert "work.scratch_mebibytes" not in scarce[2].finding
    assert [check.state for check in ample] == [State.OK] * 3


def test_more_workers_than_cores_and_an_absent_scratch_folder_are_found(tmp_path: Path) -> None:
    """Both are settings that do not fit the machine."""
    settings = load_settings(LAPTOP, ["work.workers=1000", f"work.scratch={tmp_path}/absent"])
    checks = {check.name: check for check in machine_checks(settings)}

    assert checks["cores"].state is State.WARNING
    assert checks["scratch space"].state is State.FAILED
    assert f"{tmp_path}/absent" in checks["scratch space"].finding
    assert checks["scratch space"].remedy == "Name a folder that can be written to."


def test_what_must_be_changed_decides_over_what_may_pass() -> None:
    """A warning ends nothing; an outage alone may pass; with another failure it does not."""
    change, outage = failed_by("a", InvalidInput("x: y; do z")), failed_by("b", Unavailable("x: y; wait"))
    raise_failures([ok("c", "x"), warning("d", "x", "y")])

    with pytest.raises(Unavailable, match="failed: b;"):
        raise_failures([outage])
    with pytest.raises(InvalidInput, match=r"failed: b, a; .*: a$"):
        raise_failures([outage, change])
    assert (change.finding, change.remedy) == ("x: y", "Do z.")


def test_no_secret_and_no_control_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server repeats: values of credentials, a password in a URL, codes that change the terminal."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-key")
    monkeypatch.setenv("ARGO_TOKEN", "Bearer hidden-token")
    check: Check = failed(
        "x", "hidden-key at\nhttp://me:hidden-word@host/ \x1b[31m", "send Bearer hidden-token, or hidden-token"
    )

    assert check.finding == "*** at http://***@host/ ?[31m"
    assert check.remedy == "send ***, or ***"
