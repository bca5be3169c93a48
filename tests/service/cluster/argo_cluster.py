"""A small HTTP server with the requests of the Kubernetes API and of Argo's server that submission needs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

TEMPLATE: dict[str, Any] = {
    "metadata": {"name": "watchmove", "annotations": None},
    "spec": {"arguments": {"parameters": [{"name": "draw-world", "value": "false"}]}},
}
WORKFLOW: dict[str, Any] = {"metadata": {"name": "watchmove-abcde"}, "spec": {}}
_KUBERNETES = "/apis/argoproj.io/v1alpha1/namespaces/science"
_TEMPLATE_PATHS = {f"{_KUBERNETES}/workflowtemplates/watchmove", "/api/v1/workflow-templates/science/watchmove"}
_START_CODES = {f"{_KUBERNETES}/workflows": 201, "/api/v1/workflows/science/submit": 200}
_WORKFLOW_PATHS = {f"{_KUBERNETES}/workflows/watchmove-abcde", "/api/v1/workflows/science/watchmove-abcde"}


class ArgoCluster:
    """One namespace, `science`, with one template, `watchmove`.

    A workflow that is started has the name `watchmove-abcde` and goes through `statuses`, one at each look. Statuses
    in `refusals` are answered first, one at each request, with `sentence` as their message. `requested` has all paths.
    """

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = [{"phase": "Succeeded", "progress": "1/1"}]
        self.refusals: list[int] = []
        self.sentence = "not now"
        self.posted: list[dict[str, Any]] = []
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

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status code and document for one request."""
        if self.refusals:
            return self.refusals.pop(0), {"message": self.sentence}
        if method == "GET" and path in _TEMPLATE_PATHS:
            return 200, TEMPLATE
        if method == "POST" and path in _START_CODES:
            self.posted.append(body)
            return _START_CODES[path], WORKFLOW
        if method == "GET" and path in _WORKFLOW_PATHS:
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            return 200, {**WORKFLOW, "status": status}
        return 404, {"message": f"nothing at {path}"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve(b"{}")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(int(self.headers["Content-Length"])))

            def _serve(self, body: bytes) -> None:
                cluster.tokens.add(self.headers["Authorization"])
                cluster.requested.append(self.path)
                code, document = cluster.answer(self.command, self.path.partition("?")[0], json.loads(body))
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, format: str, *args: object) -> None:
                """Suppress the log of requests."""

        return Handler
