"""The SDK's clients of one store, with the endpoint, region and credentials that the SDK finds in the environment."""

import os
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.text_lines import has_credentials, without_credentials
from watchmove.service.store.ranged_download import CONNECTIONS
from watchmove.service.store.s3_errors import count_retries, waiter_for_retry_after

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_ATTEMPTS = 6
"""Attempts of the SDK for one request. Set by hand; not tuned."""

_WITHOUT_BLANKS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
)
"""Variables that the SDK takes as they are: one made of a file often ends with the file's line break."""

_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})

_LISTING = b"ListBucketResult"
"""The root of a listing in XML."""

_NO_URL = "Invalid endpoint: "
"""Begins the message of botocore's ValueError for an endpoint that is no URL."""


class S3Clients:
    """Clients for one store; timeouts and attempts are set by hand, and not tuned."""

    def __init__(self, uri: str, *, unsigned: bool) -> None:
        self._uri = uri
        self._unsigned = unsigned
        self._made: list[S3Client] = []

    def close(self) -> None:
        """Close the idle connections of all clients, which stay usable."""
        for client in self._made:
            client.close()

    @cached_property
    def with_checksums(self) -> "S3Client":
        """The client for single requests, which adds the checksum that the SDK's settings ask for."""
        return self._for_requests(None)

    @cached_property
    def without_checksums(self) -> "S3Client":
        """The client for single requests to a store that refuses the SDK's checksum."""
        return self._for_requests("when_required")

    @cached_property
    def for_ranges(self) -> "S3Client":
        """A client that makes one attempt for each request, because `ranged_download` resumes broken requests."""
        return self._new(attempts=1, read_timeout_seconds=30, connections=8 * CONNECTIONS)

    def _for_requests(self, checksums: Literal["when_required"] | None) -> "S3Client":
        client = self._new(attempts=_ATTEMPTS, read_timeout_seconds=60, connections=10, checksums=checksums)
        client.meta.events.register_first("needs-retry.s3", waiter_for_retry_after(_ATTEMPTS))
        client.meta.events.register("before-parse.s3.ListObjectsV2", self._check_listing)
        count_retries(client.meta.events)
        return client

    def _check_listing(self, response_dict: dict[str, Any], **_: object) -> None:
        """Raise Unavailable if an answer is no listing: the SDK finds no objects in any other document.

        The handler of an event of the SDK.
        """
        if response_dict["status_code"] == HTTPStatus.OK and _LISTING not in response_dict["body"]:
            raise Unavailable(
                f"{self._uri}: the answer to a listing is no listing; check that the endpoint is S3's, and not a "
                "console's for browsers, or run again later"
            )

    def _check_redirection(self, response: tuple[Any, dict[str, Any]] | None, **_: object) -> None:
        """Raise InvalidInput if another server than S3's redirects a request.

        The SDK would ask for the bucket's region, be redirected again, and so on without an end. The handler of an
        event of the SDK.
        """
        if response is None or response[0].status_code not in _REDIRECTIONS:
            return
        headers, name = response[0].headers, str(response[1].get("Error", {}).get("Code", ""))
        if "x-amz-bucket-region" not in headers and (not name or name.isdecimal()):
            place = without_credentials(headers.get("location", "another address"))
            raise InvalidInput(
                f"{self._uri}: the endpoint redirects requests to {place}; name the endpoint there in "
                "AWS_ENDPOINT_URL_S3, or the region of the bucket in AWS_REGION"
            )

    def _new(
        self,
        attempts: int,
        read_timeout_seconds: int,
        connections: int,
        checksums: Literal["when_required"] | None = None,
    ) -> "S3Client":
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10,
            read_timeout=read_timeout_seconds,
            max_pool_connections=connections,
            signature_version=UNSIGNED if self._unsigned else None,
            request_checksum_calculation=checksums,
        )
        for name in _WITHOUT_BLANKS:
            value = os.environ.get(name, "")
            if value != value.strip():
                raise InvalidInput(f"{self._uri}: {name} begins or ends with a blank or a line break; remove it")
        bundle = os.environ.get("AWS_CA_BUNDLE")
        if bundle and not Path(bundle).exists():
            raise InvalidInput(f"{self._uri}: AWS_CA_BUNDLE ({bundle}): no such file; mount it or unset the variable")
        # A new session, because boto3's default session is shared and keeps credentials that are no longer valid.
        session = boto3.session.Session()
        # botocore itself reads AWS_DEFAULT_REGION but not AWS_REGION
        region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
        try:
            client: S3Client = session.client("s3", config=config, region_name=region)
        except ValueError as error:
            if not str(error).startswith(_NO_URL):
                raise
            # without what may be a user and a password
            name = str(error).removeprefix(_NO_URL).rpartition("@")[2]
            variable = "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"
            raise InvalidInput(
                f"{self._uri}: invalid endpoint {name!r}; write it with http:// or https:// ({variable})"
            ) from error
        if has_credentials(client.meta.endpoint_url):
            raise InvalidInput(
                f"{self._uri}: the endpoint has a user or a password, which the SDK does not use; remove them from "
                "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        client.meta.events.register_first("needs-retry.s3", self._check_redirection)
        self._made.append(client)
        return client
