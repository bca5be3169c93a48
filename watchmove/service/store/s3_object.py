"""Ranged requests for one version of an S3 object, and the check of the downloaded bytes."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore import exceptions as botocore_errors

from watchmove.service.store.ranged_download import RangeBroken
from watchmove.service.store.s3_errors import TAKEN, TRANSIENT_FAULTS, code_of, is_transient, retry_after_seconds
from watchmove.service.store.store import ObjectChanged, StoredObject

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_CHUNK_BYTES = 2**16
"""Bytes read at a time: the most that is lost when a range breaks. Set by hand; not tuned."""

_MD5 = re.compile(r"[0-9a-f]{32}")  # the ETag of an object that was uploaded in parts has a suffix and is no MD5
_RANGE_NOT_THERE = frozenset({"416", "InvalidRange"})  # the object is now shorter than it was when it was listed


class ObjectRanges:
    """Ranges of the object that `item` describes; `request` holds the bucket and key as arguments of the SDK."""

    def __init__(self, client: "S3Client", request: dict[str, Any], item: StoredObject) -> None:
        self._client = client
        # the store refuses a range of any other version, so that a file never mixes two
        self._request = {**request, "IfMatch": f'"{item.etag}"'}
        self._item = item
        self._etag_is_md5 = _MD5.fullmatch(item.etag) is not None

    def open_range(self, first: int, last: int) -> Iterator[bytes]:
        """Yield chunks of the bytes from `first` to `last`, both inclusive.

        Raises:
            RangeBroken: throttling, a server error, a broken connection, an answer with another range.
            ObjectChanged: the key now has another object.
            ClientError: any other error that the store answers.
        """
        try:
            answer = self._client.get_object(**self._request, Range=f"bytes={first}-{last}")
            self._check_answer(answer, first)
            yield from answer["Body"].iter_chunks(_CHUNK_BYTES)
        except botocore_errors.ClientError as error:
            if code_of(error) in TAKEN | _RANGE_NOT_THERE:
                raise ObjectChanged(f"{self._item.key}: changed since it was listed") from error
            if not is_transient(error):
                raise
            raise RangeBroken(f"the store answered {code_of(error)}", retry_after_seconds(error)) from error
        except TRANSIENT_FAULTS as error:
            raise RangeBroken(str(error).partition("\n")[0]) from error

    def _check_answer(self, answer: "GetObjectOutputTypeDef", first: int) -> None:
        """Raise unless the answer is the requested range of the described object."""
        # AES256 is encryption with keys of S3 itself, which leaves the ETag an MD5
        if answer.get("ServerSideEncryption", "AES256") != "AES256" or answer.get("SSECustomerAlgorithm"):
            self._etag_is_md5 = False  # the ETag of an object under such keys is no MD5 of its bytes
        # compatible stores may ignore If-Match or Range and answer with the present object, or with all of it
        if answer.get("ETag", "").strip('"') != self._item.etag:
            raise ObjectChanged(f"{self._item.key}: changed since it was listed")
        place = answer.get("ContentRange", "")
        if not place.startswith(f"bytes {first}-") or not place.endswith(f"/{self._item.size_bytes}"):
            raise RangeBroken(f"the store answered with {place or 'no range'} of {self._item.size_bytes} bytes")

    def is_complete(self, path: Path) -> bool:
        """Return whether a file has the object's size and, if the ETag is an MD5, the object's MD5."""
        if path.stat().st_size != self._item.size_bytes:
            return False
        return not self._etag_is_md5 or _md5_of(path) == self._item.etag


def _md5_of(path: Path) -> str:
    """Return a file's MD5 in hex digits, to find damaged downloads; it is no protection against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
