"""One S3 object as ranges of just the version that was described, and the check of what came."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore import exceptions as botocore_errors

from watchmove.service.store.ranged_download import RangeBroken
from watchmove.service.store.s3_errors import PASSING_FAULTS, TAKEN, code_of, may_pass, retry_after_seconds
from watchmove.service.store.store import ObjectChanged, StoredObject

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_CHUNK_BYTES = 2**16
"""What is lost of a range that breaks is less than this."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_RANGE_NOT_THERE = frozenset({"416", "InvalidRange"})


class ObjectRanges:
    """Ranges of the object that `item` describes; `request` names bucket and key as the SDK wants them."""

    def __init__(self, client: "S3Client", request: dict[str, Any], item: StoredObject) -> None:
        self._client = client
        self._request = {**request, "IfMatch": f'"{item.etag}"'}
        self._item = item
        self._etag_is_md5 = _MD5.fullmatch(item.etag) is not None

    def open_range(self, first: int, last: int) -> Iterator[bytes]:
        """Chunks of the bytes from `first` to `last`, both included.

        Raises:
            RangeBroken: what may pass: throttling, a server's fault, a broken connection, an answer to another request.
            ObjectChanged: another object lies there now.
            ClientError: any other answer.
        """
        try:
            answer = self._client.get_object(**self._request, Range=f"bytes={first}-{last}")
            self._check_answer(answer, first)
            yield from answer["Body"].iter_chunks(_CHUNK_BYTES)
        except botocore_errors.ClientError as error:
            if code_of(error) in TAKEN | _RANGE_NOT_THERE:
                raise ObjectChanged(f"{self._item.key}: changed since it was listed") from error
            if not may_pass(error):
                raise
            raise RangeBroken(f"the store answered {code_of(error)}", retry_after_seconds(error)) from error
        except PASSING_FAULTS as error:
            raise RangeBroken(str(error).partition("\n")[0]) from error

    def _check_answer(self, answer: "GetObjectOutputTypeDef", first: int) -> None:
        if answer.get("ServerSideEncryption", "AES256") != "AES256" or answer.get("SSECustomerAlgorithm"):
            self._etag_is_md5 = False  # the ETag of an object under such keys is no MD5 of its bytes
        if answer.get("ETag", "").strip('"') != self._item.etag:
            raise ObjectChanged(f"{self._item.key}: changed since it was listed")
        place = answer.get("ContentRange", "")
        if not place.startswith(f"bytes {first}-") or not place.endswith(f"/{self._item.size_bytes}"):
            raise RangeBroken(f"the store answered with {place or 'no range'} of {self._item.size_bytes} bytes")

    def is_whole(self, path: Path) -> bool:
        """Whether a file has the object's size and, where the ETag is the MD5 of its bytes, that."""
        if path.stat().st_size != self._item.size_bytes:
            return False
        return not self._etag_is_md5 or _md5_of(path) == self._item.etag


def _md5_of(path: Path) -> str:
    """A file's MD5 in hex digits: the sum that S3 gives, not a protection."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
