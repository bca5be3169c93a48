"""Errors of the clients of Kubernetes and Argo, as the two endings of invalid input and of what may work later."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from watchmove.pipeline.errors import InvalidInput, Unavailable

REQUEST_TIMEOUT_SECONDS = 30.0
"""Longest time of one request; set by hand, not tuned."""
SILENCE_SECONDS = 3600.0
"""Longest time without a line while a log is followed: steps log their progress four times a minute. Not tuned."""
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
"""Client errors after which the same request may succeed later, like all server errors."""


class Refused(InvalidInput):
    """An answer that refuses a request for good; `status` is its HTTP status."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the exceptions of both clients into Refused and Unavailable, with a message that begins with `what`."""
    import argo_workflows.exceptions
    import kubernetes.client.exceptions
    import urllib3.exceptions

    try:
        yield
    except (argo_workflows.exceptions.ApiException, kubernetes.client.exceptions.ApiException) as error:
        raise _from_answer(what, error.status or 0, error.reason, error.body) from error
    # Neither client translates the errors of a connection that is refused or lost.
    except urllib3.exceptions.HTTPError as error:
        # The cause in MaxRetryError, without the pool and path of the request; on one line like every error message.
        reason = getattr(error, "reason", None) or error
        raise Unavailable(f"{what}: {' '.join(str(reason).split())}; the cluster cannot be reached") from error


def _from_answer(what: str, status: int, reason: str, body: str | bytes | None) -> Refused | Unavailable:
    """The error for an answer other than success: Unavailable if a later request may succeed, else Refused."""
    line = f"{what}: {status or 'no answer'} {_message(body) or ' '.join(str(reason).split())}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"{line}; try again")
    advice: dict[int, str] = {
        HTTPStatus.NOT_FOUND: "check the name and --namespace, and that `kubectl apply -k k8s/overlays/…` was done",
        HTTPStatus.UNAUTHORIZED: "check the credentials in KUBECONFIG or ARGO_TOKEN",
        HTTPStatus.FORBIDDEN: "ask for the permissions that docs/how-to/cluster.md lists for the command",
    }
    return Refused(f"{line}; {advice.get(status, 'check the request') if status else 'check the address'}", status)


def _message(body: str | bytes | None) -> str:
    """The message in an error document of Kubernetes or Argo; empty if there is none."""
    try:
        document = json.loads(body or "")
    except ValueError:
        return ""
    return str(document.get("message", "")) if isinstance(document, dict) else ""
