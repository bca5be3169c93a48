"""Errors of the clients of Kubernetes and Argo, as the two endings of invalid input and of what may work later."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.text_lines import printable

REQUEST_TIMEOUT_SECONDS = 30.0
"""Longest time of one request; set by hand, not tuned."""
SILENCE_SECONDS = 3600.0
"""Longest time without a line while a log is followed: steps log their progress four times a minute. Not tuned."""
_REPEATS = 3
"""How often a request is repeated at once whose connection is lost; the default of both clients."""
_MOST_MESSAGE_LETTERS = 2000
"""Letters of a server's message that an error has at most. Set by hand; not tuned."""
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS}
"""Client errors after which the same request may succeed later, like all server errors."""
_ADDRESS = "check the address in KUBECONFIG or ARGO_SERVER"


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
    except urllib3.exceptions.LocationValueError as error:
        raise InvalidInput(f"{what}: {_in_one_line(error)}; {_ADDRESS}") from error
    except (argo_workflows.exceptions.ApiException, kubernetes.client.exceptions.ApiException) as error:
        raise _from_answer(what, error.status or 0, error.reason, error.body) from error
    # Neither client translates the errors of a connection that is refused or lost.
    except urllib3.exceptions.HTTPError as error:
        # The cause in MaxRetryError, without the pool and path of the request.
        reason = getattr(error, "reason", None) or error
        raise Unavailable(f"{what}: {_in_one_line(reason)}; {_advice_without_answer(reason)}") from error
    except (ValueError, TypeError) as error:
        # The cause is not shown: it quotes the whole token, or the answer.
        if isinstance(error, UnicodeEncodeError) or "header value" in str(error):
            line = "the token cannot be sent, as it has a line break or letters other than those of ASCII"
            raise InvalidInput(f"{what}: {line}; correct it in KUBECONFIG or ARGO_TOKEN") from None
        raise _no_document(what) from error


def document_of(what: str, answer: Any) -> dict[str, Any]:
    """The answer to a request as the document of an object of Kubernetes, which has a name.

    Raises:
        Refused: it is none, as a proxy's page.
    """
    metadata = answer.get("metadata") if isinstance(answer, dict) else None
    if isinstance(metadata, dict) and metadata.get("name"):
        return dict(answer)
    raise _no_document(what)


def documents_of(what: str, answer: Any) -> list[dict[str, Any]]:
    """The documents in the answer to a request for a list, in which `items` is null if there are none.

    Raises:
        Refused: it is no list of Kubernetes.
    """
    if isinstance(answer, dict) and "items" in answer:
        return list(answer["items"] or ())
    raise _no_document(what)


def part_of(what: str, answer: Any, name: str) -> Any:
    """The part of an answer, as the client of Kubernetes has read it, with a name.

    Raises:
        Refused: the answer has none, as a proxy's that is empty.
    """
    part = getattr(answer, name, None)
    if part is None:
        raise _no_document(what)
    return part


def configure_retries(configuration: Any) -> None:
    """Have a client repeat a request only where no answer has come, and say nothing beside what the commands say.

    An answer that asks to come back later (Retry-After, which may be hours) is an error, so that its message is seen;
    a failure that remains is an exception. The clients' own configurations set what urllib3 logs when they are made.
    """
    import urllib3

    # a certificate is not checked only where the user says so, and each request would warn of it
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    configuration.retries = urllib3.Retry(_REPEATS, respect_retry_after_header=False)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _no_document(what: str) -> Refused:
    line = f"{what}: the answer is no document of Kubernetes, but perhaps the page of a proxy"
    return Refused(f"{line}; {_ADDRESS}", HTTPStatus.OK)


def _advice_without_answer(reason: BaseException | str) -> str:
    """What to try where no answer has come; OpenSSL's own errors are wrapped, or not, by the client."""
    if "SSL" in str(reason) or "X509" in str(reason):
        return "check the certificates in KUBECONFIG, or ARGO_SECURE and ARGO_INSECURE_SKIP_VERIFY"
    return "the cluster cannot be reached"


def _in_one_line(said: object) -> str:
    """A message of a library or a server, printable and on one line, as all error messages are."""
    words = printable(" ".join(str(said).split()))
    return words if len(words) <= _MOST_MESSAGE_LETTERS else f"{words[:_MOST_MESSAGE_LETTERS]}…"


def _from_answer(what: str, status: int, reason: str, body: str | bytes | None) -> Refused | Unavailable:
    """The error for an answer other than success: Unavailable if a later request may succeed, else Refused."""
    said = _message(body)
    line = f"{what}: {status or 'no answer'} {_in_one_line(said or reason)}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"{line}; try again")
    if not status or (status == HTTPStatus.NOT_FOUND and not said):
        # Kubernetes says more of an object that is not there than of a kind that is not there.
        return Refused(
            f"{line}; check that Argo Workflows is installed there, or {_ADDRESS.removeprefix('check ')}", status
        )
    advice: dict[int, str] = {
        HTTPStatus.NOT_FOUND: "check the name and --namespace, and that `kubectl apply -k k8s/overlays/…` was done",
        HTTPStatus.UNAUTHORIZED: "check the credentials in KUBECONFIG or ARGO_TOKEN",
        HTTPStatus.FORBIDDEN: "ask for the permissions that docs/how-to/cluster.md lists for the command",
    }
    return Refused(f"{line}; {advice.get(status, 'check the request')}", status)


def _message(body: str | bytes | None) -> str:
    """The message in an error document of Kubernetes or Argo; empty if there is none."""
    try:
        document = json.loads(body or "")
    except ValueError:
        return ""
    return str(document.get("message") or "") if isinstance(document, dict) else ""
