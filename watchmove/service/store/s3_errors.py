"""Classifies the errors of S3 and of the network: absent, changed, refused, transient or permanent."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from boto3.exceptions import Boto3Error
from botocore import exceptions as botocore_errors
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.numbers import whole_number_of
from watchmove.service.store.store import ObjectRefused

# Each set has the names that S3 and compatible stores give, and the HTTP status for answers without a body (HEAD).
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed"})
CONFLICT = frozenset({"409", "ConditionalRequestConflict"})
UNSUPPORTED = frozenset({"501", "NotImplemented"})
REFUSED = frozenset({"403", "AccessDenied", "AllAccessDisabled", "InvalidObjectState"})
# BadDigest and the mismatches are damage on the way; ExpiredToken ends when a new run of the step gets credentials
_TRANSIENT = {
    "500", "502", "503", "504", "429", "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout",
    "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded",
    "XMinioServerNotInitialized", "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
    "IncompleteBody", "OperationAborted", "ConditionalRequestConflict", "RequestTimeTooSkewed", "ExpiredToken",
}  # fmt: skip
"""Error codes that the same request may overcome later; S3's own and those of compatible stores."""

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

_LONGEST_WAIT_SECONDS = 60.0
"""Upper bound on a wait that the store asks for by Retry-After. Set by hand; not tuned."""

_BODY_TRIES = 5
"""Requests for an object before a body that breaks off is an error. Set by hand; not tuned."""

_FIRST_BODY_DELAY_SECONDS = 0.1
"""The delay before request N + 1 is this times two to the N. Set by hand; not tuned."""

_SERVER_ERROR_STATUS = 500
_TOO_MANY_REQUESTS_STATUS = 429

Result = TypeVar("Result")


def code_of(error: botocore_errors.ClientError) -> str:
    """Return S3's name of an error, or the HTTP status if the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_transient(error: botocore_errors.ClientError) -> bool:
    """Return whether an error is transient: the same request may succeed later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in _TRANSIENT or status >= _SERVER_ERROR_STATUS or status == _TOO_MANY_REQUESTS_STATUS


def retry_after_seconds(error: Exception) -> float:
    """Return the delay that the store asks for (Retry-After, in seconds or as a date), at most a minute, or 0."""
    if not isinstance(error, botocore_errors.ClientError):
        return 0.0
    return _wanted_seconds(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", ""))


def _wanted_seconds(word: str) -> float:
    try:
        wanted = whole_number_of(word) if word.isdecimal() else parsedate_to_datetime(word).timestamp() - time.time()
    except (ValueError, TypeError, IndexError):
        return 0.0
    return min(max(wanted, 0.0), _LONGEST_WAIT_SECONDS)


def wait_for_retry_after(response: tuple[Any, dict[str, Any]] | None, **_: object) -> None:
    """Sleep as Retry-After asks; for the SDK's event `needs-retry`, because the SDK's own delays ignore it."""
    if response is not None and response[0].status_code in (_TOO_MANY_REQUESTS_STATUS, 503):
        time.sleep(_wanted_seconds(response[0].headers.get("Retry-After", "")))


def with_complete_body(read: Callable[[], Result]) -> Result:
    """Return the result of `read`, repeated if a body breaks off: the SDK repeats requests, but not bodies."""
    for attempt in itertools.count(1):
        try:
            return read()
        except TRANSIENT_FAULTS:
            if attempt == _BODY_TRIES:
                raise
            time.sleep(_FIRST_BODY_DELAY_SECONDS * 2**attempt)
    raise AssertionError("count never ends")


@contextmanager
def translated(uri: str, bucket: str, what: str) -> Iterator[None]:
    """Turn the SDK's exceptions into InvalidInput and Unavailable, with `what` was being done in the message."""
    try:
        yield
    except botocore_errors.ClientError as error:
        raise _from_answer(uri, bucket, what, error) from error
    # before BotoCoreError, which is the base class of some of them
    except TRANSIENT_FAULTS as error:
        advice = "the store cannot be reached; check the endpoint and the network, or run again later"
        raise Unavailable(f"{uri}: {what}: {_first_line(error)}; {advice}") from error
    except botocore_errors.BotoCoreError as error:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role, as the AWS SDK reads them"
        raise InvalidInput(f"{uri}: {what}: {_first_line(error)}; {advice}") from error
    except OSError as error:
        raise Unavailable(f"{uri}: {what}: {error}; free space or try again") from error


def _from_answer(uri: str, bucket: str, what: str, error: botocore_errors.ClientError) -> InvalidInput | Unavailable:
    code = code_of(error)
    if code == "NoSuchBucket":
        return InvalidInput(f"{uri}: there is no bucket {bucket!r}; make it or correct the URI")
    if is_transient(error):
        return Unavailable(f"{uri}: {what}: the store answered {code}; run again later")
    kind = ObjectRefused if code in REFUSED else InvalidInput
    return kind(f"{uri}: {what}: the store answered {code}; check the URI, endpoint and credentials")


def _first_line(error: Exception) -> str:
    return next(itertools.chain(str(error).splitlines(), [type(error).__name__]))
