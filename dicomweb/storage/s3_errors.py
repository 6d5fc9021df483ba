"""What a failure of an S3 service means: whether it may pass, and which of our errors it is.

Services agree on the status more than on the code, so the code counts only where the status says too little.
"""

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError

from dicomweb.errors import AlreadyStored, Error, OutOfSpace, Unavailable, Vanished
from dicomweb.storage.answers import BrokenOff
from dicomweb.storage.patience import TooSlow

TAKEN = "There is an object under this key already."
NO_BUCKET = "The bucket of the object store does not exist."
_PASSING_CODES = {
    "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError",
    "OperationAborted", "ConditionalRequestConflict", "ServiceUnavailable",
    "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch",
}  # fmt: skip
_FULL_CODES = {"InsufficientStorage", "InsufficientCapacity", "QuotaExceeded", "XMinioStorageFull"}


def status_of(error: BaseException | None) -> int:
    """The HTTP status that a service refused with; 0 if it was something else."""
    if not isinstance(error, ClientError):
        return 0
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def code_of(error: ClientError) -> str:
    """The code that a service refused with, as far as it is a word."""
    return re.sub(r"[^A-Za-z0-9]", "", error.response.get("Error", {}).get("Code", ""))[:60]


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ClientError):
        status, code = status_of(error), code_of(error)
        if code in _FULL_CODES:
            return False
        return code in _PASSING_CODES or status in (408, 429) or (status >= 500 and status not in (501, 507))
    if isinstance(error, HTTPClientError):
        return not _is_too_slow(error)
    return isinstance(error, ResponseParserError | BrokenOff)


def _is_too_slow(error: BaseException) -> bool:
    """Whether our own deadline is behind what the HTTP client raised."""
    return isinstance(error, TooSlow) or isinstance(getattr(error, "kwargs", {}).get("error"), TooSlow)


def translated(error: Exception) -> Error | None:
    """Our error for one of boto3's; None for what is none of these."""
    if isinstance(error, ClientError):
        status, code = status_of(error), code_of(error)
        if code == "NoSuchBucket":
            return Unavailable(NO_BUCKET)
        if status == 404:
            return Vanished("There is no object under this key.")
        if status == 412:
            return AlreadyStored(TAKEN)
        if status == 507 or code in _FULL_CODES:
            return OutOfSpace("The object store has no room left.")
        if status in (401, 403):
            return Unavailable(f"The object store refuses access to the bucket: {code or status}.")
        return Unavailable(f"The object store cannot do this now: {code or status}.")
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return Unavailable("There are no credentials for the object store.")
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError) or _is_too_slow(error):
        return Unavailable("The object store did not answer in time.")
    if isinstance(error, NoConnection):
        return Unavailable("The object store cannot be reached.")
    if isinstance(error, BotoCoreError | ResponseParserError | BrokenOff):
        return Unavailable("The object store broke off.")
    return error if isinstance(error, Error) else None
