"""What an error that S3 answers means, whichever request it answers: one table from names and statuses to faults."""

from enum import StrEnum

from botocore.exceptions import ClientError


class Fault(StrEnum):
    """Whose fault an error is, and whether a repetition can help."""

    ABSENT = "absent"
    """The object does not exist."""
    CHANGED = "changed"
    """A condition of the request does not hold: the object exists, or it is another one than was described."""
    CONFLICT = "conflict"
    """Another request changes the object at this moment."""
    UNSUPPORTED = "unsupported"
    """The store does not know a header of the request."""
    OBJECT = "object"
    """The store does not serve this object, and may serve others."""
    STORE = "store"
    """The bucket, the endpoint or the credentials are wrong."""
    TRANSIENT = "transient"
    """The same request may succeed later."""


KEY_REFUSALS = frozenset(
    {
        "ObjectParentIsFile", "ExistingObjectIsDirectory", "ExistingObjectIsFile",
        "XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "XMinioInvalidObjectName", "KeyTooLongError",
    }
)  # fmt: skip
"""What stores on a file system answer to a key that cannot be a path there, some with the status of a conflict."""

QUOTA_REFUSALS = frozenset(
    {
        "QuotaExceeded", "QuotaExceededException", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull",
        "InsufficientStorage", "StorageQuotaExceeded", "StorageFull", "HTTP status 507",
    }
)  # fmt: skip
"""What stores answer to a write for which there is no space, as a full disk."""

LOST_UPLOADS = frozenset({"NoSuchUpload", "InvalidPart"})
"""What stores answer where an upload in parts, or a part of it, is no longer there."""

_BY_NAME = {
    **dict.fromkeys(("NoSuchKey", "NotFound", "NoSuchVersion"), Fault.ABSENT),
    **dict.fromkeys(("PreconditionFailed",), Fault.CHANGED),
    **dict.fromkeys(("ConditionalRequestConflict", "OperationAborted"), Fault.CONFLICT),
    **dict.fromkeys(("NotImplemented",), Fault.UNSUPPORTED),
    **dict.fromkeys(KEY_REFUSALS, Fault.OBJECT),
    **dict.fromkeys(QUOTA_REFUSALS, Fault.TRANSIENT),
    **dict.fromkeys(LOST_UPLOADS, Fault.TRANSIENT),
    **dict.fromkeys(
        (
            "NoSuchBucket", "InvalidBucketName", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken",
            "XAdminUserNotFound", "AccountProblem", "NotSignedUp", "AllAccessDisabled", "AuthorizationHeaderMalformed",
            "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException", "UserSuspended",
        ),
        Fault.STORE,
    ),
    # BadDigest and the mismatches are damage on the way; ExpiredToken ends when a new run of the step gets credentials
    **dict.fromkeys(
        (
            "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException",
            "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded", "XMinioServerNotInitialized",
            "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody",
            "RequestTimeTooSkewed", "ExpiredToken", "ExpiredTokenException", "IDPCommunicationError", "RequestExpired",
            "TokenRefreshRequired",
        ),
        Fault.TRANSIENT,
    ),
}  # fmt: skip
"""Names of errors, of S3 itself and of compatible stores."""

_BY_STATUS = {
    401: Fault.STORE,
    404: Fault.ABSENT,
    407: Fault.STORE,
    408: Fault.TRANSIENT,
    409: Fault.CONFLICT,
    412: Fault.CHANGED,
    429: Fault.TRANSIENT,
    501: Fault.UNSUPPORTED,
    511: Fault.STORE,
}
"""HTTP statuses, for answers without a name: those to HEAD, and those of proxies."""

_SERVER_ERRORS = range(500, 600)

# What stores answer that do not take the SDK's checksum, or a condition on a write. Each has other causes too, so that
# the request is made again without the header before anything is concluded.
CHECKSUM_REFUSALS = frozenset(
    {"NotImplemented", "InvalidArgument", "InvalidRequest", "XAmzContentSHA256Mismatch", "MissingContentLength"}
)
CONDITION_REFUSALS = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "MethodNotAllowed"})


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an answer, 0 if it is unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def name_of(error: ClientError) -> str:
    """Return the store's name of an error, or `HTTP status N` where the answer names none."""
    name = str(error.response.get("Error", {}).get("Code", ""))
    return f"HTTP status {status_of(error)}" if not name or name.isdecimal() else name


def fault_of(error: ClientError) -> Fault:
    """Return whose fault an error is. An error that is not in the table concerns the object of the request."""
    known = _BY_NAME.get(name_of(error)) or _BY_STATUS.get(status_of(error))
    if known is Fault.ABSENT and name_of(error) not in _BY_NAME and not has_no_name(error):
        return Fault.STORE  # something else than the object is absent, such as the user
    if known is None:
        return Fault.TRANSIENT if status_of(error) in _SERVER_ERRORS else Fault.OBJECT
    return known


def has_no_name(error: ClientError) -> bool:
    """Return whether the answer has no name, like those to HEAD, so that only a GET tells the fault."""
    return name_of(error).startswith("HTTP status")
