"""STOW-RS: the Store transaction of the Studies service (PS3.18 10.5).

The body is read as a stream. Parts are spooled as they arrive and stored in batches, so that memory grows
neither with the body nor with a part nor with their number; each instance ends as an outcome.
"""

import threading
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dicomweb.archive.archive import Archive
from dicomweb.archive.assembly import BulkPart, assemble
from dicomweb.archive.spool import Reception, Upload
from dicomweb.archive.stages import STAGES
from dicomweb.archive.store import OnConflict
from dicomweb.errors import BadObject, BadRequest, Error, OutOfSpace, TooLarge, UnsupportedMedia
from dicomweb.standard import dicomjson, media, multipart, nativexml, negotiation, outcomes, resources
from dicomweb.standard.outcomes import Outcome
from dicomweb.telemetry.measures import Tally
from dicomweb.web.addresses import base_url
from dicomweb.web.auditing import note_outcomes
from dicomweb.web.problems import RETRY_AFTER
from dicomweb.web.threads import hop_storing

_HOP = 1 << 20
"""Bytes of a body that are gathered before a thread takes them."""
_BATCH_BYTES = 8 << 20
_BATCH_PARTS = 64
_HELD_BYTES = 16 << 20
"""Metadata and bulk data that are held in memory until the body is complete; what comes after goes to disk."""
_LOOK_BYTES = 32 << 20
"""Bytes of a body after which room is looked for again."""
_METADATA_BYTES = 64 << 20
"""Of one part of metadata, which is read as a whole."""

_OBJECT = "application/dicom"
_JSON = frozenset(("application/dicom+json", "application/json"))
_XML = frozenset(("application/dicom+xml", "application/xml", "text/xml"))
STORED = Tally(
    "roentgate_store_instances_total", "Instances of Store requests: what became of them, Failure Reason.",
    ("outcome", "reason"),
)  # fmt: skip
_READ = "multipart/related of application/dicom, +json or +xml parts, or one application/dicom"


async def store(request: Request) -> Response:
    """POST /studies and /studies/{study}: store instances (PS3.18 10.5)."""
    return await receive(request, hop_storing)


async def receive(request: Request, hop: Callable[..., Awaitable[Any]]) -> Response:
    """Store the instances of a request; `hop` runs what blocks in a thread."""
    study = request.path_params.get("study")
    if study is not None:
        study = resources.read_uid(study)
    base = base_url(request)
    conflict = _read_conflict(request.headers.get("on-conflict"))
    session = Session(request.app.state.archive, request.headers.get("content-type", ""), study, conflict)
    length = request.headers.get("content-length", "")
    session.coming = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
    chunks: list[bytes] = []
    waiting = 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            waiting += len(chunk)
            if waiting >= _HOP:
                await hop(session.take, chunks)
                chunks, waiting = [], 0
        return await hop(_finish, session, chunks, request, base)
    except ClientDisconnect as error:
        hop(session.discard)
        raise BadRequest("the client left before the body was complete") from error
    except BaseException:
        # A thread may still be at work for a request that was given up; it is waited for there, not here.
        hop(session.discard)
        raise


def _read_conflict(text: str | None) -> OnConflict | None:
    """Read the header On-Conflict (ours), by which a request has other content under a SOP Instance UID that is taken
    kept or refused, whatever the setting says. To replace what others stored is the setting's alone."""
    if text is None:
        return None
    if text == "keep":
        return "keep"
    if text == "refuse":
        return "refuse"
    raise BadRequest("On-Conflict is keep or refuse")


def _finish(session: "Session", chunks: list[bytes], request: Request, base: str) -> Response:
    """Take the last bytes, store what is left, and say what became of each instance (PS3.18 10.5.3)."""
    session.take(chunks)
    results = session.finish()
    for result in results:
        STORED.add((result.state, f"{result.reason:04X}" if result.reason is not None else "none"))
    note_outcomes(request, results)
    session.discard()
    status, model = outcomes.respond(results, base)
    if negotiation.for_store(media.read_accept(request.headers.get("accept"))) == "xml":
        response = Response(nativexml.write(model, base), status, media_type=media.XML)
    else:
        response = Response(dicomjson.write(model), status, media_type=media.JSON)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    if where := dicomjson.text_of(model.get("00081190")):
        response.headers["Location"] = where  # W-259; no Content-Location: the body is not what was stored
    for warning in outcomes.warnings(results, base):
        response.headers.append("Warning", warning)
    return response


class Session:
    """One Store request while its body arrives. Its methods block: they belong in a thread.

    Args:
        archive: where instances go.
        content_type: of the request.
        study: Study Instance UID of the URL, or None.
        on_conflict: what to do with other content under a SOP Instance UID that is taken; None is the setting.

    Attributes:
        coming: bytes that are still to come, as far as the client said.

    Raises:
        UnsupportedMedia: the request's media type is none that Store reads (PS3.18 10.5.4).
        BadRequest: the Content-Type cannot be read, or has no boundary.
    """

    def __init__(
        self, archive: Archive, content_type: str, study: str | None, on_conflict: OnConflict | None = None
    ) -> None:
        self._archive = archive
        self._study = study
        self._on_conflict = on_conflict
        self._outcomes: list[Outcome] = []
        self._batch: list[Upload] = []
        self._batch_bytes = 0
        self._metadata: list[tuple[Upload, str]] = []
        self._bulk: dict[str, list[BulkPart]] = {}
        self._part: _Part | None = None
        self._reader: multipart.PartReader | None = None
        self._held = 0
        self.coming = 0
        self._unlooked = _LOOK_BYTES
        self._lock = threading.Lock()
        self._over = False
        self._begun = perf_counter()
        kind = media.read_type(content_type) if content_type else None
        if kind is None:
            raise UnsupportedMedia(f"the request has no Content-Type; Store reads {_READ}")
        self._root = kind.params.get("type", "").lower()
        if kind.name == "multipart/related":
            limits = multipart.Limits(archive.config.limit_parts, archive.config.limit_part_header_bytes)
            boundary = multipart.boundary_of(content_type)
            self._reader = multipart.PartReader(boundary, limits, counted=multipart.is_ours(boundary))
        elif kind.name == _OBJECT:
            self._part = _Part(archive.spool.receive(), _OBJECT, kind.params.get("transfer-syntax", ""), "")
        else:
            raise UnsupportedMedia(f"Store does not read {kind.name}; it reads {_READ}")

    def take(self, chunks: list[bytes]) -> None:
        """Take the next bytes of the body.

        Raises:
            BadRequest, TooLarge: the body is not well formed, or above a limit.
            OutOfSpace: there is no room for it, and nothing of it was stored.
        """
        with self._lock:
            if not self._over:
                self._take(chunks)

    def _take(self, chunks: list[bytes]) -> None:
        self._look(sum(map(len, chunks)))
        for chunk in chunks:
            if self._reader is None:
                assert self._part is not None
                self._part.write(chunk)
                continue
            for event in self._reader.feed(chunk):
                if isinstance(event, multipart.PartData):
                    assert self._part is not None
                    self._part.write(event.data)
                elif isinstance(event, multipart.PartStart):
                    self._part = self._begin(event.headers)
                else:
                    self._end()

    def _look(self, size: int) -> None:
        """See that there is room, before the first bytes are taken and every so often. Once objects of the request
        are stored, each of the others is refused by itself."""
        if self._unlooked >= _LOOK_BYTES:
            self._unlooked = 0
            try:
                self._archive.room.check(self.coming)
            except OutOfSpace as error:
                if not self._outcomes:
                    raise
                if self._part is not None:
                    self._part.problem = error
        self._unlooked += size
        self.coming = max(0, self.coming - size)

    def finish(self) -> list[Outcome]:
        """Store what is left when the body is complete, and return the outcomes of all.

        Raises:
            BadRequest: the body ends too early, or there was nothing in it.
        """
        with self._lock:
            if self._reader is None:
                self._end()
            else:
                self._reader.finish()
            self._assemble()
            self._flush()
        if not self._outcomes:
            raise BadRequest("the request holds no instance")
        return self._outcomes

    def discard(self) -> None:
        """Forget what was not stored; nothing is taken any more."""
        with self._lock:
            self._over = True
            if self._part is not None:
                self._part.reception.discard()
            parts = [part.upload for found in self._bulk.values() for part in found]
            for upload in [*self._batch, *(upload for upload, _ in self._metadata), *parts]:
                upload.discard()

    def _begin(self, headers: dict[str, str]) -> "_Part":
        text = headers.get("content-type", "")
        kind = media.read_type(text) if text else None
        name = kind.name if kind else self._root or _OBJECT
        syntax = kind.params.get("transfer-syntax", "") if kind else ""
        waits = name != _OBJECT and self._held >= _HELD_BYTES
        reception = self._archive.spool.receive(0 if waits else None)
        return _Part(reception, name, syntax, headers.get("content-location", ""))

    def _end(self) -> None:
        part, self._part = self._part, None
        assert part is not None
        if part.problem is not None:
            part.reception.discard()
            self._outcomes.append(outcomes.from_error(part.problem))
            return
        upload = part.reception.finish()
        if part.media_type == _OBJECT:
            self._add(upload)
            return
        self._held += upload.size if isinstance(upload.body, bytes) else 0
        if part.media_type in _JSON or part.media_type in _XML:
            self._metadata.append((upload, part.media_type))
        else:
            self._bulk.setdefault(part.location, []).append(BulkPart(upload, part.media_type, part.syntax))

    def _add(self, upload: Upload) -> None:
        """Put an object into the batch, and store the batch when it is full. One on disk counts for its
        header, which is in memory while the batch is stored."""
        self._batch.append(upload)
        self._batch_bytes += min(upload.size, _HOP)
        if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_PARTS:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            STAGES.observe(perf_counter() - self._begun, ("spool",))
            self._outcomes += self._archive.store(batch, self._study, self._on_conflict)
            self._begun = perf_counter()

    def _assemble(self) -> None:
        """Put instances together that came as metadata and bulk data."""
        for upload, media_type in self._metadata:
            if upload.size > _METADATA_BYTES:
                sentence = f"a part of metadata is larger than {_METADATA_BYTES:,} bytes; send large values apart"
                self._outcomes.append(outcomes.from_error(TooLarge(sentence)))
                continue
            with upload.open() as buffer:
                data = bytes(buffer)
            try:
                datasets = dicomjson.read(data) if media_type in _JSON else [nativexml.read(data)]
            except BadRequest as error:
                self._outcomes.append(outcomes.from_error(BadObject(str(error))))
                continue
            for dataset in datasets:
                try:
                    self._add(assemble(dataset, self._bulk, self._archive.spool, self._archive.unpack))
                except Error as error:
                    self._outcomes.append(outcomes.from_error(error))


class _Part:
    """A part while it arrives. One that is too large is counted to its end and refused alone."""

    def __init__(self, reception: Reception, media_type: str, syntax: str, location: str) -> None:
        self.reception = reception
        self.media_type = media_type
        self.syntax = syntax
        self.location = location
        self.problem: Error | None = None

    def write(self, data: bytes | memoryview) -> None:
        if self.problem is None:
            try:
                self.reception.write(data)
            except Error as error:
                self.problem = error
