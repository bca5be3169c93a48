"""What S3's answers and a broken network mean here: absent, changed, refused, may pass, or can never work."""

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
from watchmove.service.store.store import ObjectRefused

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed"})
CONFLICT = frozenset({"409", "ConditionalRequestConflict"})
UNSUPPORTED = frozenset({"501", "NotImplemented"})
REFUSED = frozenset({"403", "AccessDenied", "AllAccessDisabled", "InvalidObjectState"})
_PASSING = {
    "500", "502", "503", "504", "429", "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout",
    "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded",
    "XMinioServerNotInitialized", "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
    "IncompleteBody", "OperationAborted", "ConditionalRequestConflict", "RequestTimeTooSkewed", "ExpiredToken",
}  # fmt: skip
PASSING_FAULTS = (
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.IncompleteReadError,
    botocore_errors.ResponseStreamingError,
    botocore_errors.FlexibleChecksumError,
    Boto3Error,
    HTTPError,
    ResponseParserError,
)
_LONGEST_WAIT_SECONDS = 60.0
_BODY_TRIES = 5

Result = TypeVar("Result")


def code_of(error: botocore_errors.ClientError) -> str:
    """S3's name for what went wrong, or the HTTP status where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def may_pass(error: botocore_errors.ClientError) -> bool:
    """Whether the same request may be answered otherwise later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in _PASSING or status >= 500 or status == 429


def retry_after_seconds(error: Exception) -> float:
    """How long the store asks to be left alone (Retry-After, in seconds or as a date), at most a minute; else 0."""
    if not isinstance(error, botocore_errors.ClientError):
        return 0.0
    return _wanted_seconds(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", ""))


def _wanted_seconds(word: str) -> float:
    try:
        wanted = float(word) if word.isdecimal() else parsedate_to_datetime(word).timestamp() - time.time()
    except (ValueError, TypeError, IndexError):
        return 0.0
    return min(max(wanted, 0.0), _LONGEST_WAIT_SECONDS)


def wait_as_told(response: tuple[Any, dict[str, Any]] | None, **_: object) -> None:
    """For the SDK's event `needs-retry`: its own delays take no notice of Retry-After, so wait for that first."""
    if response is not None and response[0].status_code in (429, 503):
        time.sleep(_wanted_seconds(response[0].headers.get("Retry-After", "")))


def with_whole_body(read: Callable[[], Result]) -> Result:
    """What `read` gives, asked again where the body breaks off: the SDK tries requests again, but not bodies."""
    for attempt in itertools.count(1):
        try:
            return read()
        except PASSING_FAULTS:
            if attempt == _BODY_TRIES:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("count never ends")


@contextmanager
def translated(uri: str, bucket: str, what: str) -> Iterator[None]:
    """Turn the SDK's exceptions into InvalidInput and Unavailable with one line that says what was being done."""
    try:
        yield
    except botocore_errors.ClientError as error:
        raise _from_answer(uri, bucket, what, error) from error
    except PASSING_FAULTS as error:
        raise Unavailable(f"{uri}: {what}: {_first_line(error)}; the store cannot be reached") from error
    except botocore_errors.BotoCoreError as error:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role, as the AWS SDK reads them"
        raise InvalidInput(f"{uri}: {what}: {_first_line(error)}; {advice}") from error
    except OSError as error:
        raise Unavailable(f"{uri}: {what}: {error}; free space or try again") from error


def _from_answer(uri: str, bucket: str, what: str, error: botocore_errors.ClientError) -> InvalidInput | Unavailable:
    code = code_of(error)
    if code == "NoSuchBucket":
        return InvalidInput(f"{uri}: there is no bucket {bucket!r}; make it or name another")
    if may_pass(error):
        return Unavailable(f"{uri}: {what}: the store answered {code}")
    kind = ObjectRefused if code in REFUSED else InvalidInput
    return kind(f"{uri}: {what}: the store answered {code}; check the URI, endpoint and credentials")


def _first_line(error: Exception) -> str:
    return next(itertools.chain(str(error).splitlines(), [type(error).__name__]))
