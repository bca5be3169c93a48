"""Writes to one bucket with what its store is known to take: the SDK's checksum, and conditions."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError

from watchmove.pipeline.errors import Unavailable
from watchmove.service.store.s3_answers import (
    CHECKSUM_REFUSALS,
    CONDITION_REFUSALS,
    LOST_UPLOADS,
    Fault,
    fault_of,
    name_of,
)
from watchmove.service.store.s3_clients import S3Clients
from watchmove.service.store.s3_errors import answer_below

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_CONFLICTS = 6
"""Conditional writes that may conflict with another writer before that is an error. Set by hand; not tuned."""

_FIRST_CONFLICT_DELAY_SECONDS = 0.1
"""The bound on the random delay after conflict N is this times two to the N. Set by hand; not tuned."""


class S3Writer:
    """Writes objects by their complete keys.

    client: the client for single requests, without the SDK's checksum once the store has refused that;
    keeps_conditions: whether the store keeps conditions on writes, None before that is known.
    """

    def __init__(self, uri: str, bucket: str, clients: S3Clients) -> None:
        self._uri = uri
        self._bucket = bucket
        self._clients = clients
        self.client = clients.with_checksums
        self.keeps_conditions: bool | None = None

    def put(self, key: str, data: bytes, **condition: Any) -> None:
        """Write an object in one request."""
        arguments = {"Bucket": self._bucket, "Key": key, "Body": data, **condition}
        self._send(lambda client: client.put_object(**arguments))

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file; the SDK uploads a large file in parts."""
        try:
            self._send(lambda client: client.upload_file(str(path), self._bucket, key))
        except (ClientError, S3UploadFailedError) as error:
            answer = answer_below(error)
            if answer is None or name_of(answer) not in LOST_UPLOADS:
                raise
            # Stores that forget a complete upload answer so to the SDK's second request to complete it, which it makes
            # if the answer to the first was lost.
            self._send(lambda client: client.upload_file(str(path), self._bucket, key))

    def make_bucket(self) -> None:
        """Make the bucket; nothing happens if it exists."""
        region = self.client.meta.region_name
        try:
            if region == "us-east-1":  # S3 refuses this region as a location constraint
                self.client.create_bucket(Bucket=self._bucket)
            else:
                self.client.create_bucket(
                    Bucket=self._bucket,
                    CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]
                )
        except (self.client.exceptions.BucketAlreadyOwnedByYou, self.client.exceptions.BucketAlreadyExists):
            return

    def put_new(self, key: str, data: bytes) -> bool | None:
        """Write an object unless the key exists, and return whether it was written; None without conditional writes.

        Raises Unavailable if other writers are in conflict all the time.
        """
        for attempt in range(_CONFLICTS):
            try:
                self.put(key, data, IfNoneMatch="*")
            except ClientError as error:
                if fault_of(error) is Fault.CHANGED:
                    self.keeps_conditions = True
                    return False
                if fault_of(error) is Fault.UNSUPPORTED or name_of(error) in CONDITION_REFUSALS:
                    return None
                if fault_of(error) is not Fault.CONFLICT:
                    raise
            else:
                self._learn_of_conditions(key, data)
                return True
            # After a conflict it is possible that neither writer has written, so this one tries again.
            time.sleep(random.uniform(0, _FIRST_CONFLICT_DELAY_SECONDS * 2**attempt))
        raise Unavailable(
            f"{self._uri}: creating {key}: {_CONFLICTS} times in conflict with another writer; run again later"
        )

    def _learn_of_conditions(self, key: str, data: bytes) -> None:
        """Find out, once, whether the store keeps conditions: creating an object that exists must fail."""
        if self.keeps_conditions is not None:
            return
        try:
            self.put(key, data, IfNoneMatch="*")  # the same bytes, which change nothing where the condition is ignored
        except ClientError as error:
            self.keeps_conditions = True if fault_of(error) is Fault.CHANGED else None
        else:
            self.keeps_conditions = False
            structlog.get_logger().warning(
                "the store ignores conditional writes",
                store=self._uri,
                advice="do not start two runs of one name, or two steps of one run, at the same moment",
            )

    def _send(self, request: "Callable[[S3Client], object]") -> None:
        """Make a request with content, from now on without the SDK's checksum if only that makes it succeed."""
        plain = None
        try:
            request(self.client)
        except (ClientError, S3UploadFailedError) as error:
            answer = answer_below(error)
            if answer is None or name_of(answer) not in CHECKSUM_REFUSALS:
                raise
            plain = self._clients.without_checksums
            if plain is self.client:
                raise
        if plain is not None:
            request(plain)
            self.client = plain
