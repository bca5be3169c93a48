"""What S3 answers about objects: rows of listings, ETags, and ranges of one version with the check of their bytes."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore import exceptions as botocore_errors

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.store.ranged_download import RangeBroken
from watchmove.service.store.s3_answers import Fault, fault_of, name_of, status_of
from watchmove.service.store.s3_errors import TRANSIENT_FAULTS, cause_of, cause_of_answer, retry_after_seconds
from watchmove.service.store.store import ObjectChanged, ObjectRefused, StoredObject
from watchmove.service.store.traffic import TRAFFIC

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_CHUNK_BYTES = 2**16
"""Bytes read at a time: the most that is lost when a range breaks. Set by hand; not tuned."""

_MOST_BYTES_WITHOUT_RANGES = 128 * 2**20
"""Largest object that is read from a store without ranges: each range costs all bytes before it. Set by hand."""

_MD5 = re.compile(r"[0-9a-f]{32}")  # the ETag of an object that was uploaded in parts has a suffix and is no MD5
_RANGE_NOT_THERE = frozenset({"HTTP status 416", "InvalidRange"})  # the object is now shorter than it was when listed
_WEAK, _MODIFIED = "W/", "modified-"


class DamagedObject(Exception):
    """The bytes of a complete object differ from the checksum that the store keeps of it."""


@dataclass
class EtagMeaning:
    """What the ETags of a store mean, as far as it is known."""

    are_md5: bool | None = None
    """Whether ETags that look like MD5s are those of the objects' bytes; None before one has been compared."""


def etag_of(facts: Mapping[str, Any]) -> str:
    """Return the ETag in the SDK's answer, without quotes; where there is none, one made of the time of modification.

    A weak ETag keeps its `W/`.
    """
    etag = str(facts.get("ETag", ""))
    if etag:
        return f"{_WEAK if etag.startswith(_WEAK) else ''}{etag.removeprefix(_WEAK).strip(chr(34))}"
    modified = facts.get("LastModified")
    return f"{_MODIFIED}{int(modified.timestamp())}" if modified else ""


def rows_of(pages: Iterable[Mapping[str, Any]], where: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a listing from its pages; a row that the next page repeats comes once.

    Raises:
        InvalidInput: there are more pages, and no way to them, so that objects would be missing without a word.
    """
    tokens, last = {""}, ""
    for page in pages:
        for item in page.get("Contents", ()):
            if item["Key"] != last:
                yield item
            last = item["Key"]
        token = page.get("NextContinuationToken", "")
        if page.get("IsTruncated") and token in tokens:
            raise InvalidInput(
                f"listing {where}: the store has more objects than it lists, as its answer has no new continuation "
                f"token after {last!r}; use a store, or a version of it, that has ListObjectsV2"
            )
        tokens.add(token)


class ObjectRanges:
    """Ranges of the object that `item` describes; `request` holds the bucket and key as arguments of the SDK."""

    def __init__(self, client: "S3Client", request: dict[str, Any], item: StoredObject, etags: EtagMeaning) -> None:
        self._client = client
        self._request = request
        self._item = item
        self._etags = etags
        self._etag_is_md5 = _MD5.fullmatch(item.etag) is not None
        self._md5_before = ""
        # the store refuses a range of any other version, so that a file never mixes two; a weak ETag never matches
        if item.etag and not item.etag.startswith((_WEAK, _MODIFIED)):
            self._request = {**request, "IfMatch": f'"{item.etag}"'}

    def open_range(self, first: int, last: int) -> Iterator[bytes]:
        """Yield chunks of the bytes from `first` to `last`, both inclusive.

        Raises:
            RangeBroken: throttling, a server error, a broken connection, an answer with another range.
            ObjectChanged: the key now has another object.
            ObjectRefused: the store serves no ranges, and the object is large.
            DamagedObject: the range is the complete object, and its bytes differ from the store's checksum.
            ClientError: any other error that the store answers.
        """
        answer: GetObjectOutputTypeDef | None = None
        try:
            answer = self._client.get_object(**self._request, Range=f"bytes={first}-{last}")
            skipped = self._check_answer(answer, first)
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                TRAFFIC.count_fetched(len(chunk))
                yield chunk[skipped:]
                skipped = max(0, skipped - len(chunk))
        except botocore_errors.ClientError as error:
            if fault_of(error) is Fault.CHANGED or name_of(error) in _RANGE_NOT_THERE:
                raise ObjectChanged(f"{self._item.key}: changed since it was listed") from error
            if fault_of(error) is not Fault.TRANSIENT:
                raise
            cause = cause_of_answer(name_of(error), status_of(error))
            raise RangeBroken(f"the store answered {name_of(error)}", retry_after_seconds(error), cause) from error
        except botocore_errors.FlexibleChecksumError as error:
            # stores send checksums of parts, or of the complete object with a part of it, which cannot be compared
            complete = first == 0 and last == self._item.size_bytes - 1
            if complete and answer is not None and answer.get("ChecksumType") == "FULL_OBJECT":
                raise DamagedObject(str(error)) from error
        except TRANSIENT_FAULTS as error:
            raise RangeBroken(cause_of(error)) from error

    def _check_answer(self, answer: "GetObjectOutputTypeDef", first: int) -> int:
        """Return the number of bytes before the range in the answer; raise unless it is of the described object."""
        # AES256 is encryption with keys of S3 itself, which leaves the ETag an MD5
        if answer.get("ServerSideEncryption", "AES256") != "AES256" or answer.get("SSECustomerAlgorithm"):
            self._etag_is_md5 = False  # the ETag of an object under such keys is no MD5 of its bytes
        # compatible stores may ignore If-Match or Range and answer with the present object, or with all of it
        if not _may_be(self._item.etag, etag_of(answer)):
            raise ObjectChanged(f"{self._item.key}: changed since it was listed")
        place, size_bytes = answer.get("ContentRange", ""), self._item.size_bytes
        if place.startswith(f"bytes {first}-") and place.endswith(f"/{size_bytes}"):
            return 0
        if place or answer.get("ContentLength") != size_bytes:
            raise RangeBroken(f"the store answered with {place or 'no range'} of {size_bytes} bytes")
        if size_bytes > _MOST_BYTES_WITHOUT_RANGES:
            raise ObjectRefused(f"{self._item.key}: the store serves no ranges, which an object of its size needs")
        return first

    def is_complete(self, path: Path) -> bool:
        """Return whether a file has the object's size and, if the ETag is an MD5, the object's MD5.

        Where the first two downloads bring the same bytes, and another MD5, the ETags of the store are no MD5s.
        """
        if path.stat().st_size != self._item.size_bytes:
            return False
        if not self._etag_is_md5 or self._etags.are_md5 is False:
            return True
        md5 = _md5_of(path)
        if md5 == self._item.etag:
            self._etags.are_md5 = True
        elif md5 == self._md5_before and self._etags.are_md5 is None:
            self._etags.are_md5 = False
            return True
        self._md5_before = md5
        return md5 == self._item.etag


def _may_be(described: str, answered: str) -> bool:
    """Return whether two ETags may be of one version. A proxy may have made that of the answer weak, or removed it."""
    if not described or (answered.startswith(_MODIFIED) and not described.startswith(_MODIFIED)):
        return True
    return not answered or described.removeprefix(_WEAK) == answered.removeprefix(_WEAK)


def _md5_of(path: Path) -> str:
    """Return a file's MD5 in hex digits, to find damaged downloads; it is no protection against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
