"""Answers that are not Kubernetes' own, and what a user configures wrongly, for all commands of a cluster."""

import base64
import json
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from kubernetes.client import Configuration
from typer.testing import CliRunner, Result
from urllib3.exceptions import InsecureRequestWarning

from tests.service.cluster.argo_cluster import ArgoCluster
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.main import app
from watchmove.service.cluster.api_errors import configure_retries
from watchmove.service.cluster.kubernetes_api import kubernetes_client
from watchmove.service.watching.cluster_checks import cluster_checks

COMMANDS = (("watch",), ("watch", "x"), ("submit",), ("logs", "x"), ("stop", "x"), ("resubmit", "x"))
NO_DOCUMENT = (b"<html>Sign in\n</html>", b"", b"null", b"[]", b'"x"', b"{}", b'{"metadata": {}}', b'{"a": "\xff"}')


class Proxy:
    """A server that answers every request alike."""

    def __init__(self) -> None:
        self.code, self.headers, self.body = 200, {"Content-Type": "text/html"}, b""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(proxy.code)
                for name, value in {**proxy.headers, "Content-Length": str(len(proxy.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(proxy.body)

            do_POST = do_PUT = do_PATCH = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Suppress the log of requests."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


def _kubeconfig(path: Path, server: Any, **user: Any) -> Path:
    """Write a kubeconfig with one context."""
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(params=["kubernetes", "argo-server"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in place of the server that the environment names."""
    proxy = Proxy()
    if request.param == "kubernetes":
        monkeypatch.delenv("ARGO_SERVER", raising=False)
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path / "k", f"http://{proxy.address}", token="t")))
    else:
        monkeypatch.setenv("ARGO_SERVER", proxy.address)
        monkeypatch.setenv("ARGO_SECURE", "false")
    yield proxy
    proxy.server.shutdown()
    proxy.server.server_close()


def _done(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "-n", "science"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_answer_that_is_no_document_is_one_line(proxy: Proxy, command: tuple[str, ...]) -> None:
    """A proxy answers with its own page, and with success; nothing is read from what is no object of Kubernetes."""
    for proxy.body in NO_DOCUMENT:
        done = _done(*command)

        assert done.exit_code == 65, (proxy.body, done.output)
        assert "no document of Kubernetes" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"{}"])
def test_doctor_says_that_an_answer_is_no_document(
    body: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The check of the version fails, and the others are not made."""
    proxy = Proxy()
    proxy.body = body
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path / "k", f"http://{proxy.address}", token="t")))
    first, *others = cluster_checks("science")
    proxy.server.shutdown()
    proxy.server.server_close()

    assert (first.state, {one.state for one in others}) == ("failed", {"not checked"})
    assert "no document of Kubernetes" in first.finding


@pytest.mark.parametrize("code", [429, 503])
def test_a_server_that_asks_to_come_back_is_not_waited_for(proxy: Proxy, code: int) -> None:
    """The client packages would sleep for as long as the answer asks, here an hour, without a word."""
    proxy.code, proxy.headers = code, {"Retry-After": "3600"}
    proxy.body = json.dumps({"message": "slow down"}).encode()
    began = time.monotonic()
    done = _done("stop", "x")

    assert done.exit_code == 75
    assert f"{code} slow down; try again" in done.stderr
    assert time.monotonic() - began < 600


@pytest.mark.parametrize(
    ("message", "shown"),
    [(None, "403 Forbidden; "), ("a\nb\x1b[2Jc", "403 a b?[2Jc; "), ("x" * 9999, f"403 {'x' * 2000}…; ")],
)
def test_a_servers_message_is_a_printable_line(proxy: Proxy, message: str | None, shown: str) -> None:
    """It may come from a webhook, with any letters."""
    proxy.code, proxy.body = 403, json.dumps({"message": message}).encode()

    assert shown in _done("watch", "x").stderr


def test_a_kind_that_is_not_there_is_told_from_an_object(proxy: Proxy) -> None:
    """Without Argo, Kubernetes answers as to any other wrong path; the advice to check a name would not fit."""
    proxy.code, proxy.body = 404, b"404 page not found\n"
    done = _done("watch")

    assert done.exit_code == 65
    assert "check that Argo Workflows is installed there, or the address" in done.stderr


def test_what_is_gone_may_be_there_at_another_try(cluster: ArgoCluster) -> None:
    """Kubernetes answers with 410 where it has forgotten the version that was asked for."""
    cluster.refusals = [410]

    assert _done("watch", "x").exit_code == 75


@pytest.mark.parametrize("token", ["Bearer a\nb", "Bearer “a”—b"])
@pytest.mark.parametrize("server", ["kubernetes", "argo"])
def test_a_token_that_cannot_be_sent_is_not_shown(
    token: str, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The libraries quote the header that they refuse."""
    address = Proxy().address
    if server == "argo":
        monkeypatch.setenv("ARGO_SERVER", address)
        monkeypatch.setenv("ARGO_SECURE", "false")
        monkeypatch.setenv("ARGO_TOKEN", token)
    else:
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path / "k", f"http://{address}", token=token)))
    done = _done("watch", "x")

    assert done.exit_code == 65
    assert "the token cannot be sent" in done.stderr
    assert "Bearer" not in done.stderr


@pytest.mark.parametrize("server", ["https://argo.example:2746", "x:abc", "[::1", "host name:1"])
def test_an_address_that_is_none_is_no_outage(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another try fails in the same way."""
    monkeypatch.setenv("ARGO_SERVER", server)
    done = _done("watch", "x")

    assert done.exit_code == 65
    assert "ARGO_SERVER" in done.stderr


@pytest.mark.parametrize("text", [b"hello", b"5", b"- a\n- b\n", b"<html>\n", bytes(range(256)), b"a: [b\n", b""])
def test_a_file_that_is_no_kubeconfig_is_one_line(text: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the file has, it is no error of the program."""
    (tmp_path / "k").write_bytes(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "k"))
    done = _done("watch", "x")

    assert done.exit_code == 65
    assert "set KUBECONFIG, or ARGO_SERVER and ARGO_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_kubeconfig_of_other_types_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that is a number, and an identity that no version of the client package knows any more."""
    number = _kubeconfig(tmp_path / "a", 5, token="t")
    plugin = _kubeconfig(tmp_path / "b", "http://127.0.0.1:1", **{"auth-provider": {"name": "gcp"}})
    for path in (number, plugin):
        monkeypatch.setenv("KUBECONFIG", str(path))

        with pytest.raises(InvalidInput, match=f"{path} is not of the form of a kubeconfig"):
            kubernetes_client()


@pytest.mark.parametrize(
    ("command", "args", "said"),
    [
        ("/no/such-plugin", [], "No such file"),
        ("sh", ["-c", "echo signed out >&2; exit 3"], "signed out"),
        ("echo", ["<html>"], "failed to decode"),
    ],
)
def test_a_program_that_gives_no_credentials_ends_the_command(
    command: str, args: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without credentials the request would be refused as that of an anonymous user, with advice that does not fit."""
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args}
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path / "k", "http://127.0.0.1:1", exec=program)))

    with pytest.raises(InvalidInput, match=f"no credentials for http://127.0.0.1:1: .*{said}"):
        kubernetes_client()


def test_an_empty_kubeconfig_variable_names_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As for kubectl, the file in the home folder is read."""
    from kubernetes.config import kube_config

    path = _kubeconfig(tmp_path / "k", "http://127.0.0.1:1", token="t")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.setenv("KUBECONFIG", "")

    assert kubernetes_client().configuration.host == "http://127.0.0.1:1"


def test_a_certificate_that_is_none_has_advice_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The network is not what is wrong."""
    path = _kubeconfig(tmp_path / "k", f"https://{Proxy().address}", token="t")
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"none").decode()
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(path))

    assert "check the certificates in KUBECONFIG" in _done("watch", "x").stderr


def test_a_certificate_that_is_not_to_be_checked_is_no_warning() -> None:
    """As with kubectl: the user has said so, and lines of `--log json` are JSON."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        configure_retries(Configuration())
        warnings.warn("unverified", InsecureRequestWarning, stacklevel=1)

    assert not said
