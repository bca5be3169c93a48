"""Turns the exceptions of the AWS SDK into InvalidInput, ObjectRefused and Unavailable, with advice that fits them."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from boto3.exceptions import Boto3Error
from botocore import exceptions as botocore_errors
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.numbers import whole_number_of
from watchmove.service.store.s3_answers import KEY_REFUSALS, QUOTA_REFUSALS, Fault, fault_of, name_of
from watchmove.service.store.store import ObjectRefused
from watchmove.service.store.traffic import TRAFFIC, RetryCause

if TYPE_CHECKING:
    from botocore.hooks import BaseEventHooks

TRANSIENT_FAULTS = (
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.IncompleteReadError,
    botocore_errors.ResponseStreamingError,
    botocore_errors.FlexibleChecksumError,
    Boto3Error,
    HTTPError,
    ResponseParserError,
)
"""Exceptions of the SDK and its libraries for a broken connection or a damaged answer."""

_CREDENTIALS_FAULTS = (botocore_errors.CredentialRetrievalError, botocore_errors.MetadataRetrievalError)
"""Exceptions for a service that hands out credentials: of containers, of nodes, or a program."""

_MISSING_CREDENTIALS = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.ProfileNotFound,
    botocore_errors.SSOError,
    botocore_errors.TokenRetrievalError,
)
"""Exceptions for credentials that are not given, or only in part."""

_WRONG_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Exceptions for a file that the environment or the settings name, as that of a token, and that cannot be opened."""

_REFUSED_CREDENTIALS = re.compile(r"\b(?:response|status|code)\D{0,12}4(?!08|29)\d\d\b|AccessDenied", re.IGNORECASE)
"""Found in the message of a service that hands out no credentials, and will not later."""

_BAD_HEADER = "Invalid header value"
"""Begins Python's message for a header with a line break, which goes on with the header's value."""

_LONGEST_WAIT_SECONDS = 60.0
"""Upper bound on a wait that the store asks for by Retry-After. Set by hand; not tuned."""

_BODY_TRIES = 5
"""Requests for an object before a body that breaks off is an error. Set by hand; not tuned."""

_FIRST_BODY_DELAY_SECONDS = 0.1
"""The delay before request N + 1 is this times two to the N. Set by hand; not tuned."""

_THROTTLED = (429, 503)
_THROTTLING_NAMES = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
    }
)
_SERVER_ERRORS = 500
_CAUSE = "watchmove_retry_cause"
"""Key in the context of a request of the SDK."""

_ADVICE = {
    "AccessDenied": "grant the credentials this right",
    "InvalidAccessKeyId": "check the credentials",
    "SignatureDoesNotMatch": "check the credentials and the clock",
    "InvalidToken": "check the credentials",
    "XAdminUserNotFound": "check the credentials",
    "PermanentRedirect": "set AWS_REGION to the region of the bucket",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket",
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException"), "renew the credentials, whose token has expired"),
    "RequestTimeTooSkewed": "synchronise this machine's clock, then run again",
    "InvalidObjectState": "restore the object from its archive",
    **dict.fromkeys(QUOTA_REFUSALS, "free space in the store or raise its quota, then run again"),
    "HTTP status 413": "let the store, and a proxy before it, take requests of this size",
    "HTTP status 407": "check the proxy that HTTPS_PROXY or HTTP_PROXY names, and NO_PROXY",
    **dict.fromkeys(KEY_REFUSALS, "choose another key or prefix, or a store that takes this key beside the others"),
}
"""What would fix an error, by its name."""

Result = TypeVar("Result")


def retry_after_seconds(error: Exception) -> float:
    """Return the delay that the store asks for (Retry-After, in seconds or as a date), at most a minute, or 0."""
    if not isinstance(error, botocore_errors.ClientError):
        return 0.0
    return _wanted_seconds(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", ""))


def _wanted_seconds(word: str) -> float:
    try:
        wanted = whole_number_of(word) if word.isdecimal() else parsedate_to_datetime(word).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(wanted, 0.0), _LONGEST_WAIT_SECONDS)


def waiter_for_retry_after(most_attempts: int) -> Callable[..., None]:
    """Return a handler for the SDK's event `needs-retry`, because the SDK's own delays ignore Retry-After.

    It sleeps as the store asks, except after the last of `most_attempts`.
    """

    def wait(response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: object) -> None:
        if response is not None and response[0].status_code in _THROTTLED and attempts < most_attempts:
            time.sleep(_wanted_seconds(response[0].headers.get("Retry-After", "")))

    return wait


def count_retries(events: "BaseEventHooks") -> None:
    """Count the requests that the SDK makes again, by the events of its client.

    The context of a request is that of all its attempts, so the cause of the last one is known when the next begins.
    """

    def remember(response: tuple[Any, dict[str, Any]] | None, request_dict: dict[str, Any], **_: object) -> None:
        request_dict["context"][_CAUSE] = _retry_cause(response)

    def count(request: Any, **_: object) -> None:
        cause = request.context.pop(_CAUSE, None)
        if cause is not None:
            TRAFFIC.count_retry(cause)

    # first, because the SDK's own handler waits before the next attempt
    events.register_first("needs-retry.s3", remember)
    events.register("request-created.s3", count)


def _retry_cause(response: tuple[Any, dict[str, Any]] | None) -> RetryCause | None:
    """Why a request with this answer is made again; None if that is no retry, as for another region."""
    if response is None:
        return RetryCause.CONNECTION
    status, name = response[0].status_code, str(response[1].get("Error", {}).get("Code", ""))
    return cause_of_answer(name, status) if status >= _SERVER_ERRORS or name or status in _THROTTLED else None


def cause_of_answer(name: str, status: int) -> RetryCause:
    """Return the cause of a retry after an answer with an error's name, empty if it has none, and an HTTP status."""
    throttled = status in _THROTTLED or name in _THROTTLING_NAMES
    return RetryCause.THROTTLED if throttled else RetryCause.SERVER_ERROR


def with_complete_body(read: Callable[[], Result]) -> Result:
    """Return the result of `read`, repeated if a body breaks off: the SDK repeats requests, but not bodies."""
    for attempt in itertools.count(1):
        try:
            return read()
        except TRANSIENT_FAULTS:
            if attempt == _BODY_TRIES:
                raise
            TRAFFIC.count_retry(RetryCause.CONNECTION)
            time.sleep(_FIRST_BODY_DELAY_SECONDS * 2**attempt)
    raise AssertionError("count never ends")


@contextmanager
def translated(uri: str, bucket: str, what: str) -> Iterator[None]:
    """Turn the SDK's exceptions into those of watchmove, with `what` was being done in the message."""
    try:
        yield
    except (botocore_errors.ClientError, *TRANSIENT_FAULTS) as error:
        answer = answer_below(error)
        if answer is not None:
            raise _from_answer(uri, bucket, what, answer) from error
        raise _from_no_answer(f"{uri}: {what}: {cause_of(error)}", error) from error
    except _CREDENTIALS_FAULTS as error:
        line = f"{uri}: {what}: {cause_of(error)}"
        if _REFUSED_CREDENTIALS.search(str(error)):
            raise InvalidInput(
                f"{line}; check the role or the program that the AWS SDK asks for credentials"
            ) from error
        raise Unavailable(f"{line}; credentials cannot be had now; run again later") from error
    except botocore_errors.BotoCoreError as error:
        advice = "correct the URI, or the variables and files that the AWS SDK reads"
        if isinstance(error, _MISSING_CREDENTIALS):
            advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role, as the AWS SDK reads them"
        raise InvalidInput(f"{uri}: {what}: {cause_of(error)}; {advice}") from error
    except (ValueError, KeyError) as error:
        # the SDK expects times, numbers and names in answers, and does not check that they are there
        advice = "check that the endpoint, and what hands out the credentials, answer as S3 and the AWS SDK expect"
        raise ObjectRefused(
            f"{uri}: {what}: the AWS SDK cannot read an answer ({type(error).__name__}: {cause_of(error)}); {advice}"
        ) from error
    except _WRONG_FILE as error:
        raise InvalidInput(f"{uri}: {what}: {error}; check the variable or setting that names it") from error
    except OSError as error:
        raise Unavailable(f"{uri}: {what}: {error}; free space or try again") from error


def answer_below(error: BaseException | None) -> botocore_errors.ClientError | None:
    """Return the answer of the store that an exception is, or that boto3 has wrapped into it."""
    while error is not None:
        if isinstance(error, botocore_errors.ClientError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _from_answer(uri: str, bucket: str, what: str, error: botocore_errors.ClientError) -> InvalidInput | Unavailable:
    name, fault = name_of(error), fault_of(error)
    if name == "NoSuchBucket":
        return InvalidInput(f"{uri}: there is no bucket {bucket!r}; make it or correct the URI")
    line = f"{uri}: {what}: the store answered {name}"
    if fault in (Fault.TRANSIENT, Fault.CONFLICT):
        return Unavailable(f"{line}; {_ADVICE.get(name, 'run again later')}")
    if name.startswith("KMS."):
        return ObjectRefused(f"{line}; make its encryption key usable, or remove the object")
    advice = _ADVICE.get(name, "check the URI, endpoint and credentials")
    is_of_object = fault in (Fault.OBJECT, Fault.UNSUPPORTED)
    return (ObjectRefused if is_of_object else InvalidInput)(f"{line}; {advice}")


def _from_no_answer(line: str, error: Exception) -> InvalidInput | Unavailable:
    """The error for a request without an answer."""
    if _BAD_HEADER in str(error):
        return InvalidInput(f"{line}; remove line breaks from the credentials and the region")
    if isinstance(error, botocore_errors.SSLError):
        advice = "check the endpoint's scheme, its certificate, and the file of certificates that AWS_CA_BUNDLE names"
        return Unavailable(f"{line}; {advice}, or run again later")
    return Unavailable(f"{line}; the store cannot be reached; check the endpoint and the network, or run again later")


def cause_of(error: Exception) -> str:
    """Return an exception's message in one line, without the value of a header, which may be a secret."""
    if _BAD_HEADER in str(error):
        return "a header of the request has a line break"
    if isinstance(error, botocore_errors.ParamValidationError):  # the first of its lines only announces the others
        return " ".join(str(error).split())
    return next(itertools.chain(str(error).splitlines(), [type(error).__name__]))
