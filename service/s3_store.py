"""A prefix of an S3 bucket as a store. Endpoint, region and credentials are the AWS SDK's own business."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from boto3.exceptions import Boto3Error
from botocore import exceptions as botocore_errors
from botocore.config import Config

from pipeline.errors import InvalidInput, Unavailable
from service.store import StoredObject, check_key

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_UNSUPPORTED = {"501", "NotImplemented"}
_PASSING = {
    "500", "502", "503", "504", "429", "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout",
    "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded",
    "XMinioServerNotInitialized",
    "IncompleteBody", "OperationAborted", "RequestTimeTooSkewed", "ExpiredToken",
}  # fmt: skip
_PASSING_FAULTS = (
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.IncompleteReadError,
    botocore_errors.ResponseStreamingError,
    botocore_errors.FlexibleChecksumError,
    Boto3Error,
)


class S3Store:
    """Objects are S3 objects. The SDK retries each request; what still fails is Unavailable and the step is retried."""

    def __init__(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        if not bucket:
            raise InvalidInput(f"store {uri!r}: names no bucket; write s3://BUCKET/PREFIX")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        retries = Config(retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=10, read_timeout=60)
        with self._translated("connecting"):
            # A session of its own: the module's default one is shared, and remembers credentials that have gone.
            session = boto3.session.Session()
            region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
            self._client: S3Client = session.client("s3", config=retries, region_name=region)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key starts with `prefix`, in the order of their keys."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._translated(f"listing {prefix}"):
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    if key and not key.endswith("/"):
                        yield StoredObject(key, item["Size"], item["ETag"].strip('"'))

    def head(self, key: str) -> StoredObject | None:
        """What is known of one object, or None where it is absent."""
        with self._translated(f"looking at {key}"):
            try:
                facts = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            except botocore_errors.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
        return StoredObject(key, facts["ContentLength"], facts["ETag"].strip('"'))

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None where it is absent."""
        with self._translated(f"reading {key}"):
            try:
                return self._client.get_object(Bucket=self._bucket, Key=self._key(key))["Body"].read()
            except botocore_errors.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise

    def write(self, key: str, data: bytes) -> None:
        """Write an object, replacing what was there."""
        with self._translated(f"writing {key}"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one, by a conditional write where the store has them."""
        with self._translated(f"creating {key}"):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
            except botocore_errors.ClientError as error:
                if _code(error) in _TAKEN:
                    return False
                if _code(error) not in _UNSUPPORTED:
                    raise
                return self._create_unconditionally(key, data)
        return True

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file, in parts where it is large."""
        with self._translated(f"uploading {key}"):
            self._client.upload_file(str(path), self._bucket, self._key(key))

    def local(self, key: str, target: Path) -> Path | None:
        """Fetch the object to `target`, whole or not at all."""
        remote = self._key(key)
        partial = target.with_name(target.name + ".partial")
        with self._translated(f"fetching {key}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._client.download_file(self._bucket, remote, str(partial))
            except botocore_errors.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            partial.replace(target)
        return target

    def make(self) -> None:
        """Make the bucket where it is absent."""
        with self._translated("making the bucket"):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except botocore_errors.ClientError as error:
                if _code(error) not in _ABSENT | {"NoSuchBucket"}:
                    raise
                self._make_bucket()

    def _make_bucket(self) -> None:
        region = self._client.meta.region_name
        try:
            if region == "us-east-1":
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

    def _create_unconditionally(self, key: str, data: bytes) -> bool:
        if self.head(key) is not None:
            return False
        self.write(key, data)
        return True

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except botocore_errors.ClientError as error:
            raise self._from_answer(what, error) from error
        except _PASSING_FAULTS as error:
            raise Unavailable(f"{self.uri}: {what}: {_first_line(error)}; the store cannot be reached") from error
        except botocore_errors.BotoCoreError as error:
            advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role, as the AWS SDK reads them"
            raise InvalidInput(f"{self.uri}: {what}: {_first_line(error)}; {advice}") from error
        except OSError as error:
            raise Unavailable(f"{self.uri}: {what}: {error}; free space or try again") from error

    def _from_answer(self, what: str, error: botocore_errors.ClientError) -> InvalidInput | Unavailable:
        code = _code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return InvalidInput(f"{self.uri}: there is no bucket {self._bucket!r}; make it or name another")
        if code in _PASSING or status >= 500 or status == 429:
            return Unavailable(f"{self.uri}: {what}: the store answered {code}")
        return InvalidInput(f"{self.uri}: {what}: the store answered {code}; check the URI, endpoint and credentials")


def _code(error: botocore_errors.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _first_line(error: Exception) -> str:
    return next(itertools.chain(str(error).splitlines(), [type(error).__name__]))
