"""Response bodies: whole or streamed, a byte range of one, one that the client holds already.

A Body says how long it is before a byte of it is read, so Content-Length is always there, HEAD and 304 cost
no storage access, and a range of a multipart answer is a range of the very bytes that the whole answer has
(PS3.18 8.6.1.1). What is at most `WHOLE` bytes is read in the handler's own thread hop; longer bodies are
pumped.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from dicomweb.archive.content import BATCH, Content, Segment, gather
from dicomweb.deflate import write_gzip
from dicomweb.standard import multipart
from dicomweb.web.conditions import read_range, unchanged
from dicomweb.web.threads import Pump, departure

WHOLE = BATCH
"""Bodies of at most so many bytes are read at once; longer ones are streamed."""

REVALIDATED = b"private, no-cache"
"""Cache-Control of all that is stored (W-442). What a UID names may be replaced, or deleted and stored anew with other
content; so whoever keeps an answer asks by its ETag whether it still holds, which costs no storage access."""

_DESCRIBED = 16
"""Parts of an answer whose description is kept until they are sent; of more it is made twice."""

_GZIP_LEAST = 1400

Reader = Callable[[Iterable[Segment], int, int | None], Iterator[bytes]]
"""Yields bytes [start, stop) of segments: `archive.content.read` bound to a storage."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is to be sent.

    Attributes:
        content_type: header value, parameters included.
        segments: makes the pieces, each time anew.
        size: bytes, or None where that would have to be found out by making it.
    """

    content_type: str
    segments: Callable[[], Iterable[Segment]]
    size: int | None


def single(content: Content) -> Body:
    """The bare thing as the whole body (W-041, W-057)."""
    return Body(_type_of(content), lambda: content.segments, content.size)


def multiple(contents: Callable[[], Iterable[Content]], etag: str, base: str, known: bool = True) -> Body:
    """One part per thing (PS3.18 8.6.1.2), with a boundary that is the same for the same answer.

    Args:
        contents: makes the things to send, each time the same; at least one.
        etag: names the answer.
        base: base URL of the DICOMweb services, for Content-Location.
        known: sizes cost nothing to find out, so that the whole length can be told beforehand.
    """
    boundary = multipart.boundary_for(etag)
    closing = multipart.write_end(boundary)
    prefix = _prefix(base)
    openings: dict[tuple[str, str], bytes] = {}

    def head(content: Content, first: bool) -> bytes:
        """As `multipart.write_head`, which is called once for each type: heads differ in numbers and UIDs."""
        kind = (content.media_type, content.syntax)
        opening = openings.get(kind)
        if opening is None:
            opening = openings[kind] = multipart.write_head(boundary, _type_of(content))[:-2]
        where = f"Content-Location: {prefix}{content.location}\r\n" if content.location else ""
        length = f"Content-Length: {content.size}\r\n" if content.size is not None else ""
        fields = f"{length}{where}\r\n".encode("ascii")
        return (opening[2:] if first else opening) + fields

    def segments() -> Iterator[Segment]:
        if whole:
            for opening, content in described:
                yield opening
                yield from content.segments
        else:
            for number, content in enumerate(contents()):
                yield head(content, number == 0)
                yield from content.segments
        yield closing

    size = len(closing) if known else None
    kind = ""
    described: list[tuple[bytes, Content]] = []
    whole = True  # so few that they need not be described again
    for number, content in enumerate(contents()):
        kind = kind or content.media_type
        if size is None or content.size is None:
            size, whole = None, False
            break
        opening = head(content, number == 0)
        size += len(opening) + content.size
        if number < _DESCRIBED:
            described.append((opening, content))
        else:
            whole = False
    return Body(f'multipart/related; type="{kind}"; boundary={boundary}', segments, size)


@lru_cache(maxsize=256)
def _prefix(base: str) -> str:
    """What Content-Location begins with."""
    return quote(base, safe="/:[]@!$&'()*+,;=%~") + "/"


def _type_of(content: Content) -> str:
    if content.syntax:
        return f"{content.media_type}; transfer-syntax={content.syntax}"
    return content.media_type


def tag(*facts: object) -> str:
    """Make a strong entity tag (RFC 9110 8.8.3) from everything that decides about the bytes."""
    return f'"{blake2b(repr(facts).encode(), digest_size=15).hexdigest()}"'


class Answer(Response):
    """A response whose body is pieces in memory, or batches of pieces that are drawn from a blocking generator
    as the client takes them."""

    def __init__(
        self,
        status: int,
        fields: list[tuple[bytes, bytes]],
        body: bytes | list[bytes] = b"",
        batches: Iterator[list[bytes]] | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.raw_headers = fields
        self._pieces = [body] if isinstance(body, bytes) else body
        self._batches = batches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI); of a streamed one the first batch is made before the status goes out, so
        that a failure still gets its own."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if self._batches is not None:
            await self._stream(start, receive, send)
            return
        await send(start)
        *pieces, last = self._pieces or [b""]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": last})

    async def _stream(self, start: Message, receive: Receive, send: Send) -> None:
        assert self._batches is not None
        pump = Pump(self._batches)
        gone: asyncio.Future[None] | None = None
        try:
            batch = await pump.next()
            await send(start)
            gone = asyncio.ensure_future(departure(receive))
            while batch is not None:
                for piece in batch:
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                batch = await pump.next()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            pump.close()
            if gone is not None:
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone


def respond(
    request: Request,
    make: Callable[[], Body],
    read: Reader,
    *,
    etag: str,
    fields: Iterable[tuple[bytes, bytes]] = (),
    vary: bytes = b"Accept",
) -> Answer:
    """Answer a GET or HEAD with a body, or as much of it as the client asks for. Blocks: call in a thread.

    Args:
        request: for its conditions.
        make: makes what there is to send; not called for what the client holds already.
        read: reads segments.
        etag: names the body.
        fields: further header fields.
        vary: request headers that the choice of the body depended on.

    Raises:
        BadRange: no byte of the body lies in the range asked for.
        Unavailable, Corrupt, ...: whatever reading raises.
    """
    asked = dict(request.scope["headers"])
    headers = [(b"etag", etag.encode()), (b"cache-control", REVALIDATED), (b"vary", vary), *fields]
    if unchanged(_text(asked.get(b"if-none-match")), etag):
        return Answer(304, headers)
    body = make()
    headers.append((b"content-type", body.content_type.encode("latin-1")))
    if body.size is None:
        headers.append((b"accept-ranges", b"none"))
        if request.method == "HEAD":
            return Answer(200, headers)
        return Answer(200, headers, batches=gather(read(body.segments(), 0, None)))
    headers.append((b"accept-ranges", b"bytes"))
    status, start, stop = 200, 0, body.size
    if b"range" in asked and request.method == "GET":
        wanted = read_range(_text(asked[b"range"]), _text(asked.get(b"if-range")), etag, body.size)
        if wanted is not None:
            status, (start, stop) = 206, wanted
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, body.size)))
    headers.append((b"content-length", b"%d" % (stop - start)))
    if request.method == "HEAD":
        return Answer(status, headers)
    pieces = read(body.segments(), start, stop)
    batches = gather(pieces)
    if stop - start > WHOLE:
        return Answer(status, headers, batches=batches)
    return Answer(status, headers, next(batches, []))


def document(
    request: Request,
    data: bytes,
    content_type: str,
    *,
    etag: str | None = None,
    fields: Iterable[tuple[bytes, bytes]] = (),
    status: int = 200,
) -> Answer:
    """Answer with JSON or another text that is in memory, gzipped for clients that take it.

    Args:
        request: for its conditions and Accept-Encoding.
        data: the text.
        content_type: header value.
        etag: names the text; None makes one from the data.
        fields: further header fields.
        status: of the answer; conditions count for 200 only.
    """
    asked = dict(request.scope["headers"])
    zipped = len(data) >= _GZIP_LEAST and accepts_gzip(_text(asked.get(b"accept-encoding")))
    etag = etag or f'"{blake2b(data, digest_size=15).hexdigest()}"'
    if zipped:
        etag = zipped_tag(etag)
    headers = [
        (b"etag", etag.encode()),
        (b"cache-control", REVALIDATED),
        (b"vary", b"Accept, Accept-Encoding"),
        *fields,
    ]
    if status == 200 and unchanged(_text(asked.get(b"if-none-match")), etag):
        return Answer(304, headers)
    if zipped:
        data = write_gzip(data)
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-type", content_type.encode("latin-1")))
    headers.append((b"content-length", b"%d" % len(data)))
    return Answer(status, headers, b"" if request.method == "HEAD" else data)


def zipped_tag(etag: str) -> str:
    """The entity tag of the gzipped form: another representation, so another strong tag (RFC 9110 8.8.3)."""
    return f'{etag[:-1]}-gzip"'


def accepts_gzip(header: str | None) -> bool:
    """Read Accept-Encoding (RFC 9110 12.5.3): is gzip among the codings, or `*`, and not with q=0."""
    if not header:
        return False
    verdict = False
    for entry in header.lower().split(","):
        name, _, parameters = entry.partition(";")
        name = name.strip()
        if name in {"gzip", "x-gzip", "*"}:
            quality = parameters.replace(" ", "").removeprefix("q=")
            refused = bool(quality) and not quality.strip("0.")
            if name != "*":
                return not refused
            verdict = not refused
    return verdict


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
