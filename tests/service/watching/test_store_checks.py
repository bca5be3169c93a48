"""The checks of the store, on folders, on moto, and on a server whose answers a test replaces."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.store.answering_server import (
    Answer,
    AnsweringServer,
    Request,
    answering_server,
    environment_of,
    refusal,
)
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.store.store import Store
from watchmove.service.watching.checks import Check, State, raise_failures
from watchmove.service.watching.store_checks import store_checks, videos_check

NAMES = ["reachable", "write", "read", "list", "ranges", "conditional write", "clock", "remove"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringServer]:
    """An S3 server with the bucket `b`, without the SDK's own delays."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    server = AnsweringServer(objects={"p/runs/x": b"a record"})
    with answering_server(server) as url:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in environment_of(url).items():
            monkeypatch.setenv(name, value)
        yield server


def checked(uri: str) -> dict[str, Check]:
    """The checks of a store by what they check."""
    return {
        check.name.removeprefix("store: "): check for check in store_checks(load_settings(LAPTOP, [f"store={uri}"]))
    }


def test_a_store_that_works_passes_and_nothing_stays(store: Store) -> None:
    """A folder has no clock of its own, and moto keeps conditions."""
    store.write("runs/x", b"a record")
    checks = checked(store.uri)
    kind = State.OK if store.uri.startswith("s3://") else State.NOT_CHECKED

    assert list(checks) == NAMES
    assert {name: check.state for name, check in checks.items()} == dict.fromkeys(NAMES, State.OK) | {"clock": kind}
    assert [item.key for item in store.list()] == ["runs/x"]


def test_a_folder_that_did_not_exist_does_not_exist_afterwards(tmp_path: Path) -> None:
    """Folders that others have made stay."""
    (tmp_path / "a").mkdir()
    checks = checked(f"file://{tmp_path}/a/b/store")

    assert checks["remove"].state is State.OK
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_a_store_that_ignores_conditional_writes_is_named(server: AnsweringServer) -> None:
    """The warning says what is unsafe there."""
    server.keeps_conditions = False
    check = checked("s3://b/p")["conditional write"]

    assert check.state is State.WARNING
    assert "silently ignores conditions" in check.finding
    assert "Start no two runs of one name" in check.remedy
    assert server.objects == {"p/runs/x": b"a record"}


def test_a_store_that_refuses_conditional_writes_is_named(server: AnsweringServer) -> None:
    """It is no failure: records are then checked and written."""
    server.replace = lambda request: refusal(501, "NotImplemented") if "if-none-match" in request.headers else None
    check = checked("s3://b/p")["conditional write"]

    assert check.state is State.WARNING
    assert "refuses conditional writes" in check.finding


def test_a_store_without_ranges_is_named(server: AnsweringServer) -> None:
    """The object is small enough to be read all the same, so that only the status shows it."""
    server.serves_ranges = False
    check = checked("s3://b/p")["ranges"]

    assert check.state is State.WARNING
    assert "128 MiB" in check.remedy


@pytest.mark.usefixtures("server")
def test_a_store_that_cannot_be_reached_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is checked, and the command ends with 75."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    checks = checked("s3://b/p")

    assert list(checks) == NAMES
    assert (checks["reachable"].state, checks["reachable"].may_pass) == (State.FAILED, True)
    assert {checks[name].state for name in NAMES[1:]} == {State.NOT_CHECKED}
    with pytest.raises(Unavailable, match="store: reachable"):
        raise_failures(checks.values())


@pytest.mark.usefixtures("server")
def test_a_password_in_the_endpoint_must_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not printed, and the command ends with 65."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://me:hidden-word@127.0.0.1:1")
    checks = checked("s3://b/p")

    assert (checks["reachable"].state, checks["reachable"].may_pass) == (State.FAILED, False)
    assert "a user or a password" in checks["reachable"].finding
    assert "hidden-word" not in repr(checks)
    with pytest.raises(InvalidInput, match="store: reachable"):
        raise_failures(checks.values())


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_that_is_absent_must_be_made() -> None:
    """That is no outage."""
    checks = checked("s3://no-such-bucket/p")

    assert "there is no bucket 'no-such-bucket'" in checks["reachable"].finding
    assert checks["reachable"].remedy == "Make it or correct the URI."
    with pytest.raises(InvalidInput):
        raise_failures(checks.values())


def refusing(method: str) -> Callable[[Request], Answer | None]:
    """Answers for a role that lacks one right; the answer repeats what was sent."""

    def replace(request: Request) -> Answer | None:
        said = request.headers.get("authorization", "").encode()
        answer = Answer(403, {}, refusal(403, "AccessDenied").body.replace(b"no", said))
        return answer if request.method == method else None

    return replace


def test_a_role_that_may_not_write_fails(server: AnsweringServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a write is not checked, the remedy is the right, and no secret is in any line."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hidden-token")
    server.replace = refusing("PUT")
    checks = checked("s3://b/p")

    assert (checks["reachable"].state, checks["write"].state) == (State.OK, State.FAILED)
    assert checks["write"].remedy == "Grant the credentials this right."
    assert {checks[name].state for name in NAMES[2:]} == {State.NOT_CHECKED}
    assert "hidden" not in repr(checks)
    with pytest.raises(InvalidInput, match="store: write"):
        raise_failures(checks.values())


def test_a_role_that_may_not_delete_is_a_warning(server: AnsweringServer) -> None:
    """Only checkpoints are removed by steps; what the checks have left is named."""
    server.replace = refusing("DELETE")
    check = checked("s3://b/p")["remove"]
    left = sorted(server.objects)[:2]

    assert check.state is State.WARNING
    assert left[0].removeprefix("p/").removesuffix("created") in check.finding
    assert all(key.startswith("p/doctor/") for key in left)


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(0, State.OK), (-300, State.WARNING), (3600, State.FAILED)],
)
def test_the_clock_is_compared_with_the_stores(server: AnsweringServer, seconds: int, state: State) -> None:
    """Beyond 15 minutes S3 refuses requests."""
    server.seconds_ahead = seconds

    assert checked("s3://b/p")["clock"].state is state


def test_the_clock_is_known_from_a_refusal_too(server: AnsweringServer) -> None:
    """A store that refuses every request for its time is the one where the clock matters."""
    server.seconds_ahead = 3600
    server.replace = lambda _: refusal(403, "RequestTimeTooSkewed")
    checks = checked("s3://b/p")

    assert checks["reachable"].state is checks["clock"].state is State.FAILED
    assert "behind the store's" in checks["clock"].finding
    assert "NTP" in checks["clock"].remedy


def test_damage_on_the_way_is_found(server: AnsweringServer) -> None:
    """A cache that answers with other bytes, and a listing without the new object."""
    stale = Answer(200, {"ETag": '"x"'}, b"stale")
    server.replace = lambda request: stale if request.method == "GET" and request.key else None
    read = checked("s3://b/p")["read"]
    empty = Answer(200, {}, b"<ListBucketResult></ListBucketResult>")
    server.replace = lambda request: empty if not request.key else None
    listed = checked("s3://b/p")["list"]

    assert (read.state, listed.state) == (State.FAILED, State.FAILED)
    assert "not what was written" in read.finding
    assert "not listed" in listed.finding


def test_a_store_in_a_place_that_cannot_be_one_fails(tmp_path: Path) -> None:
    """A file where a folder must be, and a name that is too long."""
    (tmp_path / "file").write_bytes(b"x")
    on_a_file, too_long = checked(f"file://{tmp_path}/file/store"), checked(f"file://{tmp_path}/{'x' * 300}")

    assert on_a_file["write"].state is State.FAILED
    assert too_long["reachable"].state is State.FAILED
    assert not too_long["reachable"].may_pass


def test_videos_are_listed_and_read(server: AnsweringServer, tmp_path: Path) -> None:
    """An empty folder is no fault, one refused video is a warning, and a list of videos is read by `plan`."""
    server.objects = {"v/a.mp4": bytes(5000)}
    settings = load_settings(LAPTOP, ["videos=s3://b/v"])
    good = videos_check(settings)
    server.replace = lambda request: refusal(403, "AccessDenied") if request.key else None
    refused = videos_check(settings)
    absent = videos_check(load_settings(LAPTOP, [f"videos=file://{tmp_path}/absent"]))
    listed = videos_check(load_settings(LAPTOP, ["plan.manifest=s3://b/list.csv"]))

    assert [check.state for check in (good, refused)] == [State.OK, State.WARNING]
    assert [check.state for check in (absent, listed)] == [State.NOT_CHECKED] * 2


@pytest.mark.usefixtures("server")
def test_absent_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the remedy names the variables."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    check = checked("s3://b/p")["reachable"]

    assert check.state is State.FAILED
    assert "AWS_ACCESS_KEY_ID" in check.remedy
