"""A prefix of an S3 bucket as a store (`s3://`). The AWS SDK finds the endpoint, the region and the credentials."""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore import UNSIGNED
from botocore import exceptions as botocore_errors
from botocore.config import Config

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store.ranged_download import CONNECTIONS, download, in_order
from watchmove.service.store.s3_errors import (
    ABSENT,
    CONFLICT,
    REFUSED,
    TAKEN,
    UNSUPPORTED,
    code_of,
    translated,
    wait_for_retry_after,
    with_complete_body,
)
from watchmove.service.store.s3_object import ObjectRanges
from watchmove.service.store.store import Access, ObjectChanged, StoredObject, check_key

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_FETCHES = 3
"""Downloads of an object that changes or arrives damaged before that is an error. Set by hand; not tuned."""

_CONFLICTS = 6
"""Conditional writes that may conflict with another writer before that is an error. Set by hand; not tuned."""

_FIRST_CONFLICT_DELAY_SECONDS = 0.1
"""The bound on the random delay after conflict N is this times two to the N. Set by hand; not tuned."""


class S3Store:
    """A store of S3 objects. The SDK retries each request; a request that still fails raises Unavailable.

    Timeouts and attempts are set by hand; not tuned.
    """

    fetches_copies = True

    def __init__(self, uri: str, access: Access = Access()) -> None:  # noqa: B008 (immutable)
        bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        if not bucket:
            raise InvalidInput(f"store {uri!r}: names no bucket; write s3://BUCKET/PREFIX")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._unsigned = access.unsigned
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if access.requester_pays else {}
        self._client = self._new_client(attempts=6, read_timeout_seconds=60, connections=10)
        self._client.meta.events.register_first("needs-retry.s3", wait_for_retry_after)

    @cached_property
    def _range_client(self) -> "S3Client":
        """A client that makes one attempt for each request, because `ranged_download` resumes broken requests."""
        return self._new_client(attempts=1, read_timeout_seconds=30, connections=8 * CONNECTIONS)

    def _new_client(self, attempts: int, read_timeout_seconds: int, connections: int) -> "S3Client":
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10,
            read_timeout=read_timeout_seconds,
            max_pool_connections=connections,
            signature_version=UNSIGNED if self._unsigned else None,
        )
        with self._translated("connecting"):
            # A new session, because boto3's default session is shared and keeps credentials that are no longer valid.
            session = boto3.session.Session()
            # botocore itself reads AWS_DEFAULT_REGION but not AWS_REGION
            region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
            client: S3Client = session.client("s3", config=config, region_name=region)
        return client

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects with keys that start with `prefix`, in the order of their keys."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix, **self._payer
        )
        with self._translated(f"listing {prefix}"):
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    if key and not key.endswith("/"):  # S3's console makes a folder as an empty object "NAME/"
                        yield StoredObject(key, item["Size"], item["ETag"].strip('"'))

    def head(self, key: str) -> StoredObject | None:
        """Return the size and ETag of an object, or None if it is absent."""
        request = self._request(key)
        with self._translated(f"reading the size and ETag of {key}"):
            try:
                facts = self._client.head_object(**request)
            except botocore_errors.ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                if code_of(error) in REFUSED:
                    # An answer to HEAD has no body; that to GET tells a refused object from wrong credentials.
                    self._client.get_object(**request, Range="bytes=0-0")["Body"].close()
                raise
        return StoredObject(key, facts["ContentLength"], facts["ETag"].strip('"'))

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, or None if it is absent."""
        request = self._request(key)
        with self._translated(f"reading {key}"):
            try:
                return with_complete_body(lambda: self._client.get_object(**request)["Body"].read())
            except botocore_errors.ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise

    def write(self, key: str, data: bytes) -> None:
        """Write an object and replace any object with the same key."""
        with self._translated(f"writing {key}"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key exists, and return whether it was written.

        Stores without conditional writes get a check and a write, which two writers at the same moment can both pass.
        """
        with self._translated(f"creating {key}"):
            for attempt in range(_CONFLICTS):
                try:
                    self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
                    return True
                except botocore_errors.ClientError as error:
                    if code_of(error) in TAKEN:
                        return self.read(key) == data  # this call's own, if the answer to the SDK's first try was lost
                    if code_of(error) in UNSUPPORTED:
                        return self._create_unconditionally(key, data)
                    if code_of(error) not in CONFLICT:
                        raise
                # After a conflict it is possible that neither writer has written, so this one tries again.
                time.sleep(random.uniform(0, _FIRST_CONFLICT_DELAY_SECONDS * 2**attempt))
        raise Unavailable(
            f"{self.uri}: creating {key}: {_CONFLICTS} times in conflict with another writer; run again later"
        )

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file; the SDK uploads a large file in parts."""
        with self._translated(f"uploading {key}"):
            self._client.upload_file(str(path), self._bucket, self._key(key))

    def local(self, key: str, target: Path) -> Path | None:
        """Download the object to `target`, complete or not at all; repeat this if the object changes meanwhile."""
        for _ in range(_FETCHES):
            item = self.head(key)
            if item is None:
                return None
            with suppress(ObjectChanged):
                return self.fetch(item, target, threading.Event())
        raise Unavailable(
            f"{self.uri}: fetching {key}: it changed during {_FETCHES} downloads; run again when nothing writes it"
        )

    def fetch(self, item: StoredObject, target: Path, stop: threading.Event) -> Path | None:
        """Download the object that `item` describes in ranges, and check its size and MD5."""
        ranges = ObjectRanges(self._range_client, self._request(item.key), item)
        with self._translated(f"fetching {item.key}"):
            for _ in range(_FETCHES):
                try:
                    download(ranges.open_range, item.size_bytes, target, stop)
                except botocore_errors.ClientError as error:
                    if code_of(error) in ABSENT:
                        return None
                    raise
                if ranges.is_complete(target):
                    return target
                target.unlink()
        raise ObjectChanged(f"{item.key}: {_FETCHES} downloads brought other bytes than those of its ETag")

    def read_range(self, item: StoredObject, offset: int, size_bytes: int) -> bytes:
        """Return one range of the object that `item` describes; a broken request resumes at the first missing byte."""
        return b"".join(self._in_order(item, offset, size_bytes))

    def stream(self, item: StoredObject) -> Iterator[bytes]:
        """Yield the bytes of the object that `item` describes; a broken request resumes at the first missing byte."""
        return self._in_order(item, 0, item.size_bytes)

    def _in_order(self, item: StoredObject, offset: int, size_bytes: int) -> Iterator[bytes]:
        ranges = ObjectRanges(self._range_client, self._request(item.key), item)
        with self._translated(f"reading {item.key}"):
            try:
                # in_order counts from the first byte of the range, the store from the first byte of the object
                yield from in_order(lambda at, last: ranges.open_range(offset + at, offset + last), size_bytes)
            except botocore_errors.ClientError as error:
                if code_of(error) in ABSENT:
                    raise ObjectChanged(f"{self.uri}/{item.key}: deleted since it was listed") from error
                raise

    def make(self) -> None:
        """Make the bucket unless it exists."""
        with self._translated("making the bucket"):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except botocore_errors.ClientError as error:
                if code_of(error) not in ABSENT | {"NoSuchBucket"}:
                    raise
                self._make_bucket()

    def _make_bucket(self) -> None:
        region = self._client.meta.region_name
        try:
            if region == "us-east-1":  # S3 refuses this region as a location constraint
                self._client.create_bucket(Bucket=self._bucket)
            else:
                self._client.create_bucket(
                    Bucket=self._bucket,
                    CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]
                )
        except (self._client.exceptions.BucketAlreadyOwnedByYou, self._client.exceptions.BucketAlreadyExists):
            return

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _request(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._key(key), **self._payer}

    def _create_unconditionally(self, key: str, data: bytes) -> bool:
        if self.head(key) is not None:  # see `create`: another writer may come in between
            return False
        self.write(key, data)
        return True

    def _translated(self, what: str) -> AbstractContextManager[None]:
        return translated(self.uri, self._bucket, what)
