"""Objects in a bucket of an S3 service.

boto3 speaks the protocol, but for the short way of single reads and writes (`exchange.py`); patience is ours
(`patience.py`), since its own retries know no deadline. What a service offers is found out once, with a small probe,
rather than believed: whether it honours `If-None-Match: *` (so that of two writers of one key one is told
AlreadyStored) and whether it takes `x-amz-checksum-sha256`. Every body is signed with the SHA-256 that it had when it
came in, so that the service refuses bytes that were altered since, here or on the way.

An answer may be lost after the object was written. The next attempt then meets an object under its key: if
size and SHA-256 are ours, that is success.

Above a threshold an object goes up in parts, several at a time, each read from memory or from the file as it
is sent. Deletes go one by one: multi-object delete fails on older services.
"""

import base64
import builtins
import contextlib
import contextvars
import datetime
import functools
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dicomweb.errors import AlreadyStored, BadSetting, Error, NotFound, Unavailable
from dicomweb.storage import Put, Stored
from dicomweb.storage.answers import Answer, BrokenOff
from dicomweb.storage.credentials import session
from dicomweb.storage.exchange import Exchange
from dicomweb.storage.keys import check_key, check_prefix
from dicomweb.storage.patience import Attempt, Patience, TooSlow
from dicomweb.storage.s3_errors import NO_BUCKET, TAKEN, may_pass, status_of, translated
from dicomweb.storage.sources import Source
from dicomweb.telemetry import traces

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListMultipartUploadsOutputTypeDef, ListObjectsV2OutputTypeDef

_T = TypeVar("_T")

_FIELDS = {"IfMatch": "If-Match", "Range": "Range"}
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_PROBE = ".probe-"
_GIVEN_UP_AFTER = datetime.timedelta(days=1)
_MOST_PARTS = 10_000
_IN_ONE_PIECE = 1 << 20
"""Bytes of a body that is handed to the HTTP client whole; longer ones are read in blocks, by the clock."""


class S3:
    """A Storage in a bucket. Open one in each process: its connections and threads do not survive a fork.

    Args:
        bucket: its name.
        prefix: what all keys begin with in the bucket; a slash is put between.
        endpoint: URL of the service; None is Amazon's.
        region: region to sign for; None is what boto3 finds.
        concurrency: connections that are kept; callers that want one at the same time.
        part: bytes from which an object goes up in parts, and bytes of a part.
        page: keys that a listing asks for at a time.
        patience: how long and how often the service is asked.

    Raises:
        BadSetting: bucket, prefix, endpoint or region are not well formed.
    """

    remote = True
    opener: Callable[[str, int], int] | None = None

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        concurrency: int = 64,
        part: int = 64 << 20,
        page: int = 1000,
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._part = part
        self._page_size = page
        self._writers = ThreadPoolExecutor(16, thread_name_prefix="s3-put")
        self._parts = ThreadPoolExecutor(4, thread_name_prefix="s3-part")
        self._connections = concurrency + 20
        self._exchange: Exchange | None = None
        self._making = threading.Lock()
        self._learning = threading.Lock()
        self._is_conditional: bool | None = None
        self._takes_checksum = True
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
            raise BadSetting("storage: an S3 URL is s3://BUCKET or s3://BUCKET/PREFIX.")
        try:
            check_prefix(self._prefix)
            self._session = session()
            self._client: S3Client = boto3.session.Session(botocore_session=self._session).client(
                "s3",
                endpoint_url=endpoint,
                region_name=region,
                config=Config(
                    connect_timeout=self._patience.connect,
                    read_timeout=self._patience.read,
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=self._connections,
                    tcp_keepalive=True,
                    signature_version="s3v4",
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": True},
                ),
            )
        except (ValueError, BotoCoreError) as error:
            raise BadSetting(f"storage: the S3 settings do not go together: {error}") from error
        self._client.meta.events.register("before-send.s3", _hand_on)

    def _ask(self, request: Callable[[Attempt], _T]) -> _T:
        """Send a request with patience.

        Raises:
            Error: what went wrong, as ours.
        """
        try:
            return self._patience.persist(request, may_pass)
        except Exception as error:
            ours = translated(error)
            if ours is None:
                raise
            raise ours from error

    def _learn(self) -> None:
        """Find out, once, what the service offers."""
        if self._is_conditional is not None:
            return
        with self._learning:
            if self._is_conditional is None:
                probe = f"{self._prefix}{_PROBE}{uuid.uuid4().hex}"
                digest = base64.b64encode(bytes.fromhex(_EMPTY)).decode()
                self._takes_checksum = self._does_take(probe, ChecksumSHA256=digest)
                if not self._takes_checksum:
                    self._ask(lambda _: self._client.put_object(Bucket=self._bucket, Key=probe, Body=b""))
                try:
                    self._does_take(probe, IfNoneMatch="*")
                    conditional = False
                except AlreadyStored:
                    conditional = True
                with contextlib.suppress(Error):
                    self._remove(probe)
                self._is_conditional = conditional

    def _does_take(self, probe: str, **more: Any) -> bool:
        """Whether the service writes an object when it is asked with these parameters too."""
        try:
            self._ask(lambda _: self._client.put_object(Bucket=self._bucket, Key=probe, Body=b"", **more))
        except Unavailable as error:
            if status_of(error.__cause__) in (400, 501):
                return False
            raise
        return True

    def put(self, puts: list[Put]) -> list[Exception | None]:
        """As Storage.put, several at a time. Where the service has no conditional writes, AlreadyStored is
        told by a look before writing, which two writers of one key at the same time may both pass."""
        for put in puts:
            check_key(put.key)
        if len(puts) == 1:
            return [self._put(puts[0])]
        own = [contextvars.copy_context() for _ in puts]
        return list(self._writers.map(lambda put, context: context.run(self._put, put), puts, own))

    def _put(self, put: Put) -> Exception | None:
        try:
            self._learn()
            if not isinstance(put.body, Path):
                view = memoryview(put.body)
                self._upload(put, view, len(view))
                return None
            with open(put.body, "rb", buffering=0) as file:
                self._upload(put, file.fileno(), os.fstat(file.fileno()).st_size)
        except NotFound as error:
            return Unavailable(str(error))
        except Error as error:
            return error
        except OSError:
            return Unavailable("The file to be stored cannot be read.")
        return None

    def _upload(self, put: Put, whole: memoryview | int, size: int) -> None:
        key = self._prefix + put.key
        if not self._is_conditional or size > self._part:
            with contextlib.suppress(NotFound):
                self._ask(lambda _: self._client.head_object(Bucket=self._bucket, Key=key))
                raise AlreadyStored(TAKEN)
        if size > self._part:
            self._upload_parts(put, whole, size)
        else:
            self._upload_whole(put, whole, size)

    def _upload_whole(self, put: Put, whole: memoryview | int, size: int) -> None:
        """Write an object with one request."""

        def send(attempt: Attempt) -> None:
            attempt.moves(size)
            source = Source(whole, 0, size, attempt)
            body = source.read() if size <= _IN_ONE_PIECE else source
            key, conditional = self._prefix + put.key, bool(self._is_conditional)
            try:
                if not self._straight().bring(key, body, put.sha256, _traced(), conditional, self._takes_checksum):
                    self._put_object(put, Source(whole, 0, size, attempt), size)
            except ClientError as error:
                if status_of(error) != 412 or attempt.number == 1 or not self._is_ours(put, size):
                    raise

        self._ask(send)

    def _put_object(self, put: Put, source: Source, size: int) -> None:
        """Write an object by the long way."""
        more: dict[str, Any] = {}
        if self._takes_checksum:
            more["ChecksumSHA256"] = base64.b64encode(put.sha256).decode()
        if self._is_conditional:
            more["IfNoneMatch"] = "*"
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._prefix + put.key,
            Body=source,  # type: ignore[arg-type]
            ContentLength=size,
            Metadata={"sha256": put.sha256.hex()},
            **more,
        )

    def _is_ours(self, put: Put, size: int) -> bool:
        """Whether the object under the key is what an attempt wrote whose answer was lost."""
        found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + put.key)
        return found["ContentLength"] == size and found["Metadata"].get("sha256") == put.sha256.hex()

    def _upload_parts(self, put: Put, whole: memoryview | int, size: int) -> None:
        """Write an object in parts; if one fails for good, the upload is taken back."""
        key = self._prefix + put.key
        made = self._ask(
            lambda _: self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, Metadata={"sha256": put.sha256.hex()}
            )
        )
        upload = made["UploadId"]
        length = max(self._part, -(-size // _MOST_PARTS))

        def send(number: int) -> str:
            start, stop = (number - 1) * length, min(number * length, size)

            def once(attempt: Attempt) -> str:
                attempt.moves(stop - start)
                return self._client.upload_part(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    Body=Source(whole, start, stop, attempt),  # type: ignore[arg-type]
                    ContentLength=stop - start,
                )["ETag"]

            return self._ask(once)

        condition: dict[str, Any] = {"IfNoneMatch": "*"} if self._is_conditional else {}

        def complete(attempt: Attempt) -> None:
            attempt.moves(size)
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in etags]},
                    **condition,
                )
            except ClientError as error:
                if status_of(error) not in (404, 412) or attempt.number == 1 or not self._is_ours(put, size):
                    raise

        parts: list[Future[str]] = []
        try:
            parts += (self._parts.submit(send, n) for n in range(1, -(-size // length) + 1))
            wait(parts, return_when=FIRST_EXCEPTION)
            etags = list(enumerate((part.result(0) for part in parts if part.done()), 1))
            self._ask(complete)
        except BaseException:
            for part in parts:
                part.cancel()
            wait(parts)
            with contextlib.suppress(Error):
                self._abort(key, upload)
            raise

    def _abort(self, key: str, upload: str) -> None:
        with contextlib.suppress(NotFound):
            self._ask(lambda _: self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload))

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """As Storage.read, whole or not at all: a body that breaks off is asked for again."""
        start, stop = self._resolve(check_key(key), start, stop)

        def fetch(attempt: Attempt) -> bytes:
            answer = self._open(key, start, stop)
            if answer is None:
                return b""
            attempt.moves(answer.left)
            with answer:
                return answer.take(answer.left, attempt)

        return b"" if start == stop else self._ask(fetch)

    def stream(self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        """As Storage.stream; a body that breaks off is taken up again where it did."""
        start, stop = self._resolve(check_key(key), start, stop)
        position, etag = start, ""
        while position != stop:
            begun = position
            answer = self._reopen(key, position, stop, etag)
            if answer is None:
                return
            etag = answer.etag
            with answer:
                while answer.left:
                    try:
                        piece = answer.take(min(chunk, answer.left), Attempt(self._patience))
                    except (BrokenOff, TooSlow) as error:
                        if position == begun:
                            raise Unavailable("The object store broke off.") from error
                        break
                    position += len(piece)
                    yield piece
                else:
                    return

    def _reopen(self, key: str, start: int, stop: int | None, etag: str) -> Answer | None:
        return self._ask(lambda _: self._open(key, start, stop, etag))

    def _resolve(self, key: str, start: int, stop: int | None) -> tuple[int, int | None]:
        """A range as slicing means it, as far as the size matters for that; an empty one is (n, n)."""
        if start < 0 or (stop is not None and (stop < 0 or stop <= start)):
            start, stop, _ = slice(start, stop).indices(self.size(key))
            stop = max(start, stop)
        return start, stop

    def _open(self, key: str, start: int, stop: int | None, etag: str = "") -> Answer | None:
        """Ask for [start, stop); None if the object ends before `start`."""
        conditions = {"IfMatch": etag} if etag else {}
        if start or stop is not None:
            conditions["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            body, fields = self._fetched(self._prefix + key, conditions) or self._got(self._prefix + key, conditions)
        except ClientError as error:
            if status_of(error) == 416:
                return None
            raise
        # A service may ignore the Range, or give more than was asked for.
        begin, size = 0, int(fields["content-length"])
        if match := re.fullmatch(r"bytes (\d+)-\d+/(\d+)", fields.get("content-range", "")):
            begin, size = int(match[1]), int(match[2])
        end = size if stop is None else min(stop, size)
        answered = Answer(body, fields.get("etag", ""), max(0, end - start))
        answered.skip(start - begin, Attempt(self._patience))
        return answered

    def _straight(self) -> Exchange:
        """The short way, made when first gone.

        Raises:
            Unavailable: there are no keys.
        """
        with self._making:
            if self._exchange is None:
                self._exchange = Exchange(self._session, self._client, self._bucket, self._patience, self._connections)
            return self._exchange

    def _fetched(self, key: str, conditions: dict[str, str]) -> tuple[Any, Mapping[str, str]] | None:
        """Body and header fields, by the short way; None if that leads to no bytes."""
        headers = {_FIELDS[name]: value for name, value in conditions.items()}
        answer = self._straight().fetch(key, headers, _traced())
        return None if answer is None else (answer.raw, answer.headers)

    def _got(self, key: str, conditions: dict[str, Any]) -> tuple[Any, Mapping[str, str]]:
        answer = self._client.get_object(Bucket=self._bucket, Key=key, **conditions)
        return answer["Body"], answer["ResponseMetadata"]["HTTPHeaders"]

    def size(self, key: str) -> int:
        """As Storage.size."""
        key = self._prefix + check_key(key)
        try:
            return self._ask(lambda _: self._client.head_object(Bucket=self._bucket, Key=key))["ContentLength"]
        except NotFound:
            # HEAD has no body to say whether it is the object or the bucket that is missing.
            try:
                self._ask(lambda _: self._client.head_bucket(Bucket=self._bucket))
            except NotFound as error:
                raise Unavailable(NO_BUCKET) from error
            raise

    def delete(self, key: str) -> None:
        """As Storage.delete."""
        self._remove(self._prefix + check_key(key))

    def _remove(self, key: str) -> None:
        with contextlib.suppress(NotFound):
            self._ask(lambda _: self._client.delete_object(Bucket=self._bucket, Key=key))

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """As Storage.list, a page at a time."""
        prefix = self._prefix + check_prefix(prefix)
        for key, size, modified in self._keys(prefix):
            if not key.startswith("."):
                yield Stored(key, size, modified.timestamp())

    def _keys(self, prefix: str) -> Iterator[tuple[str, int, datetime.datetime]]:
        more: dict[str, Any] = {}
        while True:
            page = self._ask(functools.partial(self._page, prefix, more))
            for found in page.get("Contents", []):
                yield found["Key"][len(self._prefix) :], found["Size"], found["LastModified"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, prefix: str, more: dict[str, Any], _: Attempt) -> "ListObjectsV2OutputTypeDef":
        return self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=self._page_size, **more)

    def check(self) -> None:
        """As Storage.check: writes a small object of a fixed name."""
        try:
            self._learn()
            key = f"{self._prefix}.check"
            self._ask(lambda _: self._client.put_object(Bucket=self._bucket, Key=key, Body=b""))
        except NotFound as error:
            raise Unavailable(str(error)) from error

    def sweep(self) -> None:
        """As Storage.sweep: uploads and probes that were begun more than a day ago."""
        before = datetime.datetime.now(datetime.UTC) - _GIVEN_UP_AFTER
        for name, _, modified in self._keys(self._prefix + _PROBE):
            if modified < before:
                self._remove(self._prefix + name)
        for key, upload in self._uploads_before(before):
            self._abort(key, upload)

    def _uploads_before(self, before: datetime.datetime) -> "builtins.list[tuple[str, str]]":
        """Name and upload id of what was begun before."""
        uploads: list[tuple[str, str]] = []
        more: dict[str, Any] = {"Prefix": self._prefix} if self._prefix else {}
        while True:
            page = self._ask(functools.partial(self._page_of_uploads, more))
            for found in page.get("Uploads", []):
                if found["Initiated"] < before and found["Key"].startswith(self._prefix):
                    uploads.append((found["Key"], found["UploadId"]))
            if not page.get("IsTruncated"):
                return uploads
            more |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _page_of_uploads(self, more: dict[str, Any], _: Attempt) -> "ListMultipartUploadsOutputTypeDef":
        return self._client.list_multipart_uploads(Bucket=self._bucket, **more)

    def close(self) -> None:
        """As Storage.close."""
        self._writers.shutdown()
        self._parts.shutdown()
        self._client.close()
        if self._exchange is not None:
            self._exchange.close()


def _hand_on(request: Any, **_: Any) -> None:
    """Tell the service which trace a request belongs to."""
    request.headers.update(_traced())


def _traced() -> dict[str, str]:
    trace = traces.current.get()
    return {} if trace is None else {"traceparent": trace.write()}
