"""An S3 service on loopback that fails as it is told: enough of the protocol for one bucket, no more.

`faults` is a queue: each request takes one name from it and suffers it, "" being none; when it is empty all
goes well. Bodies must have the SHA-256 that their signature claims, or they are refused.
"""

import contextlib
import hashlib
import threading
import urllib.parse
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from loopback import Quiet, serving

BUCKET = "archive"
_CODES = {
    "301": "PermanentRedirect",
    "400": "InvalidRequest",
    "403": "AccessDenied",
    "404 bucket": "NoSuchBucket",
    "409": "ConditionalRequestConflict",
    "412": "PreconditionFailed",
    "429": "TooManyRequests",
    "500": "InternalError",
    "501": "NotImplemented",
    "503": "SlowDown",
    "507": "InsufficientStorage",
}


@dataclass
class Faulty:
    """The service.

    Attributes:
        keeps: whether bodies are kept; if not, only their sizes are.
        conditional: honours If-None-Match; False ignores it, None refuses it.
        checksums: takes x-amz-checksum-sha256; False refuses it.
        requests: method and query or key of each, in order.
        connections: how many there were.
    """

    keeps: bool = True
    conditional: bool | None = True
    checksums: bool = True
    faults: deque[str] = field(default_factory=deque)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @contextlib.contextmanager
    def running(self) -> Iterator["Faulty"]:
        """Serve until the end of the block; what hangs is released then."""
        faulty = self

        class Handler(_Handler):
            service = faulty

        with serving(Handler) as self.url:
            try:
                yield self
            finally:
                self.released.set()


class _Handler(Quiet):
    service: Faulty

    def setup(self) -> None:
        super().setup()
        self.service.connections += 1

    def _begin(self) -> str:
        service = self.service
        url = urllib.parse.urlsplit(self.path)
        self.key = urllib.parse.unquote(url.path.removeprefix(f"/{BUCKET}").removeprefix("/"))
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        service.requests.append(f"{self.command} {url.query or self.key}".strip())
        service.headers.append({name.lower(): value for name, value in self.headers.items()})
        fault = service.faults.popleft() if service.faults else ""
        if fault == "hang":
            service.hanging.release()
            service.released.wait()
            self.close_connection = True
        elif fault == "drop":
            self._read_body()
            self.close_connection = True
        elif fault in _CODES:
            self._read_body()
            self._refuse(fault)
        elif fault == "garbage":
            self._read_body()
            self._answer(200, b"<not xml", {})
        else:
            return fault
        return "done"

    def _read_body(self) -> bytes:
        left, digest, pieces = int(self.headers.get("Content-Length", 0)), hashlib.sha256(), []
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                raise ConnectionError("the client left")
            left -= len(piece)
            digest.update(piece)
            pieces.append(piece if self.service.keeps else b"")
        self.is_whole = self.headers.get("x-amz-content-sha256") == digest.hexdigest()
        return b"".join(pieces)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, fault: str) -> None:
        body = f"<Error><Code>{_CODES.get(fault, 'NoSuchKey')}</Code><Message>at /secret</Message></Error>"
        elsewhere = {"x-amz-bucket-region": "eu-central-1"} if fault == "301" else {}
        self._answer(int(fault[:3]), body.encode(), {"Content-Type": "application/xml", **elsewhere})

    def do_PUT(self) -> None:
        fault = self._begin()
        if fault == "done":
            return None
        service, body = self.service, self._read_body()
        if not self.is_whole or (not service.checksums and "x-amz-checksum-sha256" in self.headers):
            return self._refuse("400")
        if "If-None-Match" in self.headers and service.conditional is not False:
            if service.conditional is None:
                return self._refuse("501")
            if self.key in service.objects:
                return self._refuse("412")
        if "partNumber" in self.query:
            if self.query["uploadId"] not in service.uploads:
                return self._refuse("404")
            service.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = body
        else:
            service.objects[self.key] = (body, self._metadata())
        if fault == "lost":
            return self._leave()
        return self._answer(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _leave(self) -> None:
        self.close_connection = True

    def _metadata(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def do_POST(self) -> None:
        fault = self._begin()
        if fault == "done":
            return None
        service = self.service
        self._read_body()
        if "uploads" in self.query:
            upload = f"upload-{len(service.requests)}"
            service.uploads[upload] = {}
            service.objects[f"meta of {upload}"] = (b"", self._metadata())
            return self._answer(200, _xml("InitiateMultipartUploadResult", "UploadId", upload), {})
        if self.query["uploadId"] not in service.uploads:
            return self._refuse("404")
        if "If-None-Match" in self.headers and self.key in service.objects:
            return self._refuse("412")
        parts = service.uploads.pop(self.query["uploadId"])
        _, metadata = service.objects.pop(f"meta of {self.query['uploadId']}")
        service.objects[self.key] = (b"".join(parts[number] for number in sorted(parts)), metadata)
        if fault == "lost":
            return self._leave()
        return self._answer(200, _xml("CompleteMultipartUploadResult", "Key", self.key), {})

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        fault = self._begin()
        if fault == "done":
            return None
        if not self.key:
            return self._answer(200, b"", {})
        if self.key not in self.service.objects:
            return self._refuse("404")
        body, headers = self.service.objects[self.key]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if self.headers.get("If-Match", etag) != etag:
            return self._refuse("412")
        status, headers = 200, {**headers, "ETag": etag}
        if "Range" in self.headers and fault != "no ranges":
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(body)) + 1, len(body))
            if start >= len(body):
                return self._refuse("416")
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            status, body = 206, body[start:stop]
        if self.command == "HEAD":
            return self._answer(status, body, headers)
        if fault == "short":
            self._answer(status, body[: len(body) // 2], {**headers, "Content-Length": str(len(body))})
            self.close_connection = True
        elif fault == "trickle":
            self._answer(status, b"", {**headers, "Content-Length": str(len(body))})
            for n in range(len(body)):
                self.wfile.write(body[n : n + 1])
                self.wfile.flush()
                if self.service.released.wait(0.01):
                    break
            self.close_connection = True
        else:
            self._answer(status, body, headers)
        return None

    def do_DELETE(self) -> None:
        if self._begin() == "done":
            return
        if "uploadId" in self.query:
            self.service.uploads.pop(self.query["uploadId"], None)
        self.service.objects.pop(self.key, None)
        self._answer(204, b"", {})


def _xml(outer: str, inner: str, text: str) -> bytes:
    return f"<{outer}><{inner}>{escape(text)}</{inner}></{outer}>".encode()
