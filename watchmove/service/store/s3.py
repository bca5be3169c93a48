"""A prefix of an S3 bucket as a store (`s3://`). The AWS SDK finds the endpoint, the region and the credentials."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from watchmove.pipeline.errors import InvalidInput, Unavailable, WatchmoveError
from watchmove.service.store.ranged_download import download, in_order
from watchmove.service.store.s3_answers import Fault, fault_of, has_no_name, status_of
from watchmove.service.store.s3_clients import S3Clients
from watchmove.service.store.s3_errors import TRANSIENT_FAULTS, translated, with_complete_body
from watchmove.service.store.s3_object import DamagedObject, EtagMeaning, ObjectRanges, etag_of, rows_of
from watchmove.service.store.s3_probe import S3Facts, facts_of
from watchmove.service.store.s3_writer import S3Writer
from watchmove.service.store.store import Access, ObjectChanged, ObjectUnserved, StoredObject, check_key, write_at_once
from watchmove.service.store.traffic import TRAFFIC

_FETCHES = 3
"""Downloads of an object that changes or arrives damaged before that is an error. Set by hand; not tuned."""

_LISTED_OBJECTS = 10
"""Objects among which one is looked for that the store serves. Set by hand; not tuned."""

_LEAST_SERVER_ERROR = 500


class S3Store:
    """A store of S3 objects. The SDK retries each request; a request that still fails raises Unavailable."""

    fetches_copies = True

    def __init__(self, uri: str, access: Access = Access()) -> None:  # noqa: B008 (immutable)
        bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        if not bucket:
            raise InvalidInput(f"store {uri!r}: names no bucket; write s3://BUCKET/PREFIX")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if access.requester_pays else {}
        self._clients = S3Clients(self.uri, unsigned=access.unsigned)
        with self._translated("connecting"):
            self._writer = S3Writer(self.uri, bucket, self._clients)
        self._etags = EtagMeaning()
        self._served: StoredObject | None = None

    @property
    def keeps_conditions(self) -> bool | None:
        """Whether the store keeps conditions on writes; None if it refuses them, or before the first `create`."""
        return self._writer.keeps_conditions

    def facts(self, key: str) -> S3Facts:
        """Return what the store's answer shows when a range of an object is read."""
        with self._translated(f"reading a range of {key}"):
            return facts_of(self._writer.client, self._request(key))

    def check_key(self, key: str) -> str:
        """Return the key unchanged. Raises InvalidInput if it would leave the prefix."""
        return check_key(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects with keys that start with `prefix`, in the order of their keys."""
        pages = self._writer.client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix, **self._payer
        )
        with self._translated(f"listing {prefix or 'all objects'}"):
            for item in rows_of(pages, f"{self.uri}/{prefix}"):
                key = item["Key"].removeprefix(self._prefix)
                if not key or key.endswith("/"):  # S3's console makes a folder as an empty object "NAME/"
                    continue
                # the ETag of a row is optional
                row = StoredObject(key, item["Size"], etag_of(item)) if "ETag" in item else self.head(key)
                if row is not None:
                    yield row

    def head(self, key: str) -> StoredObject | None:
        """Return the size and ETag of an object, or None if it is absent."""
        request = self._request(key)
        with self._translated(f"reading the size and ETag of {key}"):
            try:
                facts = self._writer.client.head_object(**request)
            except ClientError as error:
                if fault_of(error) is Fault.ABSENT:
                    return None
                if has_no_name(error) and status_of(error) < _LEAST_SERVER_ERROR:
                    # An answer to HEAD has no body; that to GET names the error.
                    self._writer.client.get_object(**request, Range="bytes=0-0")["Body"].close()
                raise
        return StoredObject(key, facts["ContentLength"], etag_of(facts))

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, or None if it is absent."""
        request = self._request(key)
        with self._translated(f"reading {key}"):
            try:
                data = with_complete_body(lambda: self._writer.client.get_object(**request)["Body"].read())
            except ClientError as error:
                if fault_of(error) is Fault.ABSENT:
                    return None
                raise
        TRAFFIC.count_fetched(len(data))
        return data

    def write(self, key: str, data: bytes) -> None:
        """Write an object and replace any object with the same key."""
        with self._translated(f"writing {key}"):
            self._writer.put(self._key(key), data)

    def write_all(self, objects: Iterable[tuple[str, bytes]]) -> None:  # noqa: D102 (the interface's)
        write_at_once(self.write, objects)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key exists, and return whether it was written.

        Stores without conditional writes get a check and a write, which two writers at the same moment can both pass.
        Some ignore the condition, so that the check is made until a store is known to keep it.
        """
        with self._translated(f"creating {key}"):
            if not self._writer.keeps_conditions and self.head(key) is not None:
                return False
            written = None if self._writer.keeps_conditions is False else self._writer.put_new(self._key(key), data)
            if written is None:  # after the check above: another writer may come in between
                self.write(key, data)
                return True
            # an object that exists is this call's own if the answer to the SDK's first try was lost
            return written or self.read(key) == data

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file; the SDK uploads a large file in parts."""
        with self._translated(f"uploading {key}"):
            self._writer.upload(self._key(key), path)

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens if it is absent."""
        with self._translated(f"removing {key}"):
            try:
                self._writer.client.delete_object(**self._request(key))
            except ClientError as error:
                if fault_of(error) is not Fault.ABSENT:  # S3 itself answers 204, others 404
                    raise

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
        ranges = self._ranges_of(item)
        with self._translated(f"fetching {item.key}"):
            for _ in range(_FETCHES):
                try:
                    download(ranges.open_range, item.size_bytes, target, stop)
                except ClientError as error:
                    if fault_of(error) is Fault.ABSENT:
                        return None
                    raise
                except Unavailable as error:
                    raise self._blamed(item, error) from error
                except DamagedObject:
                    continue
                if ranges.is_complete(target):
                    self._served = item
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
        ranges = self._ranges_of(item)
        with self._translated(f"reading {item.key}"):
            try:
                # in_order counts from the first byte of the range, the store from the first byte of the object
                yield from in_order(lambda at, last: ranges.open_range(offset + at, offset + last), size_bytes)
            except ClientError as error:
                if fault_of(error) is Fault.ABSENT:
                    raise ObjectChanged(f"{self.uri}/{item.key}: deleted since it was listed") from error
                raise
            except DamagedObject as error:
                raise ObjectChanged(f"{self.uri}/{item.key}: differs from the store's checksum ({error})") from error
            except Unavailable as error:
                raise self._blamed(item, error) from error

    def _ranges_of(self, item: StoredObject) -> ObjectRanges:
        return ObjectRanges(self._clients.for_ranges, self._request(item.key), item, self._etags)

    def _blamed(self, item: StoredObject, error: Unavailable) -> Unavailable:
        """Name the object that was not served, and say whether the store serves one that it has served before."""
        line = f"{self.uri}/{item.key}: {error}"
        try:
            other = self._other_object(item.key)
            if other:
                self._writer.client.get_object(**self._request(other), Range="bytes=0-0")["Body"].close()
        except (ClientError, *TRANSIENT_FAULTS, WatchmoveError):
            return Unavailable(line)
        return ObjectUnserved(f"{line} (the store serves other objects)") if other else Unavailable(line)

    def _other_object(self, key: str) -> str:
        """The key of an object that was fetched before, or else of one of the first that are listed; "" for none."""
        listed = chain([self._served] if self._served else [], islice(self.list(), _LISTED_OBJECTS))
        return next((item.key for item in listed if item.key != key and item.size_bytes), "")

    def reconnect(self) -> None:
        """Close the idle connections of all clients."""
        self._clients.close()

    def make(self) -> None:
        """Make the bucket unless it exists."""
        with self._translated("making the bucket"):
            try:
                self._writer.client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if fault_of(error) is Fault.ABSENT:
                    self._writer.make_bucket()
                    return
                if has_no_name(error) and status_of(error) < _LEAST_SERVER_ERROR:
                    self._writer.client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)  # names the error, as in `head`
                raise

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _request(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._key(key), **self._payer}

    def _translated(self, what: str) -> AbstractContextManager[None]:
        return translated(self.uri, self._bucket, what)
