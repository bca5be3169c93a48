"""What a process fetches from S3, and the requests that it makes again, are counted by cause."""

import threading
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
from watchmove.pipeline.errors import Unavailable
from watchmove.service.runner.process_metrics import ProcessMetrics
from watchmove.service.store import ranged_download
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store
from watchmove.service.store.traffic import TRAFFIC

DATA = bytes(range(256)) * 400
"""Content of an object, 100 KiB."""
CUT = Answer(200, {"Content-Length": str(len(DATA)), "ETag": '"e"'}, DATA[:1000])
"""An answer whose body breaks off."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringServer]:
    """A server that the SDK's environment names, without delays before repeated requests."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(ranged_download, "_FIRST_DELAY_SECONDS", 0.0)
    server = AnsweringServer()
    server.objects = {"p/k": DATA}
    with answering_server(server) as url:
        for name, value in environment_of(url).items():
            monkeypatch.setenv(name, value)
        yield server


def counted(work: Callable[[], object]) -> dict[str, int]:
    """The counts that a piece of work adds, without those that it leaves."""
    before, bytes_before = TRAFFIC.retries(), TRAFFIC.fetched_bytes
    work()
    added = {cause.value: count - before[cause] for cause, count in TRAFFIC.retries().items()}
    return {name: count for name, count in (added | {"bytes": TRAFFIC.fetched_bytes - bytes_before}).items() if count}


def fails(server: AnsweringServer, *answers: Answer, method: str = "GET") -> None:
    """Give these answers to the next requests of a method, and true ones afterwards."""
    left = list(answers)

    def replace(request: Request) -> Answer | None:
        return left.pop(0) if left and request.method == method else None

    server.replace = replace


def fetch(store: Store, folder: Path) -> None:
    """Fetch the object to a file."""
    item = store.head("k")
    assert item is not None
    assert store.fetch(item, folder / "fetched", threading.Event()) is not None


@pytest.mark.parametrize("call", ["read", "fetch"])
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (refusal(503, "SlowDown"), "throttled"),
        (Answer(429, {}, b""), "throttled"),
        (refusal(500, "InternalError"), "server-error"),
        (Answer(502, {}, b"<html>a proxy's page</html>"), "server-error"),
    ],
    ids=["SlowDown", "429", "InternalError", "502"],
)
def test_an_answer_that_is_asked_for_again(
    server: AnsweringServer, tmp_path: Path, call: str, answer: Answer, cause: str
) -> None:
    """Single requests, which the SDK repeats, and ranges, which are repeated here, count alike."""
    if call == "read" and answer.status == 429:
        answer = refusal(429, "TooManyRequests")
    store = open_store("s3://b/p")
    fails(server, answer, answer)
    found = counted(lambda: store.read("k") if call == "read" else fetch(store, tmp_path))

    assert found == {cause: 2, "bytes": len(DATA)}


def test_a_body_that_breaks_off(server: AnsweringServer) -> None:
    """A single request whose body is cut is made again."""
    store = open_store("s3://b/p")
    fails(server, CUT)

    assert counted(lambda: store.read("k")) == {"connection": 1, "bytes": len(DATA)}


def test_what_is_not_asked_for_again_counts_nothing(server: AnsweringServer) -> None:
    """An object that is absent is no retry; of six attempts that all fail, five are."""
    store = open_store("s3://b/p")
    absent = counted(lambda: store.read("other"))
    fails(server, *[refusal(503, "SlowDown")] * 6)

    def read_in_vain() -> None:
        with pytest.raises(Unavailable):
            store.read("k")

    assert absent == {}
    assert counted(read_in_vain) == {"throttled": 5}


def test_each_cause_has_a_counter(server: AnsweringServer) -> None:
    """A process serves the counts, those that are zero too."""
    registry = ProcessMetrics().registry

    def sample(name: str, **labels: str) -> float:
        value = registry.get_sample_value(name, labels)
        assert value is not None
        return value

    def samples() -> list[float]:
        causes = [sample("watchmove_process_store_retries_total", cause=cause.value) for cause in TRAFFIC.retries()]
        return [sample("watchmove_process_fetched_bytes_total"), *causes]

    before = samples()
    fails(server, refusal(500, "InternalError"))
    open_store("s3://b/p").read("k")
    grown = [now - then for now, then in zip(samples(), before, strict=True)]

    assert grown == [len(DATA), 0, 1, 0]
