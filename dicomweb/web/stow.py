"""STOW-RS: the Store transaction of the Studies service (PS3.18 10.5).

The body is read as a stream. Parts are spooled as they arrive and stored in batches, so that memory grows
neither with the body nor with a part nor with their number; each instance ends as an outcome.
"""

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dicomweb.archive.archive import Archive
from dicomweb.archive.assembly import BulkPart, assemble
from dicomweb.archive.spool import Reception, Upload
from dicomweb.errors import BadObject, BadRequest, Error, UnsupportedMedia
from dicomweb.standard import dicomjson, media, multipart, nativexml, negotiation, outcomes, resources
from dicomweb.standard.outcomes import Outcome
from dicomweb.web.addresses import base_url
from dicomweb.web.threads import hop

_HOP = 1 << 20
"""Bytes of a body that are gathered before a thread takes them."""
_BATCH_BYTES = 8 << 20
_BATCH_PARTS = 64

_OBJECT = "application/dicom"
_JSON = frozenset(("application/dicom+json", "application/json"))
_XML = frozenset(("application/dicom+xml", "application/xml", "text/xml"))
_READ = "multipart/related of application/dicom, +json or +xml parts, or one application/dicom"


async def store(request: Request) -> Response:
    """POST /studies and /studies/{study}: store instances (PS3.18 10.5)."""
    study = request.path_params.get("study")
    if study is not None:
        study = resources.read_uid(study)
    session = Session(request.app.state.archive, request.headers.get("content-type", ""), study)
    chunks: list[bytes] = []
    waiting = 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            waiting += len(chunk)
            if waiting >= _HOP:
                await hop(session.take, chunks)
                chunks, waiting = [], 0
        return await hop(_finish, session, chunks, request)
    except ClientDisconnect as error:
        raise BadRequest("the client left before the body was complete") from error
    finally:
        session.discard()


def _finish(session: "Session", chunks: list[bytes], request: Request) -> Response:
    """Take the last bytes, store what is left, and say what became of each instance (PS3.18 10.5.3)."""
    session.take(chunks)
    base = base_url(request)
    results = session.finish()
    status, model = outcomes.respond(results, base)
    if negotiation.for_store(media.read_accept(request.headers.get("accept"))) == "xml":
        response = Response(nativexml.write(model, base), status, media_type=media.XML)
    else:
        response = Response(dicomjson.write(model), status, media_type=media.JSON)
    for warning in outcomes.warnings(results, base):
        response.headers.append("Warning", warning)
    return response


class Session:
    """One Store request while its body arrives. Its methods block: they belong in a thread.

    Args:
        archive: where instances go.
        content_type: of the request.
        study: Study Instance UID of the URL, or None.

    Raises:
        UnsupportedMedia: the request's media type is none that Store reads (PS3.18 10.5.4).
        BadRequest: the Content-Type cannot be read, or has no boundary.
    """

    def __init__(self, archive: Archive, content_type: str, study: str | None) -> None:
        self._archive = archive
        self._study = study
        self._outcomes: list[Outcome] = []
        self._batch: list[Upload] = []
        self._batch_bytes = 0
        self._metadata: list[tuple[Upload, str]] = []
        self._bulk: dict[str, list[BulkPart]] = {}
        self._part: _Part | None = None
        self._reader: multipart.PartReader | None = None
        kind = media.read_type(content_type) if content_type else None
        if kind is None:
            raise UnsupportedMedia(f"the request has no Content-Type; Store reads {_READ}")
        self._root = kind.params.get("type", "").lower()
        if kind.name == "multipart/related":
            limits = multipart.Limits(archive.config.limit_parts, archive.config.limit_part_header_bytes)
            self._reader = multipart.PartReader(multipart.boundary_of(content_type), limits)
        elif kind.name == _OBJECT:
            self._part = _Part(archive.spool.receive(), _OBJECT, kind.params.get("transfer-syntax", ""), "")
        else:
            raise UnsupportedMedia(f"Store does not read {kind.name}; it reads {_READ}")

    def take(self, chunks: list[bytes]) -> None:
        """Take the next bytes of the body.

        Raises:
            BadRequest, TooLarge: the body is not well formed, or above a limit.
        """
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

    def finish(self) -> list[Outcome]:
        """Store what is left when the body is complete, and return the outcomes of all.

        Raises:
            BadRequest: the body ends too early, or there was nothing in it.
        """
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
        """Forget what was not stored."""
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
        return _Part(self._archive.spool.receive(), name, syntax, headers.get("content-location", ""))

    def _end(self) -> None:
        part, self._part = self._part, None
        assert part is not None
        if part.problem is not None:
            part.reception.discard()
            self._outcomes.append(outcomes.from_error(part.problem))
            return
        upload = part.reception.finish()
        if part.media_type == _OBJECT:
            self._batch.append(upload)
            self._batch_bytes += upload.size if isinstance(upload.body, bytes) else 0
            if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_PARTS:
                self._flush()
        elif part.media_type in _JSON or part.media_type in _XML:
            self._metadata.append((upload, part.media_type))
        else:
            self._bulk.setdefault(part.location, []).append(BulkPart(upload, part.media_type, part.syntax))

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            self._outcomes += self._archive.store(batch, self._study)

    def _assemble(self) -> None:
        """Put instances together that came as metadata and bulk data."""
        for upload, media_type in self._metadata:
            with upload.open() as buffer:
                data = bytes(buffer)
            try:
                datasets = dicomjson.read(data) if media_type in _JSON else [nativexml.read(data)]
            except BadRequest as error:
                self._outcomes.append(outcomes.from_error(BadObject(str(error))))
                continue
            for dataset in datasets:
                try:
                    self._batch.append(assemble(dataset, self._bulk, self._archive.spool))
                except Error as error:
                    self._outcomes.append(outcomes.from_error(error))
                if len(self._batch) >= _BATCH_PARTS:
                    self._flush()


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
