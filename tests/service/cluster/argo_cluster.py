"""A small HTTP server with the requests of the Kubernetes API and of Argo's server that workflows need."""

import json
import re
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

TEMPLATE: dict[str, Any] = {
    "metadata": {"name": "watchmove", "annotations": None},
    "spec": {
        "entrypoint": "watchmove",
        "arguments": {
            "parameters": [
                {"name": "draw-world", "value": "false", "enum": ["true", "false"]},
                {"name": "nodes", "value": "1"},
                {"name": "run", "value": ""},
            ]
        },
    },
}
NAME = "watchmove-abcde"
_KUBERNETES = "/apis/argoproj.io/v1alpha1/namespaces/science"
_TEMPLATE_PATHS = {f"{_KUBERNETES}/workflowtemplates/watchmove", "/api/v1/workflow-templates/science/watchmove"}
_START_CODES = {f"{_KUBERNETES}/workflows": 201, "/api/v1/workflows/science": 200}
_WORKFLOW = re.compile(rf"(?:{_KUBERNETES}/workflows|/api/v1/workflows/science)/([\w-]+)(?:/stop|/resume)?")
_POD_LOG = re.compile(r"/api/v1/namespaces/science/pods/([\w-]+)/log")
_SERVER_LOG = re.compile(r"/api/v1/workflows/science/[\w-]+/log")

Answer = tuple[int, dict[str, Any] | Iterable[bytes]]


class ArgoCluster:
    """One namespace, `science`, with one template, `watchmove`.

    A workflow that is started has the name `watchmove-abcde` and goes through `statuses`, one at each look; `workflows`
    has all by name. Statuses in `refusals` are answered first, one at each request, with `sentence` as their message.
    `logs` has the lines of pods by name, or the status with which their log is refused. `requested` has all paths, and
    `patched` the type and the body of each change.
    """

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = [{"phase": "Succeeded", "progress": "1/1"}]
        self.workflows: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, Iterable[bytes] | int] = {}
        self.refusals: list[int] = []
        self.sentence = "not now"
        self.posted: list[dict[str, Any]] = []
        self.patched: list[tuple[str | None, dict[str, Any]]] = []
        self.requested: list[str] = []
        self.tokens: set[str | None] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop serving, so that the next connection is refused."""
        self._server.shutdown()
        self._server.server_close()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a file for KUBECONFIG that names this server."""
        contexts = [{"name": "here", "context": {"cluster": "here", "user": "me"}}]
        clusters = [{"name": "here", "cluster": {"server": f"http://{self.address}"}}]
        users = [{"name": "me", "user": {"token": "secret"}}]
        document = {"current-context": "here", "contexts": contexts, "clusters": clusters, "users": users}
        path.write_text(yaml.safe_dump(document))
        return path

    def add(self, name: str, status: dict[str, Any], minute: int = 0, **spec: Any) -> None:
        """Add a workflow that was created in this minute of an hour."""
        metadata = {"name": name, "creationTimestamp": f"2026-01-01T00:{minute:02}:00Z", "annotations": None}
        self.workflows[name] = {"metadata": metadata, "spec": spec, "status": status}

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """Status code and document, or lines of a log, for one request; a GET's body is its query."""
        if self.refusals:
            return self.refusals.pop(0), {"message": self.sentence}
        if method == "GET" and path in _TEMPLATE_PATHS:
            return 200, TEMPLATE
        if path in _START_CODES:
            return self._start(_START_CODES[path], body) if method == "POST" else (200, self._listed())
        if log := _POD_LOG.fullmatch(path):
            lines = self.logs.get(log[1], 404)
            return (lines, {"message": "no log"}) if isinstance(lines, int) else (200, lines)
        if _SERVER_LOG.fullmatch(path):
            lines = self.logs.get(body["podName"], [])
            return (lines, {"message": "no log"}) if isinstance(lines, int) else (200, _entries(lines))
        if (found := _WORKFLOW.fullmatch(path)) and found[1] in self.workflows:
            return 200, self._workflow(method, path, found[1], body)
        return 404, {"message": f"nothing at {path}"}

    def _start(self, code: int, body: dict[str, Any]) -> Answer:
        document = body.get("workflow", body)
        self.posted.append(document)
        self.add(NAME, {}, 59, **document["spec"])
        return code, self.workflows[NAME]

    def _listed(self) -> dict[str, Any]:
        return {"metadata": {}, "items": list(self.workflows.values())}

    def _workflow(self, method: str, path: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        document = self.workflows[name]
        if method in ("PATCH", "PUT"):
            document["spec"]["shutdown"] = "Stop"
            if "suspend" in body.get("spec", {}) or path.endswith("/resume"):
                document["spec"].pop("suspend", None)
        elif name == NAME:
            document["status"] = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return document

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve(dict(parse_qsl(urlsplit(self.path).query)))

            def do_POST(self) -> None:
                self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                cluster.patched.append((self.headers["Content-Type"], body))
                self._serve(body)

            do_PUT = do_PATCH

            def _serve(self, body: dict[str, Any]) -> None:
                cluster.tokens.add(self.headers["Authorization"])
                cluster.requested.append(self.path)
                code, found = cluster.answer(self.command, urlsplit(self.path).path, body)
                self.send_response(code)
                self.send_header("Connection", "close")
                if isinstance(found, dict):
                    self._send_document(json.dumps(found).encode())
                else:
                    self._send_lines(found)

            def _send_document(self, text: bytes) -> None:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def _send_lines(self, lines: Iterable[bytes]) -> None:
                self.send_header("Content-Type", "text/plain")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in lines:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, format: str, *args: object) -> None:
                """Suppress the log of requests."""

        return Handler


def _entries(lines: Iterable[bytes]) -> Iterable[bytes]:
    """The lines of a pod as Argo's server sends them."""
    for line in lines:
        entry = json.dumps({"result": {"content": line.decode().rstrip("\r\n"), "podName": "x"}}).encode()
        yield entry + b"\n" if line.endswith(b"\n") else entry[:9]


def pod(name: str, phase: str, code: str = "", **more: Any) -> dict[str, Any]:
    """A pod's node in the status of a workflow."""
    outputs = {"outputs": {"exitCode": code}} if code else {}
    return {"type": "Pod", "displayName": name, "phase": phase, "templateName": "step", **outputs, **more}


def retry(phase: str, *children: str) -> dict[str, Any]:
    """The node of a step that may be retried, with the ids of its attempts."""
    return {"type": "Retry", "phase": phase, "children": list(children)}
