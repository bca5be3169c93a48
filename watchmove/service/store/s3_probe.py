"""What the answers of an S3 store show besides their content: whether it serves ranges, and what its clock says."""

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from watchmove.service.store.s3_errors import answer_below

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class S3Facts(NamedTuple):
    """What one answer shows.

    serves_ranges: whether it has the bytes that were asked for and no others; clock_skew_seconds: by how much this
    machine's clock is ahead of the store's, None if the answer has no date.
    """

    serves_ranges: bool
    clock_skew_seconds: float | None


def facts_of(client: "S3Client", request: dict[str, Any]) -> S3Facts:
    """Return what a store shows when two bytes of an object of three or more are read. Raises the SDK's exceptions."""
    answer = client.get_object(**request, Range="bytes=1-2")
    answer["Body"].close()
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    return S3Facts(status == HTTPStatus.PARTIAL_CONTENT, _skew_seconds(dict(answer)))


def clock_skew_seconds(error: BaseException) -> float | None:
    """Return by how much this machine's clock is ahead of that of a store which has answered with an error.

    None if there was no answer, or one without a date.
    """
    answer = answer_below(error)
    return None if answer is None else _skew_seconds(dict(answer.response))


def _skew_seconds(answer: dict[str, Any]) -> float | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
